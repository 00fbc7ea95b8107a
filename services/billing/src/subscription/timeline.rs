//! Walks a subscription's life from boundary to boundary and lays out what is billed.
//!
//! The rules, each where two readings were possible:
//! - A change takes effect at its instant, or, with `NextPeriod`, at the first boundary after it. Those that waited take effect
//!   before the ones at the boundary's own instant. An immediate change does not withdraw one that waits.
//! - A plan of another interval starts a schedule of its own: the running period is cut at the change. An anniversary then
//!   runs from the change; on the calendar the next period runs to the new interval's next boundary. Intervals with the same
//!   boundaries (`Quarter` and three months) cut nothing.
//! - Nothing is billed before the trial's end, but changes take effect during it; its end is the first boundary. A subscription
//!   that is cancelled or ends by then has no period.
//! - Pausing cuts nothing and moves no boundary: the time stays in the timeline as paused segments. Quantities stay with
//!   their price's name over a change of plan.
//! - An add-on is billed in the plan's periods, so its plan has the same interval.
//!
//! Changes are checked as they take effect: of those beyond the last period only the plans that they name are looked up.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    billing_period::{BillingPeriod, NextPeriod, Segment, SegmentState},
    proration::Position,
    terms::{AddOn, Amendment, BillingAnchor, Cancel, Change, Effect, Terms, Turn, When},
};
use crate::{
    catalogue::IntervalSpec,
    decimal::Quantity,
    ids::{PlanName, PriceName},
    period::{Anchor, Period, PeriodError, Schedule, same_boundaries},
};

/// Most periods of one [`timeline`]: 83 years of months. [`periods`] has no such end.
pub const PERIODS_MAX: usize = 1000;

/// Why terms have no timeline. `change` counts the list of changes from zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    #[error("{field}: there is no plan {plan}")]
    UnknownPlan { field: String, plan: PlanName },
    #[error(
        "add-on {add_on}: its plan's interval is not that of plan {plan}, in whose periods it would be billed from {at}"
    )]
    AddOnInterval { add_on: PlanName, plan: PlanName, at: Timestamp },
    #[error("changes[{change}].pause: the subscription is paused already at {at}, when this takes effect")]
    PauseWhilePaused { change: usize, at: Timestamp },
    #[error("changes[{change}].resume: the subscription is not paused at {at}, when this takes effect")]
    ResumeWithoutPause { change: usize, at: Timestamp },
    #[error("there are more than {PERIODS_MAX} periods before {until}")]
    TooManyPeriods { until: Timestamp },
    #[error(transparent)]
    Schedule(#[from] PeriodError),
}

/// The billing periods that begin before `until`, the last one whole; they tile the time from the start of billing.
pub fn timeline(
    terms: &Terms,
    interval_of: &dyn Fn(&PlanName) -> Option<IntervalSpec>,
    until: Timestamp,
) -> Result<Vec<BillingPeriod>, TimelineError> {
    let mut all = periods(terms, interval_of)?;
    let mut laid_out: Vec<BillingPeriod> = Vec::new();
    while all.next_start().is_some_and(|start| start < until) {
        if laid_out.len() == PERIODS_MAX {
            return Err(TimelineError::TooManyPeriods { until });
        }
        laid_out.extend(all.next().transpose()?);
    }
    Ok(laid_out)
}

/// The billing periods one after the other, for as long as the subscription runs.
pub fn periods<'a>(
    terms: &'a Terms,
    interval_of: &dyn Fn(&PlanName) -> Option<IntervalSpec>,
) -> Result<Periods<'a>, TimelineError> {
    let mut walk = Walk::new(terms, intervals(terms, interval_of)?);
    let opening = walk.begin()?;
    Ok(Periods { walk, opening, first: true, plans_before: Vec::new() })
}

/// See [`periods`]. After an error there is nothing more.
pub struct Periods<'a> {
    walk: Walk<'a>,
    /// The period that comes next; None when the subscription has ended.
    opening: Option<Opening>,
    first: bool,
    plans_before: Vec<PlanName>,
}

