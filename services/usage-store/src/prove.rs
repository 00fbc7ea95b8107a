//! Can the roll-ups prove themselves? Recomputes a customer's usage from the rows that were billed and from the raw events
//! behind them, beside what the roll-ups say (ruling C5: aggregates are caches that can prove themselves against raw).
//!
//! Every aggregation is covered. Count, Sum, Max, Min, UniqueCount and Average (a sum and a count) are compared figure by
//! figure. Latest, WeightedSum and Percentile have no roll-up: they are read from the processed events themselves, so that
//! they are right when each of these has its raw event, once: `orphaned` and `doubled` are 0.

use clickhouse::Row;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::{MIN_NOT_KNOWN, instant, seconds},
    scope::Scope,
    store::{UsageStore, answered},
};

/// Usage of a range by every aggregation, as exact texts.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct ProvenUsage {
    pub events: u64,
    pub sum: String,
    pub max: String,
    pub min: String,
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
    /// Rows whose raw event is not stored: must be 0.
    pub orphaned: u64,
}

impl Proof {
    pub fn agrees(&self) -> bool {
        self.raw == self.comparable_rollup() && self.doubled == 0 && self.orphaned == 0
    }

    /// Minutes that were rolled up before the smallest value was kept prove everything else.
    fn comparable_rollup(&self) -> ProvenUsage {
        let mut rollup = self.rollup.clone();
        if rollup.min == MIN_NOT_KNOWN {
            rollup.min.clone_from(&self.raw.min);
        }
        rollup
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
        let (raw, doubled, orphaned) = self.usage_of_events(scope, meter, customer, from, to).await?;
        let rollup = self.usage_of_rollup(scope, meter, customer, from, to).await?;
        Ok(Proof { raw, rollup, doubled, orphaned })
    }

    async fn usage_of_events(
        &self,
        scope: &Scope,
        meter: &str,
        customer: &str,
        from: i64,
        to: i64,
    ) -> Result<(ProvenUsage, u64, u64), UsageStoreError> {
        let tenant = scope.tenant().as_str();
        let sql = format!(
            "WITH counted AS (
                SELECT identity, quantity, unique_value, identity IN (
                    SELECT identity FROM raw_events WHERE tenant = ? AND time >= {from} AND time < {to}) AS backed
                FROM processed_events
                WHERE tenant = ? AND meter = ? AND customer = ? AND time >= {from} AND time < {to})
             SELECT countIf(backed) AS events, toString(sumIf(toDecimal256(quantity, 18), backed)) AS sum,
                    toString(maxIf(quantity, backed)) AS max, toString(minIf(quantity, backed)) AS min,
                    uniqExactIf(unique_value, backed) AS unique,
                    toUInt64(countIf(backed) - uniqExactIf(identity, backed)) AS doubled,
                    countIf(NOT backed) AS orphaned
             FROM counted",
            from = instant(from),
            to = instant(to),
        );
        let question =
            scope.client(&self.client).query(&sql).bind(tenant).bind(tenant).bind(meter).bind(customer);
        let row = answered("proving usage from events", question.fetch_one::<EventsRow>()).await?;
        let EventsRow { events, sum, max, min, unique, doubled, orphaned } = row;
        Ok((ProvenUsage { events, sum, max, min, unique }, doubled, orphaned))
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
                    toString(min(quantity_min)) AS min, uniqExactMerge(unique_values) AS unique
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

#[derive(Row, Deserialize)]
struct EventsRow {
    events: u64,
    sum: String,
    max: String,
    min: String,
    unique: u64,
    doubled: u64,
    orphaned: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(events: u64, min: &str) -> ProvenUsage {
        ProvenUsage { events, sum: "12".to_owned(), max: "9".to_owned(), min: min.to_owned(), unique: 0 }
    }

    #[test]
    fn a_proof_holds_when_every_figure_is_the_same_and_each_row_is_backed_once() {
        let proof = Proof { raw: usage(2, "3"), rollup: usage(2, "3"), doubled: 0, orphaned: 0 };
        assert!(proof.agrees());
        assert!(Proof { rollup: usage(2, MIN_NOT_KNOWN), ..proof.clone() }.agrees());
        for wrong in [
            Proof { rollup: usage(2, "4"), ..proof.clone() },
            Proof { rollup: usage(3, MIN_NOT_KNOWN), ..proof.clone() },
            Proof { raw: usage(1, "3"), ..proof.clone() },
            Proof { doubled: 1, ..proof.clone() },
            Proof { orphaned: 1, ..proof },
        ] {
            assert!(!wrong.agrees(), "{wrong:?}");
        }
    }
}
