//! A customer's usage of one meter through time, for charts and the usage endpoint. Live.
//!
//! Each window is measured as a period of its own would be, by the meter's own law. What has usage, and all that roll-ups hold,
//! comes from one question to the roll-ups; what only events can say (`readings`) is one question more for the whole range,
//! and so is the level that a meter which is never reset begins with. From there the level goes from window to window.

use std::str::FromStr;

use clickhouse::Row;
use meridian_billing::{
    catalogue::{IntervalSpec, IntervalUnit, MeterSpec},
    decimal::Quantity,
    meter::FinishError,
    period::{Anchor, Period, PeriodError, Schedule},
};
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    metered_usage::{Counted, Needs, Usage},
    period_usage::{PeriodKey, TIME_MAX_US, TotalFigures, seconds},
    readings::{ReadingsKey, Wanted},
    scope::Scope,
    store::{UsageStore, answered},
};

const MINUTE_US: i64 = 60_000_000;
const DOING: &str = "reading a series of usage";

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

    /// The window that starts there.
    fn at(self, start_us: i64) -> Result<Period, PeriodError> {
        let after = |minutes: i64| Period::from_microseconds(start_us, start_us + minutes * MINUTE_US);
        match self {
            Self::Minute => after(1),
            Self::Hour => after(60),
            Self::Day => after(24 * 60),
            Self::Month => {
                let month = IntervalSpec { unit: IntervalUnit::Month, count: 1 };
                Schedule::new(month, Anchor::Calendar, "UTC")?.containing(after(1)?.start)
            }
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
    /// The meter's name, and what it is.
    pub meter: String,
    pub spec: MeterSpec,
    /// "" is the tenant itself (ruling C11).
    pub customer: String,
    pub window: Window,
    pub start_us: i64,
    pub end_us: i64,
}

/// Usage of one window; windows without usage are left out, a level that stands in them included. A window that the range
/// cuts is measured within the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsagePoint {
    pub start_us: i64,
    pub events: u64,
    /// An error is usage that no quantity says, such as a sum beyond 20 digits.
    pub quantity: Result<Quantity, FinishError>,
}

impl UsageStore {
    /// Points in the order of time, at most [`SERIES_POINTS_MAX`].
    pub async fn usage_series(
        &self,
        scope: &Scope,
        query: &SeriesQuery,
    ) -> Result<Vec<UsagePoint>, UsageStoreError> {
        let range = Range::of(query);
        let rows = self.series_rows(scope, query, &range).await?;
        let needs = Needs::of(&query.spec);
        let client = scope.client(&self.client);
        let mut values = match needs.usage {
            Usage::Totals => None,
            Usage::Readings(wanted) => {
                // Windows are told apart by time, so that a percentile's values need theirs as well.
                let wanted = match wanted {
                    Wanted::Last | Wanted::EachTime => Wanted::EachTime,
                    Wanted::EachValue | Wanted::EachTimeAndValue => Wanted::EachTimeAndValue,
                };
                let key = query.key(scope, range.from_us, range.to_us);
                let answer = self.readings(&client, &[ReadingsKey { key, wanted }], None).await?.pop();
                Some(answer.unwrap_or_default().in_order())
            }
        };
        let before = query.key(scope, 0, range.from_us);
        let mut level = self.level(&client, needs.level, before).await?;
        let mut points = Vec::with_capacity(rows.len());
        for row in rows {
            let window = range.cut(query.window.at(row.start * 1_000_000)?)?;
            let counted = match &mut values {
                None => Counted::of_total(&query.meter, &query.spec, &row.figures()?)?,
                Some(values) => Counted::of_values(&query.meter, &query.spec, values.take_within(window))?,
            };
            let (quantity, left) = counted.measured(level, &query.spec, window);
            level = left;
            points.push(UsagePoint { start_us: row.start * 1_000_000, events: row.events, quantity });
        }
        Ok(points)
    }

