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
//!
//! The keys of a chunk are mostly the same meters of many customers. So a question names each customer's period once and each
//! meter once, and is told what every one of those customers used of every one of those meters; what no key asks for is dropped.
//! A list of all keys cost the server ten times what reading their usage costs.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    str::FromStr,
};

use clickhouse::{Client, Row};
use meridian_billing::decimal::Decimal;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    store::{UsageStore, answered},
};

/// Keys of one question: as many as a page of due periods has when each counts ten meters. With the longest names its text stays
/// below [`KEYS_QUERY_SIZE_MAX`].
pub const PERIOD_KEYS_MAX: usize = 5000;
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// `None` when the sum does not fit 20 digits before the decimal point: an error for whoever rates it. Like the figures below it
    /// is also `None`, or zero, where it was not asked for.
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
        let extreme = |text: &str| match text {
            "" | MIN_NOT_KNOWN => Ok(None),
            text => Decimal::from_str(text).map(Some).map_err(|error| UsageStoreError::Unreadable {
                doing,
                problem: format!("an extreme value of {text}: {error}"),
            }),
        };
        let min = extreme(min)?;
        Ok(Self { events, sum: Decimal::from_str(sum).ok(), max: extreme(max)?, min, unique })
    }
}

/// Which figures a question asks for beside the number of events. Each is a column that the server reads, and the distinct values
/// are the widest of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub sum: bool,
    pub max: bool,
    pub min: bool,
    pub unique: bool,
}

impl Asked {
    pub const ALL: Self = Self { sum: true, max: true, min: true, unique: true };
}

impl UsageStore {
    /// One total for each key, in the order of the keys; a key without usage has zeros.
    pub async fn period_usage(&self, query: &PeriodQuery) -> Result<Vec<UsageTotal>, UsageStoreError> {
        totals(&self.client, &query.keys, Asked::ALL, query.stored_before_us).await
    }
}

/// With a given client, so that a scoped one can be passed. Equal keys are asked once.
pub(crate) async fn totals(
    client: &Client,
    keys: &[PeriodKey],
    asked: Asked,
    stored_before_us: Option<i64>,
) -> Result<Vec<UsageTotal>, UsageStoreError> {
    let (distinct, places) = each_once(keys);
    let mut found = Vec::with_capacity(distinct.len());
    for keys in distinct.chunks(PERIOD_KEYS_MAX) {
        found.extend(chunk_figures(client, keys, asked, stored_before_us).await?);
    }
    let total =
        |(key, place): (&PeriodKey, usize)| UsageTotal { key: key.clone(), figures: found[place].clone() };
    Ok(keys.iter().zip(places).map(total).collect())
}

/// Each of these once, in the order in which they first come, and the place of each one among them.
pub(crate) fn each_once<K: Clone + Eq + Hash>(keys: &[K]) -> (Vec<K>, Vec<usize>) {
    let mut known: HashMap<&K, usize> = HashMap::with_capacity(keys.len());
    let mut distinct = Vec::new();
    let places = keys.iter().map(|key| {
        *known.entry(key).or_insert_with(|| {
            distinct.push(key.clone());
            distinct.len() - 1
        })
    });
    let places = places.collect();
    (distinct, places)
}