impl Periods<'_> {
    /// Where the period that comes next begins.
    pub fn next_start(&self) -> Option<Timestamp> {
        self.opening.as_ref().map(|opening| opening.start)
    }

    /// The period that comes next as it is known at its start, to charge for it then: whole but for an end that is known, under the
    /// terms that hold at its start. None where it begins with a pause, and when the subscription has ended.
    pub fn at_its_start(&self) -> Result<Option<NextPeriod>, TimelineError> {
        let Some(Opening { start, scheduled, .. }) = self.opening else { return Ok(None) };
        let next = self.walk.foresee(start, scheduled, &self.walk.in_force)?;
        Ok(Some(next).filter(|next| next.segment.state == SegmentState::Active))
    }

    fn lay_out(&mut self, opened: &Opening) -> Result<BillingPeriod, TimelineError> {
        let run = self.walk.run(opened)?;
        self.opening = match run.then {
            Then::Ends => None,
            Then::Goes => self.walk.open(run.end, Some(&opened.schedule))?,
        };
        let segments = self.walk.segments(&opened.scheduled, &run)?;
        let held = held_at_the_end(&segments, &self.plans_before);
        Ok(BillingPeriod {
            period: Period { start: opened.start, end: run.end },
            scheduled: opened.scheduled,
            segments,
            first: std::mem::replace(&mut self.first, false),
            plans_before: std::mem::replace(&mut self.plans_before, held),
            next: self
                .opening
                .as_ref()
                .map(|next| self.walk.foresee(next.start, next.scheduled, &next.foreseen))
                .transpose()?,
        })
    }
}

impl Iterator for Periods<'_> {
    type Item = Result<BillingPeriod, TimelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let opened = self.opening.take()?;
        Some(self.lay_out(&opened))
    }
}

/// The plans in force as a period ends. One that was paused for as long as it was there has charged nothing yet, a set-up fee
/// neither, and does not count.
fn held_at_the_end(segments: &[Segment], before: &[PlanName]) -> Vec<PlanName> {
    let plans = |segment: &Segment| {
        let Segment { plan, add_ons, .. } = segment;
        std::iter::once(plan).chain(add_ons.iter().map(|add_on| &add_on.plan)).cloned().collect::<Vec<_>>()
    };
    let was_active = |name: &PlanName| {
        let mut active = segments.iter().filter(|segment| segment.state == SegmentState::Active);
        active.any(|segment| plans(segment).contains(name))
    };
    let last = segments.last().map(plans).unwrap_or_default();
    last.into_iter().filter(|name| was_active(name) || before.contains(name)).collect()
}

/// The interval of every plan that the terms name; a plan without one is an error here, so nowhere later.
fn intervals<'a>(
    terms: &'a Terms,
    interval_of: &dyn Fn(&PlanName) -> Option<IntervalSpec>,
) -> Result<BTreeMap<&'a PlanName, IntervalSpec>, TimelineError> {
    let known = |(field, plan): (String, &'a PlanName)| match interval_of(plan) {
        Some(interval) => Ok((plan, interval)),
        None => Err(TimelineError::UnknownPlan { field, plan: plan.clone() }),
    };
    terms.plans_named().into_iter().map(known).collect()
}

/// What holds at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InForce {
    plan: PlanName,
    quantities: BTreeMap<PriceName, Quantity>,
    add_ons: Vec<AddOn>,
    state: SegmentState,
}

/// The walk's place: the changes before `cursor` took effect or wait in `waiting`.
struct Walk<'a> {
    terms: &'a Terms,
    intervals: BTreeMap<&'a PlanName, IntervalSpec>,
    cursor: usize,
    /// For the next boundary, by index.
    waiting: Vec<usize>,
    in_force: InForce,
}

/// A period that begins.
struct Opening {
    start: Timestamp,
    scheduled: Period,
    schedule: Running,
    /// What the period before could know of the terms.
    foreseen: InForce,
    then: Then,
}

/// The schedule that boundaries come from, and the interval that it was made for.
#[derive(Clone)]
struct Running {
    interval: IntervalSpec,
    schedule: Schedule,
}

/// A period that was walked to its end: where it ends, and the instants at which its terms became others, the start first.
struct Run {
    end: Timestamp,
    terms: Vec<(Timestamp, InForce)>,
    then: Then,
}

/// What comes after a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Goes,
    Ends,
}

impl<'a> Walk<'a> {
    fn new(terms: &'a Terms, intervals: BTreeMap<&'a PlanName, IntervalSpec>) -> Self {
        let in_force = InForce {
            plan: terms.plan.clone(),
            quantities: terms.quantities.clone(),
            add_ons: terms.add_ons.clone(),
            state: SegmentState::Active,
        };
        Self { terms, intervals, cursor: 0, waiting: Vec::new(), in_force }
    }

