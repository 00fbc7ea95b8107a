//! Billing periods: half-open instants [start, end) that tile time, each instant in exactly one of them.
//!
//! Boundaries are counted from a base in local civil time, never from the boundary before: so the 31st clamps to a month's
//! last day and comes back (Jan 31, Feb 28, Mar 31), and 29 February returns every leap year. A local time that a clock
//! change skips is taken just after the gap; one that happens twice is taken the first time. A boundary that a zone skips
//! altogether (a whole day, as Samoa did in 2011) gives no empty period.
//!
//! Zones come from the time zone database that is compiled in, not from the machine, so that a period recomputes the same
//! anywhere; a new database that changes past boundaries calls for a new `ENGINE_VERSION`.

use jiff::{
    Span, Timestamp,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use crate::catalogue::{IntervalSpec, IntervalUnit};

/// [start, end)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Period {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Period {
    /// From UTC microseconds since 1970.
    pub fn from_microseconds(start_us: i64, end_us: i64) -> Result<Self, PeriodError> {
        let instant = |us| Timestamp::from_microsecond(us).map_err(|_| PeriodError::OutOfRange);
        Ok(Self { start: instant(start_us)?, end: instant(end_us)? })
    }

    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// The part of it that lies in another; none where they have no instant in common.
    pub fn within(&self, other: &Self) -> Option<Self> {
        let common = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (common.start < common.end).then_some(common)
    }

    /// How long it is, in microseconds, the unit of all times here; a period that ends before it starts has none.
    pub fn micros(&self) -> u64 {
        u64::try_from(self.end.as_microsecond().saturating_sub(self.start.as_microsecond())).unwrap_or(0)
    }
}

/// Where the boundaries lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Anchor {
    /// At local midnight of the unit's calendar boundary: each day, Monday, the 1st of the month, quarter or year.
    /// Multiples count from 1970 (weeks from Monday, 5 January 1970).
    Calendar,
    /// At the local day and time of this instant, which is itself a boundary.
    Start { at: Timestamp },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error("{0:?} is not a time zone of the IANA database")]
    UnknownTimeZone(String),
    #[error("the interval must be at least one")]
    EmptyInterval,
    #[error("the period lies outside the years that can be represented")]
    OutOfRange,
}

/// The zone of this IANA name, from the compiled-in database.
pub fn zone(name: &str) -> Result<TimeZone, PeriodError> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| PeriodError::UnknownTimeZone(name.to_owned()))
}

/// Interval, anchor and zone: all that decides where periods lie.
#[derive(Debug, Clone)]
pub struct Schedule {
    step: Step,
    anchor: Anchor,
    base: DateTime,
    zone: TimeZone,
}

/// The distance between boundaries in the two units that civil time has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Days(i64),
    Months(i64),
}

impl Step {
    fn of(interval: IntervalSpec) -> Self {
        let count = i64::from(interval.count);
        match interval.unit {
            IntervalUnit::Day => Self::Days(count),
            IntervalUnit::Week => Self::Days(7 * count),
            IntervalUnit::Month => Self::Months(count),
            IntervalUnit::Quarter => Self::Months(3 * count),
            IntervalUnit::Year => Self::Months(12 * count),
        }
    }
}

/// Whether two intervals have the same boundaries under the same anchor, whichever it is: a quarter is three months, but a
/// week is not seven days, because the calendar's weeks begin on Monday.
pub fn same_boundaries(one: IntervalSpec, other: IntervalSpec) -> bool {
    let is_week = |interval: IntervalSpec| interval.unit == IntervalUnit::Week;
    Step::of(one) == Step::of(other) && is_week(one) == is_week(other)
}

impl Schedule {
    pub fn new(interval: IntervalSpec, anchor: Anchor, zone_name: &str) -> Result<Self, PeriodError> {
        if interval.count == 0 {
            return Err(PeriodError::EmptyInterval);
        }
        let step = Step::of(interval);
        let zone = zone(zone_name)?;
        let base = match (anchor, interval.unit) {
            (Anchor::Start { at }, _) => zone.to_datetime(at),
            (Anchor::Calendar, IntervalUnit::Week) => DateTime::constant(1970, 1, 5, 0, 0, 0, 0),
            (
                Anchor::Calendar,
                IntervalUnit::Day | IntervalUnit::Month | IntervalUnit::Quarter | IntervalUnit::Year,
            ) => DateTime::constant(1970, 1, 1, 0, 0, 0, 0),
        };
        Ok(Self { step, anchor, base, zone })
    }

    /// The one period that `at` lies in.
    pub fn containing(&self, at: Timestamp) -> Result<Period, PeriodError> {
        let mut index = self.estimate(at);
        // The estimate is right up to a clamped day or a clock change, so this takes a step or two.
        while self.boundary(index)? > at {
            index -= 1;
        }
        let mut end = self.boundary(index + 1)?;
        while end <= at {
            index += 1;
            end = self.boundary(index + 1)?;
        }
        Ok(Period { start: self.boundary(index)?, end })
    }

    /// The period after this one.
    pub fn next(&self, period: &Period) -> Result<Period, PeriodError> {
        self.containing(period.end)
    }

    /// Whether a period begins at this instant.
    pub fn is_boundary(&self, at: Timestamp) -> Result<bool, PeriodError> {
        Ok(self.containing(at)?.start == at)
    }

    /// About how many steps `at` is from the base.
    fn estimate(&self, at: Timestamp) -> i64 {
        let local = self.zone.to_datetime(at);
        match self.step {
            Step::Days(days) => {
                let apart = local.date().duration_since(self.base.date()).as_hours() / 24;
                apart.div_euclid(days)
            }
            Step::Months(months) => {
                let years = i64::from(local.year()) - i64::from(self.base.year());
                (years * 12 + i64::from(local.month()) - i64::from(self.base.month())).div_euclid(months)
            }
        }
    }

    /// The instant of the boundary that many steps from the base.
    fn boundary(&self, index: i64) -> Result<Timestamp, PeriodError> {
        if let (Anchor::Start { at }, 0) = (self.anchor, index) {
            // Local time alone could mean the other pass of a repeated hour.
            return Ok(at);
        }
        let span = match self.step {
            Step::Days(days) => Span::new().try_days(days.saturating_mul(index)),
            Step::Months(months) => Span::new().try_months(months.saturating_mul(index)),
        };
        let local = span.and_then(|span| self.base.checked_add(span)).map_err(|_| PeriodError::OutOfRange)?;
        self.zone.to_ambiguous_timestamp(local).compatible().map_err(|_| PeriodError::OutOfRange)
    }
}

#[cfg(test)]
#[path = "period_tests.rs"]
mod tests;
