//! Which period holds an instant, for a subscription's anchor and a plan's interval.

use jiff::{Span, Timestamp, ToSpan, Zoned, civil::date, tz::TimeZone};
use meridian_billing::catalogue::{IntervalSpec, IntervalUnit};

use crate::Anchor;

/// [start, end) of the period that holds `at`. The error is a sentence.
pub(crate) fn period_holding(
    anchor: Anchor,
    time_zone: &str,
    interval: &IntervalSpec,
    at: Timestamp,
) -> Result<(Timestamp, Timestamp), String> {
    let zone = TimeZone::get(time_zone).map_err(|error| error.to_string())?;
    let origin = match anchor {
        // A Monday and the first of a quarter-aligned year count alike: days and weeks start at it, months and years too.
        Anchor::Calendar => calendar_origin(interval.unit, &zone).map_err(|error| error.to_string())?,
        Anchor::Start { at } => at.to_zoned(zone.clone()),
    };
    search(&origin, interval, at).map_err(|error| error.to_string())
}

fn calendar_origin(unit: IntervalUnit, zone: &TimeZone) -> Result<Zoned, jiff::Error> {
    let day = match unit {
        IntervalUnit::Week => date(1900, 1, 1), // a Monday
        IntervalUnit::Day | IntervalUnit::Month | IntervalUnit::Quarter | IntervalUnit::Year => date(1900, 1, 1),
    };
    day.to_zoned(zone.clone())
}

fn boundary(origin: &Zoned, interval: &IntervalSpec, index: i64) -> Result<Timestamp, jiff::Error> {
    let steps = index * i64::from(interval.count);
    let span: Span = match interval.unit {
        IntervalUnit::Day => steps.days(),
        IntervalUnit::Week => steps.weeks(),
        IntervalUnit::Month => steps.months(),
        IntervalUnit::Quarter => (steps * 3).months(),
        IntervalUnit::Year => steps.years(),
    };
    Ok(origin.checked_add(span)?.timestamp())
}

fn search(origin: &Zoned, interval: &IntervalSpec, at: Timestamp) -> Result<(Timestamp, Timestamp), jiff::Error> {
    let days = match interval.unit {
        IntervalUnit::Day => 1,
        IntervalUnit::Week => 7,
        IntervalUnit::Month => 30,
        IntervalUnit::Quarter => 91,
        IntervalUnit::Year => 365,
    } * i64::from(interval.count);
    let mut index = (at.as_second() - origin.timestamp().as_second()).div_euclid(days * 86_400);
    while boundary(origin, interval, index)? > at {
        index -= 1;
    }
    while boundary(origin, interval, index + 1)? <= at {
        index += 1;
    }
    Ok((boundary(origin, interval, index)?, boundary(origin, interval, index + 1)?))
}