    /// Through the trial to the first period, if there is one.
    fn begin(&mut self) -> Result<Option<Opening>, TimelineError> {
        while let Some(at) = self.next_change_before(self.terms.billing_start) {
            if self.take_changes(at)?.is_some() {
                return Ok(None);
            }
        }
        self.open(self.terms.billing_start, None)
    }

    /// What is in force as a period begins, and where it lies in the schedule; None when the subscription ends here.
    fn open(
        &mut self,
        start: Timestamp,
        running: Option<&Running>,
    ) -> Result<Option<Opening>, TimelineError> {
        if self.terms.end.is_some_and(|end| end <= start) {
            return Ok(None);
        }
        for index in std::mem::take(&mut self.waiting) {
            self.take_effect(index, start)?;
        }
        let before = self.in_force.clone();
        let then = match self.take_changes(start)? {
            Some(Cancel::AtOnce) => return Ok(None),
            Some(Cancel::AtPeriodEnd) => Then::Ends,
            None => Then::Goes,
        };
        self.check_add_ons(start)?;
        let interval = self.interval(&self.in_force.plan);
        let schedule = match running {
            Some(running) if same_boundaries(running.interval, interval) => running.clone(),
            Some(_) | None => self.schedule(interval, start)?,
        };
        let schedule_was_foreseen = same_boundaries(self.interval(&before.plan), interval);
        Ok(Some(Opening {
            start,
            scheduled: schedule.schedule.containing(start)?,
            schedule,
            foreseen: if schedule_was_foreseen { before } else { self.in_force.clone() },
            then,
        }))
    }

    /// From a period's start through the changes within it to its end.
    fn run(&mut self, opened: &Opening) -> Result<Run, TimelineError> {
        let mut run = Run {
            end: self.cut_at_end(opened.scheduled.end),
            terms: vec![(opened.start, self.in_force.clone())],
            then: opened.then,
        };
        while let Some(at) = self.next_change_before(run.end) {
            if self.starts_a_schedule(at, opened.schedule.interval) {
                // The changes of this instant are the next period's to take.
                run.end = at;
                break;
            }
            match self.take_changes(at)? {
                Some(Cancel::AtOnce) => return Ok(Run { end: at, then: Then::Ends, terms: run.terms }),
                Some(Cancel::AtPeriodEnd) => run.then = Then::Ends,
                None => {}
            }
            self.check_add_ons(at)?;
            if run.terms.last().is_none_or(|(_, last)| *last != self.in_force) {
                run.terms.push((at, self.in_force.clone()));
            }
        }
        Ok(run)
    }

    fn segments(&self, scheduled: &Period, run: &Run) -> Result<Vec<Segment>, TimelineError> {
        let ends = run.terms.iter().skip(1).map(|(at, _)| *at).chain([run.end]);
        let positions = std::iter::once(Position::First).chain(std::iter::repeat(Position::Later));
        run.terms
            .iter()
            .zip(ends)
            .zip(positions)
            .map(|(((start, in_force), end), position)| {
                self.segment(Period { start: *start, end }, in_force, scheduled, position)
            })
            .collect()
    }

    fn foresee(
        &self,
        start: Timestamp,
        scheduled: Period,
        in_force: &InForce,
    ) -> Result<NextPeriod, TimelineError> {
        let period = Period { start, end: self.cut_at_end(scheduled.end) };
        let segment = self.segment(period, in_force, &scheduled, Position::First)?;
        Ok(NextPeriod { scheduled, segment })
    }

    fn segment(
        &self,
        period: Period,
        in_force: &InForce,
        scheduled: &Period,
        position: Position,
    ) -> Result<Segment, TimelineError> {
        let InForce { plan, quantities, add_ons, state } = in_force.clone();
        let share = self.terms.proration.share(&period, scheduled, position, &self.terms.zone)?;
        Ok(Segment { period, plan, add_ons, quantities, state, share })
    }

    fn schedule(&self, interval: IntervalSpec, from: Timestamp) -> Result<Running, TimelineError> {
        let anchor = match self.terms.anchor {
            BillingAnchor::Calendar => Anchor::Calendar,
            BillingAnchor::Anniversary => Anchor::Start { at: from },
        };
        let schedule = Schedule::new(interval, anchor, &self.terms.time_zone)?;
        Ok(Running { interval, schedule })
    }

