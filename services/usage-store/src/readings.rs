//! The values of events themselves, of many (tenant, customer, meter, period) at once: what an aggregation reads that no
//! roll-up can hold. One question for each chunk, never one a key.
//!
//! The server hands over only what the law needs: the last value of a period, the last value of each microsecond, or how often
//! each value occurred. Ties are decided as `meridian-billing` decides them, by the text of (source, id), byte by byte.
//!
//! Cost: the events of the periods. `processed_events` is ordered by (tenant, meter, customer, time), so nothing else is read.
//! An answer holds a row for each distinct time of a WeightedSum and each distinct value of a Percentile, and is in memory
//! while a chunk is finished: hence the small chunks.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
};

use clickhouse::{Client, Row};
use meridian_billing::{
    decimal::{Overflow, Quantity},
    meter::Reading,
    period::Period,
};
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::{PeriodKey, TIME_MAX_US, each_once, instant},
    store::{UsageStore, answered},
};

/// Keys of one question.
const READINGS_KEYS_MAX: usize = 100;
const DOING: &str = "reading the values of periods";

/// What of a period's values is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// The last one.
    Last,
    /// The last one of each microsecond.
    EachTime,
    /// How often each one occurred.
    EachValue,
    /// How often each one occurred in each microsecond.
    EachTimeAndValue,
}

