//! Totals of many (tenant, customer, meter, period) at once. One question for each chunk, never one a line. What a meter makes
//! of a total is said in `metered_usage`.
//!
//! Two sources, added by the law of each aggregation:
//! - roll-ups for the whole minutes inside a period;
//! - events for the minutes that a boundary cuts, and, as of a cutoff, for the hour of storing that the cutoff cuts.
//!
//! Exact as of `stored_before`: what was stored earlier counts, what was stored later does not, and the same question gives
//! the same answer for ever, provided that the cutoff is not later than the pipeline's progress (`processed_through`): the
//! consumer never stores a row below a progress that it has reported. Cost: minutes × meters, plus the events of two minutes and
//! one hour of storing, whatever the size of the period.

use std::{collections::BTreeSet, str::FromStr};

use clickhouse::{Client, Row};
use meridian_billing::decimal::Decimal;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    store::{UsageStore, answered},
};

/// Keys of one question: more than a chunk of subscriptions has. With the longest names its text stays below
/// [`KEYS_QUERY_SIZE_MAX`].
pub const PERIOD_KEYS_MAX: usize = 4000;
/// Keys travel in a question's text, which ClickHouse would else refuse beyond 256 KiB.
pub(crate) const KEYS_QUERY_SIZE_MAX: usize = 8 << 20;
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 3_600_000_000;
const DOING: &str = "reading the usage of periods";
/// The years that a ClickHouse `DateTime` can hold, in microseconds; the consumer quarantines what lies outside.
pub(crate) const TIME_MAX_US: i64 = 4_102_444_800_000_000;

/// What `quantity_min` says of minutes that were rolled up before there was such a column (schema 0003): below every value, so
/// that it stays the smallest of what it is merged with.
pub(crate) const MIN_NOT_KNOWN: &str = "-99999999999999999999.999999999999999999";

/// Whose usage of what, when: `[start, end)` in UTC microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodKey {
    pub tenant: String,
    /// "" is the tenant itself (ruling C11).
    pub customer: String,
    pub meter: String,
    pub start_us: i64,
    pub end_us: i64,
}

/// A chunk of keys, all as of one cutoff. `None` is live: everything that is stored now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodQuery {
    pub keys: Vec<PeriodKey>,
    pub stored_before_us: Option<i64>,
}

/// Usage of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTotal {
    pub key: PeriodKey,
    pub figures: TotalFigures,
}

/// Usage by every aggregation that the roll-ups hold; the meter says which one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotalFigures {
    /// Events counted.
    pub events: u64,
    /// `None` when the sum does not fit 20 digits before the decimal point: an error for whoever rates it.
    pub sum: Option<Decimal>,
    /// `None` without events.
    pub max: Option<Decimal>,
    /// `None` without events, and where some of them were rolled up before the smallest value was kept.
    pub min: Option<Decimal>,
    /// Distinct values.
    pub unique: u64,
}

impl TotalFigures {
    pub(crate) const NONE: Self =
        Self { events: 0, sum: Some(Decimal::ZERO), max: None, min: None, unique: 0 };

    /// From a row of an answer, which is there only when there were events.
    pub(crate) fn read(
        doing: &'static str,
        events: u64,
        sum: &str,
        max: &str,
        min: &str,
        unique: u64,
    ) -> Result<Self, UsageStoreError> {
        let extreme = |text: &str| {
            Decimal::from_str(text).map(Some).map_err(|error| UsageStoreError::Unreadable {
                doing,
                problem: format!("an extreme value of {text}: {error}"),
            })
        };
        let min = if min == MIN_NOT_KNOWN { None } else { extreme(min)? };
        Ok(Self { events, sum: Decimal::from_str(sum).ok(), max: extreme(max)?, min, unique })
    }
}

impl UsageStore {
    /// One total for each key, in the order of the keys; a key without usage has zeros.
    pub async fn period_usage(&self, query: &PeriodQuery) -> Result<Vec<UsageTotal>, UsageStoreError> {
        let mut totals = Vec::with_capacity(query.keys.len());
        for keys in query.keys.chunks(PERIOD_KEYS_MAX) {
            totals.extend(chunk_usage(&self.client, keys, query.stored_before_us).await?);
        }
        Ok(totals)
    }
}

