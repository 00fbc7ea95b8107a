//! What the metered prices of a period are told of usage, each in the shape that it asks for.
//!
//! Totals of one span come from roll-ups (`metered_usage`). Everything that looks closer (buckets, groups, single
//! transactions, a period that pauses cut) is measured from events by [`meridian_billing::measure`], the same code that says
//! what usage means. The server adds up what may be added without a loss: values of one minute and group, for the
//! aggregations whose law allows it. One question for all prices of one customer's period.

use std::collections::BTreeMap;

use clickhouse::Row;
use jiff::Timestamp;
use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec, ResetPolicy},
    decimal::Quantity,
    ids::MeterName,
    invoice::{Metered, PriceUsage},
    measure::{MeasureError, measure},
    meter::Contribution,
    period::Period,
    price::{Usage, UsageShape},
};
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    metered_usage::{MeteredKey, MeteredUsage},
    period_usage::{TIME_MAX_US, instant},
    store::{UsageStore, answered},
};

/// Most rows of one answer: what is measured is in memory. A price that looks at more single transactions is an error.
const ROWS_MAX: u64 = 5_000_000;
const MINUTE_US: i64 = 60_000_000;
const DOING: &str = "reading the usage of prices";

/// Whose usage, as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceUsageQuery<'a> {
    pub tenant: &'a str,
    /// "" is the tenant itself (ruling C11).
    pub customer: &'a str,
    /// The subscription's zone, by which buckets are cut.
    pub time_zone: &'a str,
    /// What the prices ask for: [`meridian_billing::invoice::metered`].
    pub metered: &'a [Metered],
    /// The meters that they name, each with its version.
    pub meters: &'a BTreeMap<MeterName, (MeterSpec, i32)>,
    pub stored_before_us: Option<i64>,
}

/// Why a price cannot be told its usage. It stops the invoice: usage is never billed as something else.
#[derive(Debug, thiserror::Error)]
pub enum PriceUsageError {
    #[error("price {price} counts meter {meter}, which is not in the catalogue")]
    NoMeter { price: String, meter: MeterName },
    #[error("the usage of meter {meter}: {source}")]
    Unmeasurable { meter: MeterName, source: MeasureError },
    #[error(transparent)]
    Store(#[from] UsageStoreError),
}

impl UsageStore {
    /// One answer for each metered price, in their order.
    pub async fn price_usage(&self, query: &PriceUsageQuery<'_>) -> Result<Vec<PriceUsage>, PriceUsageError> {
        let meter = |metered: &Metered| {
            query.meters.get(&metered.meter).ok_or_else(|| PriceUsageError::NoMeter {
                price: metered.price.to_string(),
                meter: metered.meter.clone(),
            })
        };
        let (mut totals, mut measured) = (Vec::new(), Vec::new());
        for (index, metered) in query.metered.iter().enumerate() {
            let (spec, _) = meter(metered)?;
            match (&metered.shape, metered.spans.as_slice()) {
                (UsageShape::Total, [span]) => totals.push((index, key(query, metered, spec, *span))),
                _ => measured.push((index, metered, spec)),
            }
        }
        let mut answers: Vec<Option<(Usage, u64)>> = vec![None; query.metered.len()];
        let keys: Vec<MeteredKey> = totals.iter().map(|(_, key)| key.clone()).collect();
        for ((index, _), total) in totals.iter().zip(self.metered_usage(&keys, query.stored_before_us).await?)
        {
            let MeteredUsage { events, quantity } = total;
            let quantity = quantity.map_err(|source| PriceUsageError::Unmeasurable {
                meter: query.metered[*index].meter.clone(),
                source: source.into(),
            });
            answers[*index] = Some((Usage::Total(quantity?), events));
        }
        for (index, metered, spec) in measured {
            answers[index] = Some(self.measured(query, metered, spec).await?);
        }
        query
            .metered
            .iter()
            .zip(answers)
            .map(|(metered, answer)| {
                let (spec, version) = meter(metered)?;
                let (usage, events) =
                    answer.ok_or_else(|| unreadable("a price without an answer".to_owned()))?;
                Ok(PriceUsage {
                    plan: metered.plan.clone(),
                    price: metered.price.clone(),
                    usage,
                    billed_before: None,
                    events,
                    meter_version: *version,
                    unit: spec.unit.clone(),
                })
            })
            .collect()
    }