    fn cut_at_end(&self, boundary: Timestamp) -> Timestamp {
        self.terms.end.map_or(boundary, |end| end.min(boundary))
    }

    fn next_change_before(&self, end: Timestamp) -> Option<Timestamp> {
        self.terms.changes.get(self.cursor).map(|change| change.at).filter(|at| *at < end)
    }

    /// The changes of one instant, from the cursor on.
    fn changes_at(&self, at: Timestamp) -> &'a [Change] {
        let rest = self.terms.changes.get(self.cursor..).unwrap_or_default();
        &rest[..rest.iter().take_while(|change| change.at == at).count()]
    }

    /// Whether the changes of this instant leave a plan of another interval in force.
    fn starts_a_schedule(&self, at: Timestamp, running: IntervalSpec) -> bool {
        let changes = self.changes_at(at);
        let plan = changes.iter().rev().find_map(|change| match &change.effect {
            Effect::Amend { amendment, when: When::Immediate } => amendment.plan.as_ref(),
            Effect::Amend { amendment: _, when: When::NextPeriod } => None,
            Effect::Cancel(Cancel::AtOnce | Cancel::AtPeriodEnd) => None,
        });
        let ends = matches!(changes.last(), Some(Change { at: _, effect: Effect::Cancel(Cancel::AtOnce) }));
        !ends && plan.is_some_and(|plan| !same_boundaries(self.interval(plan), running))
    }

    /// Lets the changes of one instant take effect or wait; a cancellation, always the last of them, is handed back.
    fn take_changes(&mut self, at: Timestamp) -> Result<Option<Cancel>, TimelineError> {
        for change in self.changes_at(at) {
            let index = self.cursor;
            self.cursor += 1;
            match &change.effect {
                Effect::Amend { amendment, when: When::Immediate } => {
                    self.in_force.amend(amendment, index, at)?
                }
                Effect::Amend { amendment: _, when: When::NextPeriod } => self.waiting.push(index),
                Effect::Cancel(cancel) => return Ok(Some(*cancel)),
            }
        }
        Ok(None)
    }

    /// A change that waited for this boundary.
    fn take_effect(&mut self, index: usize, at: Timestamp) -> Result<(), TimelineError> {
        match &self.terms.changes[index].effect {
            Effect::Amend { amendment, when: When::Immediate | When::NextPeriod } => {
                self.in_force.amend(amendment, index, at)
            }
            Effect::Cancel(Cancel::AtOnce | Cancel::AtPeriodEnd) => Ok(()),
        }
    }

    fn check_add_ons(&self, at: Timestamp) -> Result<(), TimelineError> {
        let InForce { plan, add_ons, quantities: _, state: _ } = &self.in_force;
        let interval = self.interval(plan);
        match add_ons.iter().find(|add_on| !same_boundaries(self.interval(&add_on.plan), interval)) {
            Some(AddOn { plan: add_on, quantity: _ }) => {
                Err(TimelineError::AddOnInterval { add_on: add_on.clone(), plan: plan.clone(), at })
            }
            None => Ok(()),
        }
    }

    fn interval(&self, plan: &PlanName) -> IntervalSpec {
        *self.intervals.get(plan).expect("intervals() looked up every plan that the terms name")
    }
}

impl InForce {
    fn amend(&mut self, amendment: &Amendment, change: usize, at: Timestamp) -> Result<(), TimelineError> {
        let Amendment { plan, quantities, add_ons, turn } = amendment;
        self.state = match (turn, self.state) {
            (None, state) => state,
            (Some(Turn::Pause), SegmentState::Active) => SegmentState::Paused,
            (Some(Turn::Resume), SegmentState::Paused) => SegmentState::Active,
            (Some(Turn::Pause), SegmentState::Paused) => {
                return Err(TimelineError::PauseWhilePaused { change, at });
            }
            (Some(Turn::Resume), SegmentState::Active) => {
                return Err(TimelineError::ResumeWithoutPause { change, at });
            }
        };
        if let Some(plan) = plan {
            self.plan = plan.clone();
        }
        if let Some(add_ons) = add_ons {
            self.add_ons = add_ons.clone();
        }
        self.quantities.extend(quantities.iter().map(|(price, quantity)| (price.clone(), *quantity)));
        Ok(())
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "timeline_change_tests.rs"]
mod change_tests;
