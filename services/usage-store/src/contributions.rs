//! What the events of many prices' meters add, each price in its own spans: for what no total can tell (price_usage.rs says
//! which). The server adds up what may be added without a loss: values of one minute and group, for the aggregations whose law
//! allows it.
//!
//! One question for all prices that are read in the same way, at most four. Their answer is in memory, so it is bounded: when many
//! prices together look at more than that, each is asked by itself, and one that alone looks at too much is its own error.

use std::collections::BTreeMap;

use clickhouse::Row;
use jiff::Timestamp;
use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec, ResetPolicy},
    decimal::Quantity,
    invoice::Metered,
    measure::stands_within_its_period,
    meter::Contribution,
    price::UsageShape,
};
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    period_usage::{KEYS_QUERY_SIZE_MAX, TIME_MAX_US, instant},
    store::{UsageStore, answered},
};

/// Most rows of one price's answer. A price that looks at more single transactions is an error.
const ROWS_MAX: u64 = 5_000_000;
/// Most rows of an answer for many prices.
const ROWS_TOGETHER_MAX: u64 = 500_000;
const MINUTE_US: i64 = 60_000_000;
const DOING: &str = "reading the usage of prices";

/// A price whose events are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    pub tenant: &'a str,
    pub customer: &'a str,
    pub metered: &'a Metered,
    pub spec: &'a MeterSpec,
}

/// What a meter's events add, with how many events each row stands for.
pub(crate) type Contributions = Vec<(Contribution, u64)>;

