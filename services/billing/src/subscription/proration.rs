//! What share of the scheduled period a segment of it has, by policy. Under each of them the segments that cover a whole
//! scheduled period have shares that sum to one exactly.
//!
//! - `BySecond`: its length in time, counted in microseconds. A day of 25 hours weighs more than one of 23.
//! - `ByDay`: the civil days of the subscription's zone whose end lies in it. So the day of a change belongs to the segment
//!   that is in force when the day ends, and 31 January 10:00 to 28 February 10:00 is 28 days. Dates are counted as the
//!   calendar prints them: one that the zone skipped (Samoa, 30 December 2011) counts for the segment that spans it.
//! - `None`: the whole for the segment that begins the billed period, nothing for the others. Terms in force at the start
//!   are charged in full, even in a period that is cut short; changes within cost and credit nothing until the next period.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{share::Share, terms::Proration};
use crate::period::{Period, PeriodError};

/// Where a segment stands in its billed period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    First,
    Later,
}

impl Proration {
    /// The share of a segment that lies within `scheduled`.
    pub(super) fn share(
        self,
        segment: &Period,
        scheduled: &Period,
        position: Position,
        zone: &TimeZone,
    ) -> Result<Share, PeriodError> {
        match (self, position) {
            (Self::BySecond, Position::First | Position::Later) => by_time(segment, scheduled),
            (Self::ByDay, Position::First | Position::Later) => by_day(segment, scheduled, zone),
            (Self::None, Position::First) => Ok(Share::WHOLE),
            (Self::None, Position::Later) => Ok(Share::NOTHING),
        }
    }
}

fn by_time(segment: &Period, scheduled: &Period) -> Result<Share, PeriodError> {
    Share::new(segment.micros(), scheduled.micros()).map_err(|_| PeriodError::OutOfRange)
}

fn by_day(segment: &Period, scheduled: &Period, zone: &TimeZone) -> Result<Share, PeriodError> {
    match days_ended(scheduled, zone)? {
        // Between two boundaries of a daily schedule no day may end, where a clock change repeats midnight. There is nothing
        // to count then but time.
        0 => by_time(segment, scheduled),
        all => Share::new(days_ended(segment, zone)?, all).map_err(|_| PeriodError::OutOfRange),
    }
}

/// How many civil days end in (start, end]: a difference of two counts, so those of adjacent periods add up.
fn days_ended(period: &Period, zone: &TimeZone) -> Result<u64, PeriodError> {
    let (first, last) = (day_begun(period.start, zone)?, day_begun(period.end, zone)?);
    u64::try_from(last.duration_since(first).as_hours() / 24).map_err(|_| PeriodError::OutOfRange)
}

/// The latest day that has begun by this instant. It is the local date, except where the clock went back over midnight:
/// there the local date goes back too, but the day has begun once and for all, so that days never count backwards.
fn day_begun(at: Timestamp, zone: &TimeZone) -> Result<Date, PeriodError> {
    let mut day = zone.to_datetime(at).date();
    loop {
        let next = day.tomorrow().map_err(|_| PeriodError::OutOfRange)?;
        let begins = zone
            .to_ambiguous_timestamp(next.to_datetime(jiff::civil::Time::midnight()))
            .compatible()
            .map_err(|_| PeriodError::OutOfRange)?;
        if begins > at {
            return Ok(day);
        }
        day = next;
    }
}

#[cfg(test)]
#[path = "proration_tests.rs"]
mod tests;