impl Wanted {
    /// As the question's text knows it: whether it groups by time, and whether by value.
    fn groups(self) -> (bool, bool) {
        match self {
            Self::Last => (false, false),
            Self::EachTime => (true, false),
            Self::EachValue => (false, true),
            Self::EachTimeAndValue => (true, true),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReadingsKey {
    pub key: PeriodKey,
    pub wanted: Wanted,
}

/// The values of one key; empty without events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer(Vec<Value>);

/// A value, the last time at which it was, and the events behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    time_us: i64,
    quantity: Quantity,
    events: u64,
}

impl Answer {
    pub fn events(&self) -> u64 {
        self.0.iter().map(|value| value.events).sum()
    }

    /// The level that the values leave; no value leaves nothing.
    pub fn last_level(self) -> Quantity {
        self.into_readings().pop_last().map_or(Quantity::ZERO, |reading| reading.level)
    }

    /// For taking window after window.
    pub fn in_order(mut self) -> InOrder {
        self.0.sort_by_key(|value| value.time_us);
        InOrder(self.0.into_iter().peekable())
    }

    /// Times are distinct here, so that source and id have nothing left to order.
    pub fn into_readings(self) -> BTreeSet<Reading> {
        let reading = |value: Value| Reading {
            time_us: value.time_us,
            source: String::new(),
            id: String::new(),
            level: value.quantity,
        };
        self.0.into_iter().map(reading).collect()
    }

    pub fn into_values(self) -> BTreeMap<Quantity, u64> {
        let mut values = BTreeMap::new();
        for value in self.0 {
            *values.entry(value.quantity).or_insert(0) += value.events;
        }
        values
    }
}

/// Values in the order of time, of an answer that groups by it.
pub(crate) struct InOrder(Peekable<std::vec::IntoIter<Value>>);

impl InOrder {
    /// What lies in the window. Windows are taken in their order; what lies before one is passed over.
    pub fn take_within(&mut self, window: Period) -> Answer {
        let (start_us, end_us) = (window.start.as_microsecond(), window.end.as_microsecond());
        while self.0.next_if(|value| value.time_us < start_us).is_some() {}
        Answer(std::iter::from_fn(|| self.0.next_if(|value| value.time_us < end_us)).collect())
    }
}

#[derive(Row, Deserialize)]
struct ValueRow {
    n: u32,
    time_us: i64,
    units: i128,
    events: u64,
}

impl UsageStore {
    /// One answer for each key, in the order of the keys. Equal keys are asked once.
    pub(crate) async fn readings(
        &self,
        client: &Client,
        keys: &[ReadingsKey],
        stored_before_us: Option<i64>,
    ) -> Result<Vec<Answer>, UsageStoreError> {
        let (distinct, places) = each_once(keys);
        let mut answers = Vec::with_capacity(distinct.len());
        for chunk in distinct.chunks(READINGS_KEYS_MAX) {
            answers.extend(chunk_readings(client, chunk, stored_before_us).await?);
        }
        Ok(places.into_iter().map(|place| answers[place].clone()).collect())
    }
}

async fn chunk_readings(
    client: &Client,
    keys: &[ReadingsKey],
    stored_before_us: Option<i64>,
) -> Result<Vec<Answer>, UsageStoreError> {
    let bound: Vec<_> = keys.iter().enumerate().map(|(index, key)| bound(index as u32, key)).collect();
    let question = client.query(&question(keys, stored_before_us)).bind(bound);
    let mut answers = vec![Answer::default(); keys.len()];
    for ValueRow { n, time_us, units, events } in answered(DOING, question.fetch_all::<ValueRow>()).await? {
        let answer = answers.get_mut(n as usize).ok_or_else(|| unreadable(format!("key number {n}")))?;
        let too_large = |error: Overflow| unreadable(format!("a value of {units} units: {error}"));
        let quantity = Quantity::from_units(units).map_err(too_large)?;
        answer.0.push(Value { time_us, quantity, events });
    }
    Ok(answers)
}

fn unreadable(problem: String) -> UsageStoreError {
    UsageStoreError::Unreadable { doing: DOING, problem }
}

fn range(key: &PeriodKey) -> (i64, i64) {
    let start_us = key.start_us.clamp(0, TIME_MAX_US);
    (start_us, key.end_us.clamp(start_us, TIME_MAX_US))
}

fn bound(index: u32, key: &ReadingsKey) -> (u32, &str, &str, &str, i64, i64, bool, bool) {
    let ReadingsKey { key, wanted } = key;
    let (start_us, end_us) = range(key);
    let (by_time, by_value) = wanted.groups();
    (index, &key.tenant, &key.meter, &key.customer, start_us, end_us, by_time, by_value)
}

/// The question's text. What varies in it are numbers of ours; names and keys are bound. The IN and the constant bounds narrow
/// what is read by the table's order; the join then gives each row its period.
fn question(keys: &[ReadingsKey], stored_before_us: Option<i64>) -> String {
    let ranges = || keys.iter().map(|key| range(&key.key));
    let earliest = ranges().map(|(start, _)| start).min().unwrap_or(0);
    let latest = ranges().map(|(_, end)| end).max().unwrap_or(0);
    let stored = stored_before_us.map(|us| us.clamp(0, TIME_MAX_US));
    let stored = stored.map(|us| format!("AND p.stored_at < {}", instant(us))).unwrap_or_default();
    format!(
        "WITH keys AS (
            SELECT toUInt32(k.1) AS n, k.2 AS tenant, k.3 AS meter, k.4 AS customer,
                   toInt64(k.5) AS start, toInt64(k.6) AS end, k.7 AS by_time, k.8 AS by_value
            FROM (SELECT arrayJoin(?) AS k)),
        found AS (
            SELECT keys.n AS n, keys.by_time AS by_time, keys.by_value AS by_value,
                   toUnixTimestamp64Micro(p.time) AS at,
                   p.quantity AS value, toString(p.source) AS source, p.id AS id
            FROM processed_events AS p
            INNER JOIN keys ON p.tenant = keys.tenant AND p.meter = keys.meter AND p.customer = keys.customer
            WHERE (p.tenant, p.meter, p.customer) IN (SELECT tenant, meter, customer FROM keys)
              AND p.time >= {earliest} AND p.time < {latest} {stored}
              AND toUnixTimestamp64Micro(p.time) >= keys.start AND toUnixTimestamp64Micro(p.time) < keys.end)
        SELECT n, max(at) AS time_us, reinterpretAsInt128(argMax(value, (at, source, id))) AS units,
               count() AS events
        FROM found
        GROUP BY n, if(by_time, at, 0), if(by_value, value, toDecimal128(0, 18))",
        earliest = instant(earliest),
        latest = instant(latest),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(time_us: i64, quantity: i64, events: u64) -> Value {
        Value { time_us, quantity: Quantity::from_integer(quantity), events }
    }

    #[test]
    fn an_answer_is_read_as_a_level_as_readings_or_as_values() {
        let answer = Answer(vec![value(9, 7, 2), value(3, 5, 1)]);
        assert_eq!(answer.events(), 3);
        assert_eq!(answer.clone().last_level(), Quantity::from_integer(7));
        let times: Vec<i64> = answer.clone().into_readings().into_iter().map(|r| r.time_us).collect();
        assert_eq!(times, [3, 9]);
        let values: Vec<_> = answer.into_values().into_iter().collect();
        assert_eq!(values, [(Quantity::from_integer(5), 1), (Quantity::from_integer(7), 2)]);
        assert_eq!(Answer::default().last_level(), Quantity::ZERO);
    }

    #[test]
    fn windows_take_what_lies_in_them_and_pass_over_what_lies_between() {
        let mut values =
            Answer(vec![value(9, 7, 2), value(3, 5, 1), value(4, 5, 1), value(6, 1, 1)]).in_order();
        let mut taken = |start_us, end_us| {
            values.take_within(Period::from_microseconds(start_us, end_us).expect("a period")).events()
        };
        assert_eq!([taken(3, 4), taken(5, 7), taken(7, 9), taken(9, 12)], [1, 1, 0, 2]);
    }

    #[test]
    fn a_question_reads_no_more_than_its_keys_span_and_nothing_stored_later() {
        let key = |start_us, end_us| ReadingsKey {
            key: PeriodKey {
                tenant: "acme".into(),
                customer: String::new(),
                meter: "m".into(),
                start_us,
                end_us,
            },
            wanted: Wanted::Last,
        };
        let text = question(&[key(7, 17), key(-5, 11)], Some(23));
        assert!(text.contains(&format!("p.time >= {} AND p.time < {}", instant(0), instant(17))), "{text}");
        assert!(text.contains(&format!("p.stored_at < {}", instant(23))), "{text}");
        assert!(!question(&[key(7, 17)], None).contains("stored_at"));
    }
}