impl UsageStore {
    /// One answer for each look, in their order.
    pub(crate) async fn contributions(
        &self,
        looks: &[Look<'_>],
        stored_before_us: Option<i64>,
    ) -> Result<Vec<Result<Contributions, UsageStoreError>>, UsageStoreError> {
        let mut answers: Vec<Result<Contributions, UsageStoreError>> =
            looks.iter().map(|_| Ok(Vec::new())).collect();
        for (grain, reset) in WAYS {
            let alike: Vec<usize> =
                (0..looks.len()).filter(|index| looks[*index].way() == (grain, reset)).collect();
            let asked: Vec<Look<'_>> = alike.iter().map(|index| looks[*index]).collect();
            for (index, answer) in alike.into_iter().zip(self.alike(grain, &asked, stored_before_us).await?) {
                answers[index] = answer;
            }
        }
        Ok(answers)
    }

    /// Of looks that are read in one way.
    async fn alike(
        &self,
        grain: Grain,
        looks: &[Look<'_>],
        stored_before_us: Option<i64>,
    ) -> Result<Vec<Result<Contributions, UsageStoreError>>, UsageStoreError> {
        if looks.len() > 1
            && let Some(answers) = self.asked(grain, looks, stored_before_us, ROWS_TOGETHER_MAX).await?
        {
            return Ok(answers);
        }
        let mut answers = Vec::with_capacity(looks.len());
        for look in looks {
            let answer = self.asked(grain, &[*look], stored_before_us, ROWS_MAX).await?;
            answers.push(answer.and_then(|mut answer| answer.pop()).unwrap_or_else(|| {
                let price = &look.metered.price;
                Err(unreadable(format!("price {price} looks at more than {ROWS_MAX} single values")))
            }));
        }
        Ok(answers)
    }

    /// None: the answer has more rows than that.
    async fn asked(
        &self,
        grain: Grain,
        looks: &[Look<'_>],
        stored_before_us: Option<i64>,
        rows_max: u64,
    ) -> Result<Option<Vec<Result<Contributions, UsageStoreError>>>, UsageStoreError> {
        let bound: Vec<_> = looks.iter().zip(0..).filter_map(|(look, n)| look.bound(n)).collect();
        let mut answers: Vec<Result<Contributions, UsageStoreError>> =
            looks.iter().map(|_| Ok(Vec::new())).collect();
        if bound.is_empty() {
            return Ok(Some(answers));
        }
        let text = question(grain, looks, stored_before_us, rows_max);
        let client = self.client.clone().with_setting("max_query_size", KEYS_QUERY_SIZE_MAX.to_string());
        let rows = answered(DOING, client.query(&text).bind(bound).fetch_all::<ContributionRow>()).await?;
        if rows.len() as u64 > rows_max {
            return Ok(None);
        }
        for row in rows {
            let n = row.n as usize;
            let (Some(look), Some(answer)) = (looks.get(n), answers.get_mut(n)) else {
                return Err(unreadable(format!("price number {n}")));
            };
            match (answer.as_mut(), row.read(look.spec.aggregation)) {
                (Ok(contributions), Ok(contribution)) => contributions.push(contribution),
                (Ok(_), Err(error)) => *answer = Err(error),
                (Err(_), Ok(_) | Err(_)) => {}
            }
        }
        Ok(Some(answers))
    }
}

fn unreadable(problem: String) -> UsageStoreError {
    UsageStoreError::Unreadable { doing: DOING, problem }
}

/// Looks that one question can answer: the earliest instant of a question bounds what it reads, so what begins with all time is
/// asked apart from what begins with a period.
const WAYS: [(Grain, ResetPolicy); 4] = [
    (Grain::Event, ResetPolicy::EachPeriod),
    (Grain::Event, ResetPolicy::Never),
    (Grain::Minute, ResetPolicy::EachPeriod),
    (Grain::Minute, ResetPolicy::Never),
];

/// A look as the question knows it: its number, tenant, meter, customer, start, end, and how its values of a minute become one.
type Bound<'a> = (u32, &'a str, &'a str, &'a str, i64, i64, u8);

impl<'a> Look<'a> {
    fn way(&self) -> (Grain, ResetPolicy) {
        (Grain::of(self.metered, self.spec), self.spec.reset)
    }

    /// From the first span's start to the last one's end; of a level from where the period begins, and of a meter that is never
    /// reset from the beginning.
    fn range(&self) -> Option<(i64, i64)> {
        let (first, last) = self.metered.spans.first().zip(self.metered.spans.last())?;
        let start_us = match self.spec.reset {
            ResetPolicy::EachPeriod => {
                let stands = stands_within_its_period(self.spec);
                let start = if stands { self.metered.since.min(first.start) } else { first.start };
                start.as_microsecond().clamp(0, TIME_MAX_US)
            }
            ResetPolicy::Never => 0,
        };
        Some((start_us, last.end.as_microsecond().clamp(start_us, TIME_MAX_US)))
    }

    /// None where it looks at no time at all.
    fn bound(&self, n: u32) -> Option<Bound<'a>> {
        let (start_us, end_us) = self.range()?;
        let law = match self.spec.aggregation {
            AggregationKind::Max => 1,
            AggregationKind::Min => 2,
            AggregationKind::Count
            | AggregationKind::Sum
            | AggregationKind::Average
            | AggregationKind::Latest
            | AggregationKind::UniqueCount
            | AggregationKind::WeightedSum
            | AggregationKind::Percentile => 0,
        };
        Some((n, self.tenant, self.metered.meter.as_str(), self.customer, start_us, end_us, law))
    }
}

/// How much the server may add up before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    /// Each event by itself.
    Event,
    /// The events of one minute and group together.
    Minute,
}

impl Grain {
    /// Minutes, where the law adds parts up without a loss and no boundary cuts a minute.
    fn of(metered: &Metered, spec: &MeterSpec) -> Self {
        let whole = |at: Timestamp| at.as_microsecond() % MINUTE_US == 0;
        let cut = metered.spans.iter().any(|span| !whole(span.start) || !whole(span.end));
        let adds_up = match spec.aggregation {
            AggregationKind::Count | AggregationKind::Sum | AggregationKind::Max | AggregationKind::Min => {
                true
            }
            AggregationKind::Average
            | AggregationKind::Latest
            | AggregationKind::UniqueCount
            | AggregationKind::WeightedSum
            | AggregationKind::Percentile => false,
        };
        match metered.shape {
            UsageShape::Transactions => Self::Event,
            UsageShape::Total | UsageShape::Buckets { .. } | UsageShape::Groups { .. } if adds_up && !cut => {
                Self::Minute
            }
            UsageShape::Total | UsageShape::Buckets { .. } | UsageShape::Groups { .. } => Self::Event,
        }
    }
}

