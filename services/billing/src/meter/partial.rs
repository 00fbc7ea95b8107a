//! Partial results: what is known of a meter's usage so far, how two of them merge, and the number that they come to. The
//! table of the laws is at the head of mod.rs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Contribution,
    percentile::nearest_rank,
    readings::{Reading, time_weighted_mean},
};
use crate::{
    catalogue::{AggregationKind, MeterSpec, ResetPolicy},
    decimal::{Decimal, Overflow, Quantity},
    period::Period,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partial {
    Count(Quantity),
    Sum(Quantity),
    Max(Quantity),
    Min(Option<Quantity>),
    Average {
        sum: Quantity,
        count: u64,
    },
    Latest(Option<Reading>),
    UniqueCount(BTreeSet<String>),
    WeightedSum(BTreeSet<Reading>),
    /// How often each value occurred.
    Percentile(BTreeMap<Quantity, u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("usage of different aggregations cannot be merged")]
    DifferentAggregations,
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Why a partial result comes to no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    #[error("the meter's aggregation is {}, the usage is that of a {}", meter.as_str(), usage.as_str())]
    OtherAggregation { meter: AggregationKind, usage: AggregationKind },
    #[error("the meter says no percentile")]
    NoPercentile,
    #[error("the window is empty, and no level stood in it")]
    EmptyWindow,
    #[error("a reading at {time_us} µs lies outside of the window")]
    OutsideWindow { time_us: i64 },
    #[error("the level at the end is {level}: more was taken away than was there")]
    BelowZero { level: Quantity },
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl Partial {
    pub fn empty(aggregation: AggregationKind) -> Self {
        match aggregation {
            AggregationKind::Count => Self::Count(Quantity::ZERO),
            AggregationKind::Sum => Self::Sum(Quantity::ZERO),
            AggregationKind::Max => Self::Max(Quantity::ZERO),
            AggregationKind::Min => Self::Min(None),
            AggregationKind::Average => Self::Average { sum: Quantity::ZERO, count: 0 },
            AggregationKind::Latest => Self::Latest(None),
            AggregationKind::UniqueCount => Self::UniqueCount(BTreeSet::new()),
            AggregationKind::WeightedSum => Self::WeightedSum(BTreeSet::new()),
            AggregationKind::Percentile => Self::Percentile(BTreeMap::new()),
        }
    }

    pub fn of(aggregation: AggregationKind, contribution: &Contribution) -> Self {
        let Contribution { quantity, unique_value, group: _, time_us, source, id } = contribution;
        let reading =
            || Reading { time_us: *time_us, source: source.clone(), id: id.clone(), level: *quantity };
        match aggregation {
            AggregationKind::Count => Self::Count(*quantity),
            AggregationKind::Sum => Self::Sum(*quantity),
            AggregationKind::Max => Self::Max(*quantity),
            AggregationKind::Min => Self::Min(Some(*quantity)),
            AggregationKind::Average => Self::Average { sum: *quantity, count: 1 },
            AggregationKind::Latest => Self::Latest(Some(reading())),
            AggregationKind::UniqueCount => Self::UniqueCount(unique_value.iter().cloned().collect()),
            AggregationKind::WeightedSum => Self::WeightedSum(BTreeSet::from([reading()])),
            AggregationKind::Percentile => Self::Percentile(BTreeMap::from([(*quantity, 1)])),
        }
    }

    pub fn aggregation(&self) -> AggregationKind {
        match self {
            Self::Count(_) => AggregationKind::Count,
            Self::Sum(_) => AggregationKind::Sum,
            Self::Max(_) => AggregationKind::Max,
            Self::Min(_) => AggregationKind::Min,
            Self::Average { .. } => AggregationKind::Average,
            Self::Latest(_) => AggregationKind::Latest,
            Self::UniqueCount(_) => AggregationKind::UniqueCount,
            Self::WeightedSum(_) => AggregationKind::WeightedSum,
            Self::Percentile(_) => AggregationKind::Percentile,
        }
    }

    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        match (self, other) {
            (Self::Count(a), Self::Count(b)) => Ok(Self::Count(a.checked_add(b)?)),
            (Self::Sum(a), Self::Sum(b)) => Ok(Self::Sum(a.checked_add(b)?)),
            // Values are never negative, so nothing yet (0) is below every value.
            (Self::Max(a), Self::Max(b)) => Ok(Self::Max(a.max(b))),
            (Self::Min(a), Self::Min(b)) => Ok(Self::Min(a.into_iter().chain(b).min())),
            (Self::Average { sum, count }, Self::Average { sum: other, count: more }) => Ok(Self::Average {
                sum: sum.checked_add(other)?,
                count: count.checked_add(more).ok_or(Overflow)?,
            }),
            // None is below every reading.
            (Self::Latest(a), Self::Latest(b)) => Ok(Self::Latest(a.max(b))),
            (Self::UniqueCount(a), Self::UniqueCount(b)) => Ok(Self::UniqueCount(united(a, b))),
            (Self::WeightedSum(a), Self::WeightedSum(b)) => Ok(Self::WeightedSum(united(a, b))),
            (Self::Percentile(a), Self::Percentile(b)) => Ok(Self::Percentile(added(a, b)?)),
            (
                Self::Count(_)
                | Self::Sum(_)
                | Self::Max(_)
                | Self::Min(_)
                | Self::Average { .. }
                | Self::Latest(_)
                | Self::UniqueCount(_)
                | Self::WeightedSum(_)
                | Self::Percentile(_),
                _,
            ) => Err(MergeError::DifferentAggregations),
        }
    }

    /// The quantity of `window` that starts from nothing.
    pub fn finish(&self, meter: &MeterSpec, window: Period) -> Result<Quantity, FinishError> {
        self.finish_from(Quantity::ZERO, meter, window)
    }

    /// The quantity of `window` that starts from `level`, what [`Partial::carry`] said of the windows before. A meter that
    /// each period resets starts from nothing, whatever `level` is.
    ///
    /// The events must be those of the window; of readings, which know their time, it is checked. A mean or a product is
    /// rounded once, half away from zero at the 18th decimal; everything else is exact.
    pub fn finish_from(
        &self,
        level: Quantity,
        meter: &MeterSpec,
        window: Period,
    ) -> Result<Quantity, FinishError> {
        self.finish_within(level, meter, window, window)
    }

    /// The same of a window that is a part of `whole`: a mean over time is what the window makes of the mean over all of it.
    /// Everything else is the window's alone.
    pub fn finish_within(
        &self,
        level: Quantity,
        meter: &MeterSpec,
        window: Period,
        whole: Period,
    ) -> Result<Quantity, FinishError> {
        self.check_is_of(meter)?;
        let level = carried_in(level, meter.reset);
        match self {
            Self::Count(quantity) | Self::Max(quantity) => Ok(*quantity),
            Self::Sum(sum) => {
                let level = not_below_zero(level.checked_add(*sum)?)?;
                Ok(meter.multiplier.map_or(Ok(level), |factor| level.0.checked_mul(factor).map(Quantity))?)
            }
            Self::Min(smallest) => Ok(smallest.unwrap_or(Quantity::ZERO)),
            Self::Average { count: 0, sum: _ } => Ok(Quantity::ZERO),
            Self::Average { sum, count } => Ok(Quantity(sum.0.checked_div(integer(*count)?)?)),
            Self::Latest(None) => not_below_zero(level),
            Self::Latest(Some(reading)) => {
                reading.check_within(window)?;
                Ok(reading.level)
            }
            Self::UniqueCount(values) => {
                Ok(Quantity(integer(u64::try_from(values.len()).map_err(|_| Overflow)?)?))
            }
            Self::WeightedSum(readings) => {
                time_weighted_mean(readings, not_below_zero(level)?, window, whole)
            }
            Self::Percentile(values) => {
                let percentile = meter.percentile.ok_or(FinishError::NoPercentile)?;
                Ok(nearest_rank(values, percentile)?.unwrap_or(Quantity::ZERO))
            }
        }
    }

    /// The level that a window which started from `level` leaves to the next; zero for a meter that each period resets. It
    /// is in the unit of the values: a multiplier applies to what a window comes to, not to what it leaves. It may be below
    /// zero for a while, when a decrement's event is earlier than its increment's.
    pub fn carry(&self, level: Quantity, meter: &MeterSpec) -> Result<Quantity, FinishError> {
        self.check_is_of(meter)?;
        let level = carried_in(level, meter.reset);
        match (meter.reset, self) {
            (ResetPolicy::Never, Self::Sum(sum)) => Ok(level.checked_add(*sum)?),
            (ResetPolicy::Never, Self::Latest(latest)) => {
                Ok(latest.as_ref().map_or(level, |reading| reading.level))
            }
            (ResetPolicy::Never, Self::WeightedSum(readings)) => {
                Ok(readings.last().map_or(level, |reading| reading.level))
            }
            (
                ResetPolicy::EachPeriod | ResetPolicy::Never,
                Self::Count(_)
                | Self::Sum(_)
                | Self::Max(_)
                | Self::Min(_)
                | Self::Average { .. }
                | Self::Latest(_)
                | Self::UniqueCount(_)
                | Self::WeightedSum(_)
                | Self::Percentile(_),
            ) => Ok(Quantity::ZERO),
        }
    }

    fn check_is_of(&self, meter: &MeterSpec) -> Result<(), FinishError> {
        let usage = self.aggregation();
        if usage == meter.aggregation {
            Ok(())
        } else {
            Err(FinishError::OtherAggregation { meter: meter.aggregation, usage })
        }
    }
}

fn carried_in(level: Quantity, reset: ResetPolicy) -> Quantity {
    match reset {
        ResetPolicy::EachPeriod => Quantity::ZERO,
        ResetPolicy::Never => level,
    }
}

fn not_below_zero(level: Quantity) -> Result<Quantity, FinishError> {
    if level.is_negative() { Err(FinishError::BelowZero { level }) } else { Ok(level) }
}

fn integer(count: u64) -> Result<Decimal, Overflow> {
    i64::try_from(count).map(Decimal::from_integer).map_err(|_| Overflow)
}

/// The larger set takes the smaller one's members, so that a fold over events is not quadratic.
fn united<T: Ord>(a: BTreeSet<T>, b: BTreeSet<T>) -> BTreeSet<T> {
    let (mut large, small) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    large.extend(small);
    large
}

fn added(
    a: BTreeMap<Quantity, u64>,
    b: BTreeMap<Quantity, u64>,
) -> Result<BTreeMap<Quantity, u64>, Overflow> {
    let (mut large, small) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    for (value, count) in small {
        let known = large.entry(value).or_insert(0);
        *known = known.checked_add(count).ok_or(Overflow)?;
    }
    Ok(large)
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;