/// One chunk with a given client, so that a scoped one can be passed.
pub(crate) async fn chunk_usage(
    client: &Client,
    keys: &[PeriodKey],
    stored_before_us: Option<i64>,
) -> Result<Vec<UsageTotal>, UsageStoreError> {
    let spans: Vec<Span> = keys.iter().enumerate().map(|(index, key)| Span::of(index as u32, key)).collect();
    let bound: Vec<_> = spans.iter().map(|s| s.bound(&keys[s.index as usize])).collect();
    let client = client.clone().with_setting("max_query_size", KEYS_QUERY_SIZE_MAX.to_string());
    let question = client.query(&question(&spans, stored_before_us)).bind(bound);
    let rows = answered(DOING, question.fetch_all::<TotalRow>()).await?;
    let mut totals: Vec<UsageTotal> =
        keys.iter().map(|key| UsageTotal { key: key.clone(), figures: TotalFigures::NONE }).collect();
    for TotalRow { n, events, sum, max, min, unique } in rows {
        let total = totals.get_mut(n as usize).ok_or_else(|| UsageStoreError::Unreadable {
            doing: DOING,
            problem: format!("key number {n}"),
        })?;
        total.figures = TotalFigures::read(DOING, events, &sum, &max, &min, unique)?;
    }
    Ok(totals)
}

/// A period and the whole minutes inside it. When no whole minute is inside, the inner range is empty at the start.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    index: u32,
    start_us: i64,
    end_us: i64,
    whole_start_us: i64,
    whole_end_us: i64,
}

impl Span {
    fn of(index: u32, key: &PeriodKey) -> Self {
        let start_us = key.start_us.clamp(0, TIME_MAX_US);
        let end_us = key.end_us.clamp(start_us, TIME_MAX_US);
        let whole_start_us = (start_us + MINUTE_US - 1) / MINUTE_US * MINUTE_US;
        let whole_end_us = (end_us / MINUTE_US * MINUTE_US).max(whole_start_us);
        Self { index, start_us, end_us, whole_start_us, whole_end_us }
    }

    /// The parts of the period that lie outside its whole minutes.
    fn cut_minutes(&self) -> impl Iterator<Item = (i64, i64)> {
        let head = (self.start_us, self.whole_start_us.min(self.end_us));
        let tail = (self.whole_end_us.min(self.end_us), self.end_us);
        [head, tail].into_iter().filter(|(from, to)| from < to)
    }

    fn bound<'a>(&self, key: &'a PeriodKey) -> (u32, &'a str, &'a str, &'a str, i64, i64, i64, i64) {
        let (tenant, meter, customer) = (key.tenant.as_str(), key.meter.as_str(), key.customer.as_str());
        (
            self.index,
            tenant,
            meter,
            customer,
            self.start_us,
            self.end_us,
            self.whole_start_us,
            self.whole_end_us,
        )
    }
}

#[derive(Row, Deserialize)]
struct TotalRow {
    n: u32,
    events: u64,
    sum: String,
    max: String,
    min: String,
    unique: u64,
}

/// The question's text. What varies in it are numbers of ours; names and keys are bound.
///
/// The IN and the constant bounds narrow what is read by the tables' order and indexes; the join then gives each row its
/// period. The parts are disjoint, and each is asked only when it can hold something.
fn question(spans: &[Span], stored_before_us: Option<i64>) -> String {
    let earliest = spans.iter().map(|s| s.start_us).min().unwrap_or(0);
    let latest = spans.iter().map(|s| s.end_us).max().unwrap_or(0);
    let cutoff = stored_before_us.map(|us| us.clamp(0, TIME_MAX_US));
    let cutoff_hour = cutoff.map(|us| us / HOUR_US * HOUR_US);

    let mut parts = vec![whole_minutes(earliest, latest, cutoff_hour)];
    if let (Some(cutoff), Some(hour)) = (cutoff, cutoff_hour) {
        parts.push(events(&format!(
            "{WHOLE} AND p.time >= {} AND p.time < {} AND p.stored_at >= {} AND p.stored_at < {}",
            instant(earliest),
            instant(latest),
            instant(hour),
            instant(cutoff)
        )));
    }
    let cut: BTreeSet<(i64, i64)> = spans.iter().flat_map(Span::cut_minutes).collect();
    if !cut.is_empty() {
        let ranges: Vec<String> = cut
            .iter()
            .map(|&(from, to)| format!("p.time >= {} AND p.time < {}", instant(from), instant(to)))
            .collect();
        let stored = cutoff.map(|us| format!(" AND p.stored_at < {}", instant(us))).unwrap_or_default();
        parts.push(events(&format!("NOT ({WHOLE}) AND ({}){stored}", ranges.join(" OR "))));
    }
    format!(
        "{KEYS} SELECT n, sum(e) AS events, toString(sum(s)) AS sum, toString(max(m)) AS max,
        toString(min(l)) AS min, uniqExactMerge(u) AS unique
        FROM ({}) GROUP BY n",
        parts.join(" UNION ALL ")
    )
}