/// Of one chunk of keys that are all different.
async fn chunk_figures(
    client: &Client,
    keys: &[PeriodKey],
    asked: Asked,
    stored_before_us: Option<i64>,
) -> Result<Vec<TotalFigures>, UsageStoreError> {
    let mut spans: Vec<Span<'_>> = Vec::new();
    let mut span_of: HashMap<Span<'_>, u32> = HashMap::new();
    let mut places: HashMap<(u32, &str), usize> = HashMap::with_capacity(keys.len());
    let mut figures = vec![TotalFigures::NONE; keys.len()];
    for (place, key) in keys.iter().enumerate() {
        let span = Span::of(key);
        let number = *span_of.entry(span).or_insert_with(|| {
            spans.push(span);
            (spans.len() - 1) as u32
        });
        places.insert((number, key.meter.as_str()), place);
    }
    let meters: BTreeSet<&str> = keys.iter().map(|key| key.meter.as_str()).collect();
    let meters: Vec<&str> = meters.into_iter().collect();
    let (text, parts) = question(&spans, asked, stored_before_us);
    let client = client.clone().with_setting("max_query_size", KEYS_QUERY_SIZE_MAX.to_string());
    let mut question = client.query(&text).bind(listed(&spans));
    for _ in 0..parts {
        question = question.bind(&meters);
    }
    for TotalRow { n, meter, events, sum, max, min, unique } in
        answered(DOING, question.fetch_all::<TotalRow>()).await?
    {
        if let Some(place) = places.get(&(n, meter.as_str())) {
            figures[*place] = TotalFigures::read(DOING, events, &sum, &max, &min, unique)?;
        }
    }
    Ok(figures)
}

/// A customer's period and the whole minutes inside it. When no whole minute is inside, the inner range is empty at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Span<'a> {
    tenant: &'a str,
    customer: &'a str,
    start_us: i64,
    end_us: i64,
    whole_start_us: i64,
    whole_end_us: i64,
}

impl<'a> Span<'a> {
    fn of(key: &'a PeriodKey) -> Self {
        let start_us = key.start_us.clamp(0, TIME_MAX_US);
        let end_us = key.end_us.clamp(start_us, TIME_MAX_US);
        let whole_start_us = (start_us + MINUTE_US - 1) / MINUTE_US * MINUTE_US;
        let whole_end_us = (end_us / MINUTE_US * MINUTE_US).max(whole_start_us);
        let (tenant, customer) = (key.tenant.as_str(), key.customer.as_str());
        Self { tenant, customer, start_us, end_us, whole_start_us, whole_end_us }
    }

    /// The parts of the period that lie outside its whole minutes.
    fn cut_minutes(&self) -> impl Iterator<Item = (i64, i64)> {
        let head = (self.start_us, self.whole_start_us.min(self.end_us));
        let tail = (self.whole_end_us.min(self.end_us), self.end_us);
        [head, tail].into_iter().filter(|(from, to)| from < to)
    }
}

