//! Can the roll-ups prove themselves? Recomputes a customer's usage from the rows that were billed and from the raw events
//! behind them, beside what the roll-ups say (ruling C5: aggregates are caches that can prove themselves against raw).

use clickhouse::Row;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::instant,
    period_usage::seconds,
    scope::Scope,
    store::{UsageStore, answered},
};

/// Usage of a range by every aggregation, as exact texts.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct ProvenUsage {
    pub events: u64,
    pub sum: String,
    pub max: String,
    pub unique: u64,
}

/// The same range, twice, and what may never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// From processed events whose raw event is stored.
    pub raw: ProvenUsage,
    /// From the roll-ups.
    pub rollup: ProvenUsage,
    /// Rows of one event and meter beyond the first: must be 0.
    pub doubled: u64,
}

impl Proof {
    pub fn agrees(&self) -> bool {
        self.raw == self.rollup && self.doubled == 0
    }
}

impl UsageStore {
    /// `[start, end)` must lie on whole minutes, as the roll-ups do; it is narrowed to them.
    pub async fn prove(
        &self,
        scope: &Scope,
        meter: &str,
        customer: &str,
        start_us: i64,
        end_us: i64,
    ) -> Result<Proof, UsageStoreError> {
        const MINUTE_US: i64 = 60_000_000;
        let from = (start_us + MINUTE_US - 1).div_euclid(MINUTE_US) * MINUTE_US;
        let to = end_us.div_euclid(MINUTE_US) * MINUTE_US;
        let (raw, doubled) = self.usage_of_events(scope, meter, customer, from, to).await?;
        let rollup = self.usage_of_rollup(scope, meter, customer, from, to).await?;
        Ok(Proof { raw, rollup, doubled })
    }

    async fn usage_of_events(
        &self,
        scope: &Scope,
        meter: &str,
        customer: &str,
        from: i64,
        to: i64,
    ) -> Result<(ProvenUsage, u64), UsageStoreError> {
        let tenant = scope.tenant().as_str();
        let sql = format!(
            "WITH counted AS (
                SELECT identity, quantity, unique_value FROM processed_events
                WHERE tenant = ? AND meter = ? AND customer = ? AND time >= {from} AND time < {to})
             SELECT count() AS events, toString(sum(toDecimal256(quantity, 18))) AS sum, toString(max(quantity)) AS max,
                    uniqExact(unique_value) AS unique, toUInt64(count() - uniqExact(identity)) AS doubled
             FROM counted WHERE identity IN (
                SELECT identity FROM raw_events WHERE tenant = ? AND time >= {from} AND time < {to})",
            from = instant(from),
            to = instant(to),
        );
        let question =
            scope.client(&self.client).query(&sql).bind(tenant).bind(meter).bind(customer).bind(tenant);
        let (events, sum, max, unique, doubled) =
            answered("proving usage from events", question.fetch_one::<(u64, String, String, u64, u64)>())
                .await?;
        Ok((ProvenUsage { events, sum, max, unique }, doubled))
    }

    async fn usage_of_rollup(
        &self,
        scope: &Scope,
        meter: &str,
        customer: &str,
        from: i64,
        to: i64,
    ) -> Result<ProvenUsage, UsageStoreError> {
        let sql = format!(
            "SELECT sum(events) AS events, toString(sum(quantity_sum)) AS sum, toString(max(quantity_max)) AS max,
                    uniqExactMerge(unique_values) AS unique
             FROM usage_by_minute
             WHERE tenant = ? AND meter = ? AND customer = ? AND minute >= {} AND minute < {}",
            seconds(from),
            seconds(to)
        );
        let question =
            scope.client(&self.client).query(&sql).bind(scope.tenant().as_str()).bind(meter).bind(customer);
        answered("proving usage from roll-ups", question.fetch_one::<ProvenUsage>()).await
    }
}
