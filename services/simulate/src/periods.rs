//! Which periods are billed, and by which terms.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    decimal::Quantity,
    ids::PlanName,
    invoice::{BilledSegment, NextTerms, PlanTerms, Terms},
    period::{Anchor, Period, Schedule},
    subscription::{
        self, AddOn, BillingPeriod, ChangeSpec, FirstInvoice, NextPeriod, Segment, SegmentState, Share,
        SubscriptionSpec, When, timeline,
    },
};

use crate::{SimulateError, catalogue_file::Catalogue, usage_file::MeterUsage};

/// More periods than this are a mistake in a date.
const PERIODS_MAX: usize = 1000;

/// One period with the terms by which it is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledPeriod {
    pub period: Period,
    pub segments: Vec<BilledSegment>,
    /// What was charged once was charged with these.
    pub plans_before: Vec<PlanName>,
    pub next: Option<NextTerms>,
    /// What an invoice at its start charges, where the subscription begins with one.
    pub at_start: Option<NextTerms>,
    /// Whether its invoice was asked for; those before it are computed all the same, because credits and advance charges
    /// go from period to period.
    pub shown: bool,
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
/// A period by itself charges what a subscription of exactly that time would: advance prices once, and nothing in part.
pub fn billed(
    catalogue: &Catalogue,
    usage: &[MeterUsage],
    only: Option<Period>,
    now: Timestamp,
) -> Result<Vec<BilledPeriod>, SimulateError> {
    let times = || usage.iter().flat_map(|usage| usage.kind.contributions()).filter_map(|(time, _)| *time);
    if let Some(subscription) = &catalogue.subscription {
        let asked = only.map(|period| period.end).or_else(|| times().max()?.checked_add(MICROSECOND).ok());
        return of_subscription(catalogue, subscription, asked, only);
    }
    let interval = catalogue.plan_spec().interval;
    if let Some(period) = only {
        return Ok(in_a_row(catalogue, &[period], None));
    }
    let schedule = Schedule::new(interval, Anchor::Calendar, "UTC").map_err(in_interval)?;
    let (first, last) = (times().min().unwrap_or(now), times().max().unwrap_or(now));
    let mut periods = vec![schedule.containing(first).map_err(in_interval)?];
    while let Some(latest) = periods.last().filter(|latest| latest.end <= last) {
        let next = schedule.next(latest).map_err(in_interval)?;
        periods.push(next);
        limit(periods.len())?;
    }
    Ok(in_a_row(catalogue, &periods, None))
}

const MICROSECOND: jiff::SignedDuration = jiff::SignedDuration::from_micros(1);

/// The first period, and on until one holds what was asked for; one that ends is billed to its end, if that is near.
fn of_subscription(
    catalogue: &Catalogue,
    subscription: &SubscriptionSpec,
    asked: Option<Timestamp>,
    only: Option<Period>,
) -> Result<Vec<BilledPeriod>, SimulateError> {
    let place = |error: &dyn std::fmt::Display| SimulateError::new("Subscription: spec", error);
    let terms = subscription
        .terms()
        .to_terms()
        .map_err(|error| SimulateError::new(format!("Subscription: spec.{}", error.field), error.detail))?;
    let interval_of = |plan: &PlanName| catalogue.plans.get(plan).map(|plan| plan.interval);
    let first = terms.billing_start().checked_add(MICROSECOND).map_err(|error| place(&error))?;
    let last_change = subscription.changes.iter().map(|change| change.at).max();
    let last_change =
        last_change.map(|at| at.checked_add(MICROSECOND)).transpose().map_err(|error| place(&error))?;
    // All that the document says is to be seen: its end and its changes, unless a period was asked for.
    let told = if only.is_some() { None } else { subscription.end.or(last_change) };
    let until = [asked, told].into_iter().flatten().max().unwrap_or(first).max(first);
    let mut periods = timeline(&terms, &interval_of, until).map_err(|error| place(&error))?;
    if let (Some(last), None, None) = (periods.last().map(|billed| billed.period), only, subscription.end) {
        let waits = |change: &ChangeSpec| change.when == When::NextPeriod && last.contains(change.at);
        if subscription.changes.iter().any(waits) {
            let until = last.end.checked_add(MICROSECOND).map_err(|error| place(&error))?;
            periods = timeline(&terms, &interval_of, until).map_err(|error| place(&error))?;
        }
    }
    let mut billed: Vec<BilledPeriod> =
        periods.into_iter().map(|period| with_terms(catalogue, period, only)).collect::<Result<_, _>>()?;
    if let (FirstInvoice::AtStart, Some(first)) = (subscription.first_invoice, billed.first_mut()) {
        let periods = subscription::periods(&terms, &interval_of).map_err(|error| place(&error))?;
        let opening = periods.at_its_start().map_err(|error| place(&error))?;
        first.at_start = opening.map(|opening| foreseen(catalogue, &opening)).transpose()?;
    }
    if let (Some(only), true) = (only, billed.iter().all(|billed| !billed.shown)) {
        return Err(none_within(only, &billed));
    }
    Ok(billed)
}

