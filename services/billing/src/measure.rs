//! From contributions to what a price asks for: a total, buckets, groups or transactions.
//!
//! This is the meaning of usage; a store that answers from roll-ups must say the same. Contributions may come in any order and
//! of any time: those within the spans count, and of a meter that is never reset those before them make the level that the
//! first span begins with. A time-weighted level that each period resets is nothing when the period begins; within it, it stands
//! through changes, pauses and buckets.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;

use crate::{
    bucket::Buckets,
    catalogue::{AggregationKind, MeterSpec, ResetPolicy},
    decimal::{Decimal, Overflow, Quantity},
    meter::{Contribution, FinishError, MergeError, Partial},
    period::{Period, PeriodError},
    price::{BucketUsage, GroupUsage, TransactionRun, Usage, UsageShape},
};

/// Usage with the number of events in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    pub usage: Usage,
    pub events: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Finish(#[from] FinishError),
    #[error(transparent)]
    Buckets(#[from] PeriodError),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// The time that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// In order, without overlap.
    pub spans: &'a [Period],
    /// A mean over time is over this, of which the spans are parts: so that the parts of a period come to what all of it comes to.
    /// None: over the spans alone.
    pub whole: Option<Period>,
    /// Where the period begins that the spans are of.
    pub since: Timestamp,
}

/// What the meter says of the window, in the shape that a price asks for.
pub fn measure(
    meter: &MeterSpec,
    shape: &UsageShape,
    window: Window<'_>,
    zone: &str,
    contributions: &[&Contribution],
) -> Result<Measured, MeasureError> {
    let Window { spans, whole, since } = window;
    // To a level that begins with the period, the period is all there ever was.
    let (meter, contributions) = if stands_within_its_period(meter) {
        let since_us = since.as_microsecond();
        let of_period = contributions.iter().filter(|contribution| contribution.time_us >= since_us);
        let never_reset = MeterSpec { reset: ResetPolicy::Never, ..meter.clone() };
        (Cow::Owned(never_reset), Cow::Owned(of_period.copied().collect()))
    } else {
        (Cow::Borrowed(meter), Cow::Borrowed(contributions))
    };
    let (meter, contributions): (&MeterSpec, &[&Contribution]) = (&meter, &contributions);
    let within = |time_us: i64| spans.iter().any(|span| contains(*span, time_us));
    let events = contributions.iter().filter(|contribution| within(contribution.time_us)).count() as u64;
    let usage = match shape {
        UsageShape::Total => Usage::Total(total(meter, spans, whole, &Course::of(meter, contributions)?)?),
        UsageShape::Transactions => Usage::Transactions(transactions(spans, contributions)),
        UsageShape::Groups { dimensions } => {
            let mut groups = Vec::new();
            for (values, members) in by_group(dimensions, contributions) {
                let quantity = total(meter, spans, whole, &Course::of(meter, &members)?)?;
                if !quantity.is_zero() {
                    groups.push(GroupUsage { values, quantity });
                }
            }
            Usage::Groups(groups)
        }
        UsageShape::Buckets { size, group_by } => {
            let buckets = Buckets::new(*size, zone)?;
            let mut all = Vec::new();
            for (group, members) in by_group(group_by, contributions) {
                for (start, quantity) in in_buckets(meter, spans, &buckets, &Course::of(meter, &members)?)? {
                    all.push(BucketUsage { start, group: group.clone(), quantity });
                }
            }
            all.sort_by(|a, b| (a.start, &a.group).cmp(&(b.start, &b.group)));
            Usage::Buckets(all)
        }
    };
    Ok(Measured { usage, events })
}

/// Whether what the meter says of a part of a period depends on what came before it in the period, and on nothing earlier.
pub fn stands_within_its_period(meter: &MeterSpec) -> bool {
    meter.aggregation == AggregationKind::WeightedSum && meter.reset == ResetPolicy::EachPeriod
}

fn contains(span: Period, time_us: i64) -> bool {
    span.start.as_microsecond() <= time_us && time_us < span.end.as_microsecond()
}

/// A group's contributions in order of time, and the level that each leaves: of a meter that is never reset, what all of them so far
/// come to; of any other, nothing.
struct Course<'a> {
    contributions: Vec<&'a Contribution>,
    /// Before the first of them, and after each.
    levels: Vec<Quantity>,
}