/// The spans as one JSON text, for [`KEYS`]: the server reads one string faster than it parses thousands of literals.
fn listed(spans: &[Span<'_>]) -> String {
    let rows = (0_u32..).zip(spans).map(|(number, span)| {
        let Span { tenant, customer, start_us, end_us, whole_start_us, whole_end_us } = span;
        serde_json::json!([number, tenant, customer, start_us, end_us, whole_start_us, whole_end_us])
    });
    serde_json::Value::from_iter(rows).to_string()
}

#[derive(Row, Deserialize)]
struct TotalRow {
    n: u32,
    meter: String,
    events: u64,
    sum: String,
    max: String,
    min: String,
    unique: u64,
}

/// The question's text, and of how many parts it is. What varies in it are numbers of ours; names are bound: the spans first,
/// then the meters for each part.
///
/// The IN and the constant bounds narrow what is read by the tables' order and indexes; the join then gives each row its
/// period. The parts are disjoint, and each is asked only when it can hold something.
fn question(spans: &[Span<'_>], asked: Asked, stored_before_us: Option<i64>) -> (String, usize) {
    let earliest = spans.iter().map(|s| s.start_us).min().unwrap_or(0);
    let latest = spans.iter().map(|s| s.end_us).max().unwrap_or(0);
    let cutoff = stored_before_us.map(|us| us.clamp(0, TIME_MAX_US));
    let cutoff_hour = cutoff.map(|us| us / HOUR_US * HOUR_US);

    let mut parts = vec![whole_minutes(asked, earliest, latest, cutoff_hour)];
    if let (Some(cutoff), Some(hour)) = (cutoff, cutoff_hour) {
        let condition = format!(
            "{WHOLE} AND p.time >= {} AND p.time < {} AND p.stored_at >= {} AND p.stored_at < {}",
            instant(earliest),
            instant(latest),
            instant(hour),
            instant(cutoff)
        );
        parts.push(events(asked, &condition));
    }
    let cut: BTreeSet<(i64, i64)> = spans.iter().flat_map(Span::cut_minutes).collect();
    if !cut.is_empty() {
        let ranges: Vec<String> = cut
            .iter()
            .map(|&(from, to)| format!("p.time >= {} AND p.time < {}", instant(from), instant(to)))
            .collect();
        let stored = cutoff.map(|us| format!(" AND p.stored_at < {}", instant(us))).unwrap_or_default();
        parts.push(events(asked, &format!("NOT ({WHOLE}) AND ({}){stored}", ranges.join(" OR "))));
    }
    let told = FIGURES.map(|figure| if figure.is_in(asked) { figure.merged } else { figure.not_asked });
    let text = format!(
        "{KEYS} SELECT n, meter, sum(e) AS events, {} FROM ({}) GROUP BY n, meter",
        told.join(", "),
        parts.join(" UNION ALL ")
    );
    (text, parts.len())
}

/// How a figure is made from roll-ups and from events, and how those two are merged.
struct Figure {
    is_asked: fn(Asked) -> bool,
    of_minutes: &'static str,
    of_events: &'static str,
    merged: &'static str,
    not_asked: &'static str,
}

impl Figure {
    fn is_in(&self, asked: Asked) -> bool {
        (self.is_asked)(asked)
    }
}

/// In the order of [`TotalRow`].
const FIGURES: [Figure; 4] = [
    Figure {
        is_asked: |asked| asked.sum,
        of_minutes: "sum(r.quantity_sum) AS s",
        of_events: "sum(toDecimal256(p.quantity, 18)) AS s",
        merged: "toString(sum(s)) AS sum",
        not_asked: "'' AS sum",
    },
    Figure {
        is_asked: |asked| asked.max,
        of_minutes: "max(r.quantity_max) AS m",
        of_events: "max(p.quantity) AS m",
        merged: "toString(max(m)) AS max",
        not_asked: "'' AS max",
    },
    Figure {
        is_asked: |asked| asked.min,
        of_minutes: "min(r.quantity_min) AS l",
        of_events: "min(p.quantity) AS l",
        merged: "toString(min(l)) AS min",
        not_asked: "'' AS min",
    },
    Figure {
        is_asked: |asked| asked.unique,
        of_minutes: "uniqExactMergeState(r.unique_values) AS u",
        of_events: "uniqExactState(p.unique_value) AS u",
        merged: "uniqExactMerge(u) AS unique",
        not_asked: "toUInt64(0) AS unique",
    },
];

/// The asked figures of one part, each behind a comma.
fn columns(asked: Asked, of: fn(&Figure) -> &'static str) -> String {
    FIGURES.iter().filter(|figure| figure.is_in(asked)).map(|figure| format!(", {}", of(figure))).collect()
}

const KEYS: &str = "
WITH keys AS (
    SELECT k.1 AS n, k.2 AS tenant, k.3 AS customer, k.4 AS start, k.5 AS end, k.6 AS whole_start, k.7 AS whole_end
    FROM (SELECT arrayJoin(JSONExtract(?, 'Array(Tuple(UInt32, String, String, Int64, Int64, Int64, Int64))')) AS k))";

/// The event lies in a whole minute of its period.
const WHOLE: &str =
    "toUnixTimestamp64Micro(p.time) >= keys.whole_start AND toUnixTimestamp64Micro(p.time) < keys.whole_end";

fn whole_minutes(asked: Asked, earliest: i64, latest: i64, cutoff_hour: Option<i64>) -> String {
    let stored = cutoff_hour.map(|us| format!("AND r.stored_hour < {}", seconds(us))).unwrap_or_default();
    format!(
        "SELECT keys.n AS n, toString(r.meter) AS meter, sum(r.events) AS e{}
        FROM usage_by_minute AS r
        INNER JOIN keys ON r.tenant = keys.tenant AND r.customer = keys.customer
        WHERE (r.tenant, r.customer) IN (SELECT tenant, customer FROM keys) AND r.meter IN ?
          AND r.minute >= {} AND r.minute < {} {stored}
          AND toInt64(toUnixTimestamp(r.minute)) * 1000000 >= keys.whole_start
          AND toInt64(toUnixTimestamp(r.minute)) * 1000000 < keys.whole_end
        GROUP BY n, meter",
        columns(asked, |figure| figure.of_minutes),
        seconds(earliest),
        seconds(latest)
    )
}

fn events(asked: Asked, condition: &str) -> String {
    format!(
        "SELECT keys.n AS n, toString(p.meter) AS meter, count() AS e{}
        FROM processed_events AS p
        INNER JOIN keys ON p.tenant = keys.tenant AND p.customer = keys.customer
        WHERE (p.tenant, p.customer) IN (SELECT tenant, customer FROM keys) AND p.meter IN ?
          AND toUnixTimestamp64Micro(p.time) >= keys.start AND toUnixTimestamp64Micro(p.time) < keys.end
          AND {condition}
        GROUP BY n, meter",
        columns(asked, |figure| figure.of_events)
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

    fn span(start_us: i64, end_us: i64) -> Span<'static> {
        let times = key(start_us, end_us);
        let Span { start_us, end_us, whole_start_us, whole_end_us, .. } = Span::of(&times);
        Span { tenant: "acme", customer: "", start_us, end_us, whole_start_us, whole_end_us }
    }

    #[test]
    fn parts_that_can_hold_nothing_are_not_asked() {
        let aligned = [span(MINUTE_US, 9 * MINUTE_US)];
        let cut = [span(MINUTE_US + 1, 9 * MINUTE_US)];
        let parts = |spans, cutoff| {
            let (text, parts) = question(spans, Asked::ALL, cutoff);
            assert_eq!(text.matches("UNION ALL").count() + 1, parts);
            parts
        };
        assert_eq!(parts(&aligned, None), 1);
        assert_eq!(parts(&aligned, Some(HOUR_US)), 2);
        assert_eq!(parts(&cut, None), 2);
        assert_eq!(parts(&cut, Some(HOUR_US)), 3);
    }

    #[test]
    fn equal_keys_are_asked_once_and_answered_each() {
        assert_eq!(each_once(&["b", "a", "b", "c", "a"]), (vec!["b", "a", "c"], vec![0, 1, 0, 2, 1]));
    }

    #[test]
    fn only_the_figures_that_are_asked_for_are_read() {
        let spans = [span(MINUTE_US + 1, 9 * MINUTE_US)];
        let (all, _) = question(&spans, Asked::ALL, Some(HOUR_US));
        let (sums, _) = question(&spans, Asked { sum: true, ..Asked::default() }, Some(HOUR_US));
        for column in ["r.quantity_max", "r.quantity_min", "r.unique_values", "p.unique_value"] {
            assert!(all.contains(column), "{all}");
            assert!(!sums.contains(column), "{sums}");
        }
        assert!(sums.contains("r.quantity_sum") && sums.contains("p.quantity"), "{sums}");
    }

    #[test]
    fn a_question_names_the_period_of_a_customer_once() {
        let hostile = Span { tenant: "acme", customer: "o'brien\\\"\n?", ..span(7, 11) };
        let expected = r#"[[0,"acme","o'brien\\\"\n?",7,11,60000000,60000000]]"#;
        assert_eq!(listed(&[hostile]), expected);
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