#[derive(Row, Deserialize)]
struct ContributionRow {
    n: u32,
    time_us: i64,
    quantity: String,
    unique_value: Option<String>,
    group_values: String,
    source: String,
    id: String,
    events: u64,
}

impl ContributionRow {
    fn read(self, aggregation: AggregationKind) -> Result<(Contribution, u64), UsageStoreError> {
        let Self { n: _, time_us, quantity, unique_value, group_values, source, id, events } = self;
        let quantity: Quantity = match aggregation {
            // Whatever an event carries, it counts as one.
            AggregationKind::Count => i64::try_from(events)
                .map(Quantity::from_integer)
                .map_err(|_| unreadable(format!("{events} events")))?,
            AggregationKind::UniqueCount => Quantity::ONE,
            AggregationKind::Sum
            | AggregationKind::Max
            | AggregationKind::Min
            | AggregationKind::Average
            | AggregationKind::Latest
            | AggregationKind::WeightedSum
            | AggregationKind::Percentile => {
                quantity.parse().map_err(|error| unreadable(format!("a value of {quantity}: {error}")))?
            }
        };
        let group = if group_values.is_empty() {
            BTreeMap::new()
        } else {
            serde_json::from_str(&group_values)
                .map_err(|error| unreadable(format!("a group of {group_values}: {error}")))?
        };
        Ok((Contribution { quantity, unique_value, group, time_us, source, id }, events))
    }
}

/// The question's text. What varies in it are numbers of ours; names and keys are bound. The IN and the constant bounds narrow
/// what is read by the table's order; the join then gives each row its price.
fn question(grain: Grain, looks: &[Look<'_>], stored_before_us: Option<i64>, rows_max: u64) -> String {
    let ranges = || looks.iter().filter_map(Look::range);
    let earliest = instant(ranges().map(|(start, _)| start).min().unwrap_or(0));
    let latest = instant(ranges().map(|(_, end)| end).max().unwrap_or(0));
    let stored = stored_before_us.map(|us| us.clamp(0, TIME_MAX_US));
    let stored = stored.map(|us| format!("AND p.stored_at < {}", instant(us))).unwrap_or_default();
    let keys = "WITH keys AS (
        SELECT toUInt32(k.1) AS n, k.2 AS tenant, k.3 AS meter, k.4 AS customer,
               toInt64(k.5) AS start, toInt64(k.6) AS end, toUInt8(k.7) AS law
        FROM (SELECT arrayJoin(?) AS k))";
    let from = format!(
        "FROM processed_events AS p
         INNER JOIN keys ON p.tenant = keys.tenant AND p.meter = keys.meter AND p.customer = keys.customer
         WHERE (p.tenant, p.meter, p.customer) IN (SELECT tenant, meter, customer FROM keys)
           AND p.time >= {earliest} AND p.time < {latest} {stored}
           AND toUnixTimestamp64Micro(p.time) >= keys.start AND toUnixTimestamp64Micro(p.time) < keys.end"
    );
    let limit = rows_max + 1;
    match grain {
        Grain::Event => format!(
            "{keys} SELECT keys.n AS n, toUnixTimestamp64Micro(p.time) AS time_us, toString(p.quantity) AS quantity,
                    p.unique_value AS unique_value, p.group_values AS group_values, toString(p.source) AS source, p.id AS id,
                    toUInt64(1) AS events {from} LIMIT {limit}"
        ),
        Grain::Minute => format!(
            "{keys} SELECT e.n AS n, toInt64(toUnixTimestamp(e.minute)) * 1000000 AS time_us,
                    multiIf(any(e.law) = 1, toString(max(e.quantity)), any(e.law) = 2, toString(min(e.quantity)),
                        toString(sum(toDecimal256(e.quantity, 18)))) AS quantity,
                    CAST(NULL, 'Nullable(String)') AS unique_value, e.group_values AS group_values, '' AS source, '' AS id,
                    count() AS events
             FROM (SELECT keys.n AS n, keys.law AS law, toStartOfMinute(p.time) AS minute, p.quantity AS quantity,
                       p.group_values AS group_values {from}) AS e
             GROUP BY e.n, e.minute, e.group_values LIMIT {limit}"
        ),
    }
}