impl<'a> Course<'a> {
    fn of(meter: &MeterSpec, contributions: &[&'a Contribution]) -> Result<Self, MeasureError> {
        let mut contributions = contributions.to_vec();
        contributions.sort_by(|a, b| (a.time_us, &a.source, &a.id).cmp(&(b.time_us, &b.source, &b.id)));
        let mut levels = Vec::with_capacity(contributions.len() + 1);
        let mut level = Quantity::ZERO;
        levels.push(level);
        for contribution in &contributions {
            level = Partial::of(meter.aggregation, contribution).carry(level, meter)?;
            levels.push(level);
        }
        Ok(Self { contributions, levels })
    }

    /// How many of them come before an instant.
    fn before(&self, at: Timestamp) -> usize {
        self.contributions.partition_point(|contribution| contribution.time_us < at.as_microsecond())
    }

    fn level_at(&self, at: Timestamp) -> Quantity {
        self.levels[self.before(at)]
    }

    fn within(&self, span: Period) -> &[&'a Contribution] {
        &self.contributions[self.before(span.start)..self.before(span.end)]
    }

    fn partial(&self, meter: &MeterSpec, spans: &[Period]) -> Result<Partial, MergeError> {
        spans
            .iter()
            .flat_map(|span| self.within(*span))
            .try_fold(Partial::empty(meter.aggregation), |sum, contribution| {
                sum.merge(Partial::of(meter.aggregation, contribution))
            })
    }
}

/// One quantity for all spans together. A level goes on between them; a mean over time counts the level within the spans alone.
fn total(
    meter: &MeterSpec,
    spans: &[Period],
    whole: Option<Period>,
    course: &Course<'_>,
) -> Result<Quantity, MeasureError> {
    let Some((first, last)) = spans.first().zip(spans.last()) else { return Ok(Quantity::ZERO) };
    let hull = Period { start: first.start, end: last.end };
    match meter.aggregation {
        AggregationKind::WeightedSum => match whole {
            Some(whole) => parts_of_mean(meter, spans, whole, course),
            None => mean_of_spans(meter, spans, course),
        },
        AggregationKind::Count
        | AggregationKind::Sum
        | AggregationKind::Max
        | AggregationKind::Min
        | AggregationKind::Average
        | AggregationKind::Latest
        | AggregationKind::UniqueCount
        | AggregationKind::Percentile => {
            Ok(course.partial(meter, spans)?.finish_from(course.level_at(hull.start), meter, hull)?)
        }
    }
}

/// What the spans make of the mean over `whole`.
fn parts_of_mean(
    meter: &MeterSpec,
    spans: &[Period],
    whole: Period,
    course: &Course<'_>,
) -> Result<Quantity, MeasureError> {
    spans.iter().try_fold(Quantity::ZERO, |sum, span| {
        let within = course.partial(meter, &[*span])?;
        Ok(sum.checked_add(within.finish_within(course.level_at(span.start), meter, *span, whole)?)?)
    })
}

fn mean_of_spans(meter: &MeterSpec, spans: &[Period], course: &Course<'_>) -> Result<Quantity, MeasureError> {
    let (mut sum, mut micros) = (Decimal::ZERO, 0_u64);
    for span in spans {
        let mean = parts_of_mean(meter, &[*span], *span, course)?;
        // Seconds keep the product far from the largest decimal.
        sum = sum.checked_add(mean.0.checked_mul_ratio(span.micros(), 1_000_000)?)?;
        micros = micros.checked_add(span.micros()).ok_or(Overflow)?;
    }
    Ok(Quantity(sum.checked_mul_ratio(1_000_000, micros)?))
}

/// By the values of some properties, "" where an event has none; one group of everything where there are no properties.
fn by_group<'a>(
    properties: &[String],
    contributions: &[&'a Contribution],
) -> BTreeMap<Vec<String>, Vec<&'a Contribution>> {
    let mut groups: BTreeMap<Vec<String>, Vec<&Contribution>> = BTreeMap::new();
    if properties.is_empty() {
        groups.insert(Vec::new(), Vec::new());
    }
    for contribution in contributions {
        let value = |property: &String| contribution.group.get(property).cloned().unwrap_or_default();
        groups.entry(properties.iter().map(value).collect()).or_default().push(contribution);
    }
    groups
}

/// Each bucket by itself: what the meter says of the time in it that the spans cover, one span or several. Those without events
/// count where a level stands in them. A mean over time is over the bucket, so that the parts of one that a boundary cuts come to
/// what all of it comes to.
fn in_buckets(
    meter: &MeterSpec,
    spans: &[Period],
    buckets: &Buckets,
    course: &Course<'_>,
) -> Result<Vec<(Timestamp, Quantity)>, MeasureError> {
    let mut starts: BTreeSet<Timestamp> = BTreeSet::new();
    for span in spans {
        match meter.reset {
            ResetPolicy::Never => starts.extend(buckets.within(*span)?),
            ResetPolicy::EachPeriod => starts.extend(starts_of_events(*span, buckets, course)?),
        }
    }
    let mut quantities = Vec::new();
    for start in starts {
        let bucket = Period { start, end: buckets.end_of(start)? };
        let covered: Vec<Period> = spans.iter().filter_map(|span| span.within(&bucket)).collect();
        let quantity = total(meter, &covered, Some(bucket), course)?;
        if !quantity.is_zero() {
            quantities.push((start, quantity));
        }
    }
    Ok(quantities)
}

fn starts_of_events(
    span: Period,
    buckets: &Buckets,
    course: &Course<'_>,
) -> Result<BTreeSet<Timestamp>, PeriodError> {
    let at = |contribution: &&Contribution| {
        let at = Timestamp::from_microsecond(contribution.time_us).map_err(|_| PeriodError::OutOfRange)?;
        buckets.start_of(at)
    };
    course.within(span).iter().map(at).collect()
}

/// In order of time, then of identity; equal values that follow one another as one run.
fn transactions(spans: &[Period], contributions: &[&Contribution]) -> Vec<TransactionRun> {
    let mut within: Vec<&Contribution> = contributions
        .iter()
        .filter(|contribution| spans.iter().any(|span| contains(*span, contribution.time_us)))
        .copied()
        .collect();
    within.sort_by(|a, b| (a.time_us, &a.source, &a.id).cmp(&(b.time_us, &b.source, &b.id)));
    let mut runs: Vec<TransactionRun> = Vec::new();
    for contribution in within {
        match runs.last_mut() {
            Some(run) if run.quantity == contribution.quantity => run.count += 1,
            _ => runs.push(TransactionRun { quantity: contribution.quantity, count: 1 }),
        }
    }
    runs
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