    async fn series_rows(
        &self,
        scope: &Scope,
        query: &SeriesQuery,
        range: &Range,
    ) -> Result<Vec<PointRow>, UsageStoreError> {
        let sql = format!(
            "SELECT toInt64(toUnixTimestamp({window})) AS start, sum(events) AS events, toString(sum(quantity_sum)) AS sum,
                    toString(max(quantity_max)) AS max, toString(min(quantity_min)) AS min,
                    uniqExactMerge(unique_values) AS unique
             FROM usage_by_minute
             WHERE tenant = ? AND meter = ? AND customer = ? AND minute >= {from} AND minute < {to}
             GROUP BY start ORDER BY start LIMIT {SERIES_POINTS_MAX}",
            window = query.window.start_of(),
            from = seconds(range.from_us),
            to = seconds(range.to_us),
        );
        let question = scope.client(&self.client).query(&sql);
        let question = question.bind(scope.tenant().as_str()).bind(&query.meter).bind(&query.customer);
        answered(DOING, question.fetch_all::<PointRow>()).await
    }
}

impl SeriesQuery {
    fn key(&self, scope: &Scope, start_us: i64, end_us: i64) -> PeriodKey {
        PeriodKey {
            tenant: scope.tenant().to_string(),
            customer: self.customer.clone(),
            meter: self.meter.clone(),
            start_us,
            end_us,
        }
    }
}

/// The query's range in whole minutes.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    from_us: i64,
    to_us: i64,
}

impl Range {
    fn of(query: &SeriesQuery) -> Self {
        let (start_us, end_us) = (query.start_us.clamp(0, TIME_MAX_US), query.end_us.clamp(0, TIME_MAX_US));
        let from_us = start_us.div_euclid(MINUTE_US) * MINUTE_US;
        let to_us = (end_us + MINUTE_US - 1).div_euclid(MINUTE_US) * MINUTE_US;
        Self { from_us, to_us: to_us.max(from_us) }
    }

    fn cut(&self, window: Period) -> Result<Period, PeriodError> {
        let (start_us, end_us) = (window.start.as_microsecond(), window.end.as_microsecond());
        Period::from_microseconds(start_us.max(self.from_us), end_us.min(self.to_us))
    }
}

impl From<PeriodError> for UsageStoreError {
    fn from(error: PeriodError) -> Self {
        Self::Unreadable { doing: DOING, problem: error.to_string() }
    }
}

#[derive(Row, Deserialize)]
struct PointRow {
    start: i64,
    events: u64,
    sum: String,
    max: String,
    min: String,
    unique: u64,
}

impl PointRow {
    fn figures(&self) -> Result<TotalFigures, UsageStoreError> {
        TotalFigures::read(DOING, self.events, &self.sum, &self.max, &self.min, self.unique)
    }
}

#[cfg(test)]
mod tests {
    use meridian_billing::catalogue::{AggregationKind, ResetPolicy};

    use super::*;

    /// 2026-03-01T00:00:00Z
    const MARCH: i64 = 1_772_323_200_000_000;

    #[test]
    fn a_window_ends_where_the_next_begins() {
        for (window, minutes) in
            [(Window::Minute, 1), (Window::Hour, 60), (Window::Day, 24 * 60), (Window::Month, 31 * 24 * 60)]
        {
            let found = window.at(MARCH).expect("a window");
            assert_eq!(
                found,
                Period::from_microseconds(MARCH, MARCH + minutes * MINUTE_US).expect("a period")
            );
        }
    }

    #[test]
    fn a_range_is_widened_to_the_minutes_that_it_touches_and_cuts_its_windows() {
        let range = |start_us, end_us| {
            let spec = crate::metered_usage::plain_meter(AggregationKind::Count, ResetPolicy::EachPeriod);
            let (meter, customer) = ("m".into(), String::new());
            Range::of(&SeriesQuery { meter, spec, customer, window: Window::Hour, start_us, end_us })
        };
        let minutes = |from: i64, to: i64| Range { from_us: from * MINUTE_US, to_us: to * MINUTE_US };
        assert_eq!(range(MINUTE_US, 9 * MINUTE_US), minutes(1, 9));
        assert_eq!(range(MINUTE_US + 1, 9 * MINUTE_US - 1), minutes(1, 9));
        assert_eq!(range(2 * MINUTE_US - 1, 9 * MINUTE_US + 1), minutes(1, 10));
        assert_eq!(range(-7, 0), minutes(0, 0));
        let hour = Window::Hour.at(0).expect("a window");
        let cut = Period::from_microseconds(MINUTE_US, 9 * MINUTE_US).expect("a period");
        assert_eq!(minutes(1, 9).cut(hour), Ok(cut));
    }
}