    async fn measured(
        &self,
        query: &PriceUsageQuery<'_>,
        metered: &Metered,
        spec: &MeterSpec,
    ) -> Result<(Usage, u64), PriceUsageError> {
        let rows = self.contributions(query, metered, spec).await?;
        let within = |row: &(Contribution, u64)| {
            metered.spans.iter().any(|span| {
                span.start.as_microsecond() <= row.0.time_us && row.0.time_us < span.end.as_microsecond()
            })
        };
        let events = rows.iter().filter(|row| within(row)).map(|(_, events)| events).sum();
        let contributions: Vec<&Contribution> = rows.iter().map(|(contribution, _)| contribution).collect();
        let measured = measure(spec, &metered.shape, &metered.spans, query.time_zone, &contributions)
            .map_err(|source| PriceUsageError::Unmeasurable { meter: metered.meter.clone(), source })?;
        Ok((measured.usage, events))
    }

    /// What the meter's events add, with how many events each row stands for.
    async fn contributions(
        &self,
        query: &PriceUsageQuery<'_>,
        metered: &Metered,
        spec: &MeterSpec,
    ) -> Result<Vec<(Contribution, u64)>, UsageStoreError> {
        let Some((start_us, end_us)) = range(metered, spec) else { return Ok(Vec::new()) };
        let grain = Grain::of(metered, spec);
        let text = question(grain, spec.aggregation, start_us, end_us, query.stored_before_us);
        let question =
            self.client.query(&text).bind(query.tenant).bind(metered.meter.as_str()).bind(query.customer);
        let rows = answered(DOING, question.fetch_all::<ContributionRow>()).await?;
        if rows.len() as u64 > ROWS_MAX {
            let problem = format!("price {} looks at more than {ROWS_MAX} single values", metered.price);
            return Err(unreadable(problem));
        }
        rows.into_iter().map(|row| row.read(spec.aggregation)).collect()
    }
}

fn key(query: &PriceUsageQuery<'_>, metered: &Metered, spec: &MeterSpec, period: Period) -> MeteredKey {
    MeteredKey {
        tenant: query.tenant.to_owned(),
        customer: query.customer.to_owned(),
        meter: metered.meter.to_string(),
        spec: spec.clone(),
        period,
    }
}

fn unreadable(problem: String) -> UsageStoreError {
    UsageStoreError::Unreadable { doing: DOING, problem }
}

/// From the first span's start to the last one's end; of a meter that is never reset, from the beginning.
fn range(metered: &Metered, spec: &MeterSpec) -> Option<(i64, i64)> {
    let (first, last) = metered.spans.first().zip(metered.spans.last())?;
    let start_us = match spec.reset {
        ResetPolicy::EachPeriod => first.start.as_microsecond().clamp(0, TIME_MAX_US),
        ResetPolicy::Never => 0,
    };
    Some((start_us, last.end.as_microsecond().clamp(start_us, TIME_MAX_US)))
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
        let Self { time_us, quantity, unique_value, group_values, source, id, events } = self;
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

/// The question's text. What varies in it are numbers of ours; names are bound.
fn question(
    grain: Grain,
    aggregation: AggregationKind,
    start_us: i64,
    end_us: i64,
    stored_before_us: Option<i64>,
) -> String {
    let stored = stored_before_us.map(|us| us.clamp(0, TIME_MAX_US));
    let stored = stored.map(|us| format!("AND stored_at < {}", instant(us))).unwrap_or_default();
    let from = format!(
        "FROM processed_events WHERE tenant = ? AND meter = ? AND customer = ?
         AND time >= {} AND time < {} {stored}",
        instant(start_us),
        instant(end_us)
    );
    match grain {
        Grain::Event => format!(
            "SELECT toUnixTimestamp64Micro(time) AS time_us, toString(quantity) AS quantity, unique_value, group_values,
                    toString(source) AS source, id, toUInt64(1) AS events {from} LIMIT {}",
            ROWS_MAX + 1
        ),
        Grain::Minute => {
            let law = match aggregation {
                AggregationKind::Max => "toString(max(e.quantity))",
                AggregationKind::Min => "toString(min(e.quantity))",
                AggregationKind::Count
                | AggregationKind::Sum
                | AggregationKind::Average
                | AggregationKind::Latest
                | AggregationKind::UniqueCount
                | AggregationKind::WeightedSum
                | AggregationKind::Percentile => "toString(sum(toDecimal256(e.quantity, 18)))",
            };
            format!(
                "SELECT toInt64(toUnixTimestamp(minute)) * 1000000 AS time_us, {law} AS quantity,
                        CAST(NULL, 'Nullable(String)') AS unique_value, e.group_values AS group_values, '' AS source, '' AS id,
                        count() AS events
                 FROM (SELECT toStartOfMinute(time) AS minute, quantity, group_values {from}) AS e
                 GROUP BY minute, e.group_values LIMIT {}",
                ROWS_MAX + 1
            )
        }
    }
}
