//! A customer's usage of one meter through time, for charts and the usage endpoint. Live: from the roll-ups.

use std::str::FromStr;

use clickhouse::Row;
use meridian_billing::{
    catalogue::AggregationKind,
    decimal::{Decimal, Overflow, Quantity},
};
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::{quantity, seconds},
    scope::Scope,
    store::{UsageStore, answered},
};

/// Points of one answer.
pub const SERIES_POINTS_MAX: u32 = 10_000;

/// Width of a point, in UTC. Billing periods in a customer's zone are asked as periods, not as windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Minute,
    Hour,
    Day,
    Month,
}

impl Window {
    fn start_of(self) -> &'static str {
        match self {
            Self::Minute => "toStartOfMinute(minute, 'UTC')",
            Self::Hour => "toStartOfHour(minute, 'UTC')",
            Self::Day => "toStartOfDay(minute, 'UTC')",
            Self::Month => "toDateTime(toStartOfMonth(minute, 'UTC'), 'UTC')",
        }
    }
}

impl FromStr for Window {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "minute" => Ok(Self::Minute),
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "month" => Ok(Self::Month),
            _ => Err("must be one of minute, hour, day, month"),
        }
    }
}

/// `[start, end)` is widened to whole minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesQuery {
    pub meter: String,
    /// `Some("")` is the tenant itself; `None` is all customers of the tenant.
    pub customer: Option<String>,
    pub window: Window,
    pub start_us: i64,
    pub end_us: i64,
}

/// Usage of one window; windows without usage are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePoint {
    pub start_us: i64,
    pub events: u64,
    /// `None` when it does not fit 20 digits before the decimal point.
    pub sum: Option<Decimal>,
    pub max: Option<Decimal>,
    pub unique: u64,
}

impl UsagePoint {
    /// What a meter of this aggregation measured in the window.
    pub fn quantity(&self, aggregation: AggregationKind) -> Result<Quantity, Overflow> {
        quantity(aggregation, self.events, self.sum, self.max, self.unique)
    }
}

impl UsageStore {
    /// Points in the order of time, at most [`SERIES_POINTS_MAX`].
    pub async fn usage_series(
        &self,
        scope: &Scope,
        query: &SeriesQuery,
    ) -> Result<Vec<UsagePoint>, UsageStoreError> {
        let doing = "reading a series of usage";
        let customer = if query.customer.is_some() { "AND customer = ?" } else { "" };
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp({window})) AS start, sum(events) AS events, toString(sum(quantity_sum)) AS sum,
                    toString(max(quantity_max)) AS max, uniqExactMerge(unique_values) AS unique
             FROM usage_by_minute
             WHERE tenant = ? AND meter = ? {customer} AND minute >= {from} AND minute < {to}
             GROUP BY start ORDER BY start LIMIT {SERIES_POINTS_MAX}",
            window = query.window.start_of(),
            from = seconds(query.start_us.max(0)),
            to = seconds(query.end_us.max(0) + 59_999_999),
        );
        let mut question =
            scope.client(&self.client).query(&sql).bind(scope.tenant().as_str()).bind(&query.meter);
        if let Some(customer) = &query.customer {
            question = question.bind(customer);
        }
        let rows = answered(doing, question.fetch_all::<PointRow>()).await?;
        rows.into_iter().map(|row| row.point(doing)).collect()
    }
}

#[derive(Row, Deserialize)]
struct PointRow {
    start: i64,
    events: u64,
    sum: String,
    max: String,
    unique: u64,
}

impl PointRow {
    fn point(self, doing: &'static str) -> Result<UsagePoint, UsageStoreError> {
        let max = Decimal::from_str(&self.max).map_err(|error| UsageStoreError::Unreadable {
            doing,
            problem: format!("maximum {}: {error}", self.max),
        })?;
        Ok(UsagePoint {
            start_us: self.start * 1_000_000,
            events: self.events,
            sum: Decimal::from_str(&self.sum).ok(),
            max: Some(max),
            unique: self.unique,
        })
    }
}