const KEYS: &str = "
WITH keys AS (
    SELECT toUInt32(k.1) AS n, k.2 AS tenant, k.3 AS meter, k.4 AS customer,
           toInt64(k.5) AS start, toInt64(k.6) AS end, toInt64(k.7) AS whole_start, toInt64(k.8) AS whole_end
    FROM (SELECT arrayJoin(?) AS k))";

/// The event lies in a whole minute of its period.
const WHOLE: &str =
    "toUnixTimestamp64Micro(p.time) >= keys.whole_start AND toUnixTimestamp64Micro(p.time) < keys.whole_end";

fn whole_minutes(earliest: i64, latest: i64, cutoff_hour: Option<i64>) -> String {
    let stored = cutoff_hour.map(|us| format!("AND r.stored_hour < {}", seconds(us))).unwrap_or_default();
    format!(
        "SELECT keys.n AS n, sum(r.events) AS e, sum(r.quantity_sum) AS s, max(r.quantity_max) AS m,
                min(r.quantity_min) AS l, uniqExactMergeState(r.unique_values) AS u
        FROM usage_by_minute AS r
        INNER JOIN keys ON r.tenant = keys.tenant AND r.meter = keys.meter AND r.customer = keys.customer
        WHERE (r.tenant, r.meter, r.customer) IN (SELECT tenant, meter, customer FROM keys)
          AND r.minute >= {} AND r.minute < {} {stored}
          AND toInt64(toUnixTimestamp(r.minute)) * 1000000 >= keys.whole_start
          AND toInt64(toUnixTimestamp(r.minute)) * 1000000 < keys.whole_end
        GROUP BY n",
        seconds(earliest),
        seconds(latest)
    )
}

fn events(condition: &str) -> String {
    format!(
        "SELECT keys.n AS n, count() AS e, sum(toDecimal256(p.quantity, 18)) AS s, max(p.quantity) AS m,
                min(p.quantity) AS l, uniqExactState(p.unique_value) AS u
        FROM processed_events AS p
        INNER JOIN keys ON p.tenant = keys.tenant AND p.meter = keys.meter AND p.customer = keys.customer
        WHERE (p.tenant, p.meter, p.customer) IN (SELECT tenant, meter, customer FROM keys)
          AND toUnixTimestamp64Micro(p.time) >= keys.start AND toUnixTimestamp64Micro(p.time) < keys.end
          AND {condition}
        GROUP BY n"
    )
}

/// A `DateTime64(6)` of the tables.
pub(crate) fn instant(us: i64) -> String {
    format!("fromUnixTimestamp64Micro(toInt64({us}), 'UTC')")
}

/// A `DateTime` of the tables.
pub(crate) fn seconds(us: i64) -> String {
    format!("toDateTime({}, 'UTC')", us / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(start_us: i64, end_us: i64) -> PeriodKey {
        PeriodKey { tenant: "acme".into(), customer: String::new(), meter: "m".into(), start_us, end_us }
    }

    fn span(start_us: i64, end_us: i64) -> Span {
        Span::of(3, &key(start_us, end_us))
    }

    #[test]
    fn parts_that_can_hold_nothing_are_not_asked() {
        let aligned = [span(MINUTE_US, 9 * MINUTE_US)];
        let cut = [span(MINUTE_US + 1, 9 * MINUTE_US)];
        let parts = |text: String| text.matches("UNION ALL").count() + 1;
        assert_eq!(parts(question(&aligned, None)), 1);
        assert_eq!(parts(question(&aligned, Some(HOUR_US))), 2);
        assert_eq!(parts(question(&cut, None)), 2);
        assert_eq!(parts(question(&cut, Some(HOUR_US))), 3);
    }

    #[test]
    fn the_cut_parts_are_what_the_whole_minutes_leave() {
        let span = span(MINUTE_US - 5, 3 * MINUTE_US + 7);
        let cut: Vec<_> = span.cut_minutes().collect();
        assert_eq!(cut, [(MINUTE_US - 5, MINUTE_US), (3 * MINUTE_US, 3 * MINUTE_US + 7)]);
        let within: Vec<_> = self::span(10, 20).cut_minutes().collect();
        assert_eq!(within, [(10, 20)]);
    }

    #[test]
    fn a_period_is_its_whole_minutes_and_two_cut_ones() {
        let minutes = |n: i64| n * MINUTE_US;
        let cases = [
            ((minutes(2), minutes(9)), (minutes(2), minutes(9))),
            ((minutes(2) + 1, minutes(9) - 1), (minutes(3), minutes(8))),
            ((minutes(2) + 1, minutes(2) + 7), (minutes(3), minutes(3))),
            ((minutes(5), minutes(5)), (minutes(5), minutes(5))),
        ];
        for ((start, end), whole) in cases {
            let span = span(start, end);
            assert_eq!((span.whole_start_us, span.whole_end_us), whole, "[{start}, {end})");
        }
    }
}
