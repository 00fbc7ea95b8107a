//! Which periods are billed.

use jiff::Timestamp;
use meridian_billing::{
    catalogue::IntervalSpec,
    invoice::FirstPeriod,
    period::{Anchor, Period, Schedule},
};

use crate::{
    SimulateError,
    catalogue_file::{AnchorSpec, Catalogue, SubscriptionSpec},
    usage_file::{MeterUsage, UsageKind},
};

/// More periods than this are a mistake in a date.
const PERIODS_MAX: usize = 1000;

/// One period with its place in the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Billed {
    pub period: Period,
    pub first: FirstPeriod,
    pub next: Option<Period>,
}

/// `START/END`, two instants of RFC 3339.
pub fn parse(text: &str) -> Result<Period, SimulateError> {
    let wrong = |problem: String| SimulateError::new("--period", problem);
    let (start, end) = text.split_once('/').ok_or_else(|| wrong(format!("{text:?} is not START/END")))?;
    let instant = |text: &str| -> Result<Timestamp, SimulateError> {
        let short = format!("{text}T00:00:00Z");
        text.parse().or_else(|_| short.parse()).map_err(|_| {
            wrong(format!(
                "{text:?} is no instant: write 2026-03-01T00:00:00Z, or a date, which is midnight in UTC"
            ))
        })
    };
    let period = Period { start: instant(start)?, end: instant(end)? };
    if period.end <= period.start {
        return Err(wrong(format!("{text:?} ends before it begins")));
    }
    Ok(period)
}

/// The periods to bill: those of the Subscription; or `--period` as it is; or the calendar's that hold the events; or the one
/// that holds `now`.
///
/// A period by itself charges what a subscription of exactly that time would: advance prices once.
pub fn billed(
    catalogue: &Catalogue,
    usage: &[MeterUsage],
    only: Option<Period>,
    now: Timestamp,
) -> Result<Vec<Billed>, SimulateError> {
    let times = || {
        usage.iter().flat_map(|usage| match &usage.kind {
            UsageKind::Quantity(_) => Vec::new(),
            UsageKind::Contributions(all) => all.iter().filter_map(|(time, _)| *time).collect(),
        })
    };
    let interval = catalogue.plan_spec.interval;
    if let Some(subscription) = &catalogue.subscription {
        let until = only.map(|period| period.end).or_else(|| times().max()).unwrap_or(subscription.start);
        let mut all = of_subscription(subscription, interval, until)?;
        if let Some(only) = only {
            all.retain(|billed| only.start <= billed.period.start && billed.period.end <= only.end);
        }
        return Ok(all);
    }
    if let Some(period) = only {
        return Ok(vec![Billed { period, first: FirstPeriod::Yes, next: None }]);
    }
    let schedule = Schedule::new(interval, Anchor::Calendar, "UTC").map_err(in_interval)?;
    let (first, last) = (times().min().unwrap_or(now), times().max().unwrap_or(now));
    let mut periods = vec![schedule.containing(first).map_err(in_interval)?];
    while let Some(latest) = periods.last().filter(|latest| latest.end <= last) {
        let next = schedule.next(latest).map_err(in_interval)?;
        periods.push(next);
        limit(periods.len())?;
    }
    Ok(in_a_row(&periods, None))
}

/// From the start on, until a period holds `until`, or the subscription ends.
fn of_subscription(
    subscription: &SubscriptionSpec,
    interval: IntervalSpec,
    until: Timestamp,
) -> Result<Vec<Billed>, SimulateError> {
    let SubscriptionSpec { plan_ref: _, start, end, time_zone, anchor } = subscription;
    if end.is_some_and(|end| end <= *start) {
        return Err(SimulateError::new("Subscription: spec.end", "must be after start"));
    }
    let anchor = match anchor {
        AnchorSpec::Calendar => Anchor::Calendar,
        AnchorSpec::Anniversary => Anchor::Start { at: *start },
    };
    let schedule = Schedule::new(interval, anchor, time_zone)
        .map_err(|error| SimulateError::new("Subscription: spec.timeZone", error))?;
    let cut = |mut period: Period| {
        period.start = period.start.max(*start);
        period.end = end.map_or(period.end, |end| end.min(period.end));
        period
    };
    let mut periods = vec![cut(schedule.containing(*start).map_err(in_interval)?)];
    loop {
        let latest = periods[periods.len() - 1];
        let ended = end.is_some_and(|end| latest.end >= end);
        if ended {
            return Ok(in_a_row(&periods, None));
        }
        let next = cut(schedule.containing(latest.end).map_err(in_interval)?);
        let done = match end {
            // A subscription that ends is billed to its end.
            Some(_) => false,
            None => latest.end >= until && latest.end > *start,
        };
        if done {
            return Ok(in_a_row(&periods, Some(next)));
        }
        periods.push(next);
        limit(periods.len())?;
    }
}

fn in_a_row(periods: &[Period], after: Option<Period>) -> Vec<Billed> {
    let following = periods.iter().skip(1).copied().map(Some).chain([after]);
    periods
        .iter()
        .zip(following)
        .enumerate()
        .map(|(index, (period, next))| Billed {
            period: *period,
            first: if index == 0 { FirstPeriod::Yes } else { FirstPeriod::No },
            next,
        })
        .collect()
}

fn limit(periods: usize) -> Result<(), SimulateError> {
    if periods > PERIODS_MAX {
        return Err(SimulateError::new(
            "period",
            format!("these are more than {PERIODS_MAX} periods: check the dates"),
        ));
    }
    Ok(())
}

fn in_interval(error: meridian_billing::period::PeriodError) -> SimulateError {
    SimulateError::new("spec.interval", error)
}