/// Of a part of a period there is no invoice.
fn none_within(only: Period, billed: &[BilledPeriod]) -> SimulateError {
    let shown = |period: Period| format!("{}/{}", period.start, period.end);
    let touched = billed.iter().map(|billed| billed.period).filter(|period| period.within(&only).is_some());
    let problem = match touched.map(shown).collect::<Vec<_>>().as_slice() {
        [] => "the Subscription has no period then".to_owned(),
        periods => {
            format!("no whole period of the Subscription lies within it; there is {}", periods.join(", "))
        }
    };
    SimulateError::new("--period", problem)
}

fn with_terms(
    catalogue: &Catalogue,
    billed: BillingPeriod,
    only: Option<Period>,
) -> Result<BilledPeriod, SimulateError> {
    let BillingPeriod { period, scheduled, segments, first: _, plans_before, next } = billed;
    let segments = segments
        .into_iter()
        .map(|segment| {
            let Segment { period, share, state, .. } = &segment;
            Ok(BilledSegment {
                period: *period,
                scheduled: Some(scheduled),
                share: *share,
                state: *state,
                terms: terms_of(catalogue, &segment)?,
            })
        })
        .collect::<Result<_, SimulateError>>()?;
    let next = next.map(|next| foreseen(catalogue, &next)).transpose()?;
    let shown = only.is_none_or(|only| only.start <= period.start && period.end <= only.end);
    Ok(BilledPeriod { period, segments, plans_before, next, at_start: None, shown })
}

fn foreseen(catalogue: &Catalogue, next: &NextPeriod) -> Result<NextTerms, SimulateError> {
    let NextPeriod { scheduled: _, segment } = next;
    Ok(NextTerms {
        period: segment.period,
        share: segment.charged_share(),
        terms: terms_of(catalogue, segment)?,
    })
}

fn terms_of(catalogue: &Catalogue, segment: &Segment) -> Result<Terms, SimulateError> {
    let add_on = |AddOn { plan, quantity }: &AddOn| plan_terms(catalogue, plan, *quantity);
    Ok(Terms {
        plan: plan_terms(catalogue, &segment.plan, Quantity::ONE)?,
        add_ons: segment.add_ons.iter().map(add_on).collect::<Result<_, _>>()?,
        quantities: segment.quantities.clone(),
    })
}

fn plan_terms(
    catalogue: &Catalogue,
    name: &PlanName,
    quantity: Quantity,
) -> Result<PlanTerms, SimulateError> {
    let spec = catalogue.plans.get(name).ok_or_else(|| {
        SimulateError::new("Subscription: spec", format!("there is no Plan {name} in the file"))
    })?;
    Ok(PlanTerms { name: name.clone(), version: 1, spec: spec.clone(), quantity })
}

/// Whole periods of the one plan.
fn in_a_row(catalogue: &Catalogue, periods: &[Period], after: Option<Period>) -> Vec<BilledPeriod> {
    let plan = PlanTerms {
        name: catalogue.plan.clone(),
        version: 1,
        spec: catalogue.plan_spec().clone(),
        quantity: Quantity::ONE,
    };
    let terms = Terms { plan, add_ons: Vec::new(), quantities: BTreeMap::new() };
    let following = periods.iter().skip(1).copied().map(Some).chain([after]);
    periods
        .iter()
        .zip(following)
        .map(|(period, next)| BilledPeriod {
            period: *period,
            segments: vec![BilledSegment {
                period: *period,
                scheduled: Some(*period),
                terms: terms.clone(),
                share: Share::WHOLE,
                state: SegmentState::Active,
            }],
            plans_before: if *period == periods[0] { Vec::new() } else { vec![catalogue.plan.clone()] },
            next: next.map(|period| NextTerms { period, terms: terms.clone(), share: Share::WHOLE }),
            at_start: None,
            shown: true,
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
