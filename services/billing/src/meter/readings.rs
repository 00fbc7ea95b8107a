//! Levels through time: what Latest and WeightedSum keep of their events.
//!
//! Readings are ordered by (time, source, id), the last two as text, so that of events of one microsecond the same one is
//! the last on every machine. They say nothing of what was before the first: that is the level carried in.

use std::collections::BTreeSet;

use super::partial::FinishError;
use crate::{
    decimal::{Decimal, Quantity},
    period::Period,
};

/// A level from a time on. The order of the fields is the order of readings; `level` comes last, to make it total.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// UTC microseconds.
    pub time_us: i64,
    pub source: String,
    pub id: String,
    pub level: Quantity,
}

impl Reading {
    pub(super) fn check_within(&self, window: Period) -> Result<(), FinishError> {
        let within =
            window.start.as_microsecond() <= self.time_us && self.time_us < window.end.as_microsecond();
        if within { Ok(()) } else { Err(FinishError::OutsideWindow { time_us: self.time_us }) }
    }
}

/// What the level within `window` makes of its mean over `whole`, weighted by how long it stood: ∫ level dt ÷ the length of
/// `whole`. It begins at `carried`, and each reading sets it until the next. A reading at the window's start leaves nothing of
/// `carried`. Windows that tile `whole` come to its mean together.
///
/// Exact up to one rounding, at the 18th decimal of the result: the integral is kept whole, in microseconds.
pub(super) fn time_weighted_mean(
    readings: &BTreeSet<Reading>,
    carried: Quantity,
    window: Period,
    whole: Period,
) -> Result<Quantity, FinishError> {
    let (start_us, end_us) = (window.start.as_microsecond(), window.end.as_microsecond());
    if window.micros() == 0 || whole.micros() == 0 {
        return Err(FinishError::EmptyWindow);
    }
    let (mut level, mut since_us) = (carried, start_us);
    let mut stood = Vec::with_capacity(readings.len() + 1);
    for reading in readings {
        reading.check_within(window)?;
        stood.push((level.0, reading.time_us.abs_diff(since_us)));
        (level, since_us) = (reading.level, reading.time_us);
    }
    stood.push((level.0, end_us.abs_diff(since_us)));
    Ok(Quantity(Decimal::weighted_mean(stood, whole.micros())?))
}
