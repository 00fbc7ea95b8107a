//! A subscription's whole course: the timeline of its terms, and by which version of which plan each part of it is billed.
//! Everything is computed from the row and the plans' versions; no period is stored but the next one to bill.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    decimal::Quantity,
    ids::PlanName,
    invoice::{BilledSegment, NextTerms, PlanTerms, Terms as BilledTerms, check_add_ons},
    period::Period,
    subscription::{
        AddOn, BillingPeriod, HeldPlan, NextPeriod, Periods, Segment, Terms, overridden, periods,
    },
};
use sqlx::{Postgres, Transaction};

use super::{
    BILLED_UNTIL, PlanVersion, ProposedVersion, Subscription, SubscriptionError,
    plan_book::{PlanBook, PlanShelf},
};

pub(crate) struct Course {
    subscription: Subscription,
    book: PlanBook,
    terms: Terms,
}

/// A period in its place among the others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub billed: BillingPeriod,
    /// From zero.
    pub index: u32,
    /// What the period before foresaw of this one, to charge it in advance.
    pub foreseen: Option<NextPeriod>,
    /// From when on the subscription has had the plans that it had as the period began.
    taken: Taken,
}

/// Since when each plan has been in force without a break.
#[derive(Debug, Clone, Default, PartialEq)]
struct Taken(BTreeMap<PlanName, Hold>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Hold {
    /// Where it is billed from.
    since: Timestamp,
    /// When it was chosen, which is later where billing began in the past.
    taken_at: Timestamp,
}

impl Course {
    pub(crate) async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        subscription: &Subscription,
    ) -> Result<Self, SubscriptionError> {
        let shelf = PlanShelf::read(transaction, std::iter::once(subscription)).await?;
        Self::of(subscription, &shelf)
    }

    /// With the plans of a shelf that was read for this subscription, among others.
    pub(super) fn of(subscription: &Subscription, shelf: &PlanShelf) -> Result<Self, SubscriptionError> {
        let book = shelf.book(subscription)?;
        let spec = subscription.terms.terms_spec(subscription.frame());
        Ok(Self { subscription: subscription.clone(), book, terms: spec.to_terms()? })
    }

    /// As if the plan had one more version.
    pub(super) fn propose(&mut self, proposed: &ProposedVersion) {
        self.book.propose(proposed);
    }

    pub(super) fn book(&self) -> &PlanBook {
        &self.book
    }

    /// The plans of the terms, each in its newest version.
    pub(super) fn newest_versions(&self) -> Vec<PlanVersion> {
        self.book.names().filter_map(|plan| self.book.newest(plan)).cloned().collect()
    }

    fn periods(&self) -> Result<Periods<'_>, SubscriptionError> {
        Ok(periods(&self.terms, &|plan| self.book.interval(plan))?)
    }

    /// None when there is nothing to bill at all.
    pub(crate) fn first(&self) -> Result<Option<Period>, SubscriptionError> {
        Ok(self.periods()?.next().transpose()?.map(|billed| billed.period))
    }

    /// The bounds of the period that starts at this instant; None where none does.
    pub(crate) fn starting_at(&self, start: Timestamp) -> Result<Option<Period>, SubscriptionError> {
        Ok(self.placed(start)?.map(|placed| placed.billed.period))
    }

    /// The bounds of the period that holds this instant; None outside the subscription's life.
    pub(crate) fn containing(&self, at: Timestamp) -> Result<Option<Period>, SubscriptionError> {
        if at > BILLED_UNTIL {
            return Ok(None);
        }
        for billed in self.periods()? {
            let period = billed?.period;
            if period.end > at {
                return Ok(Some(period).filter(|period| period.start <= at));
            }
        }
        Ok(None)
    }

    /// The period that follows one that ends at this instant; None where the subscription ends with that one. An error where it
    /// goes on in periods of other bounds: the terms by which it was billed hold no more.
    pub(super) fn following(&self, end: Timestamp) -> Result<Option<Period>, SubscriptionError> {
        let next = self.starting_at(end)?;
        if next.is_none() && self.containing(end)?.is_some() {
            return Err(SubscriptionError::NoSuchPeriod(end));
        }
        Ok(next)
    }

    /// The period that starts at this instant.
    pub(crate) fn placed(&self, start: Timestamp) -> Result<Option<Placed>, SubscriptionError> {
        if start > BILLED_UNTIL {
            return Ok(None);
        }
        let mut taken = Taken::default();
        let mut foreseen = None;
        for (index, billed) in self.periods()?.enumerate() {
            let billed = billed?;
            if billed.period.start > start {
                return Ok(None);
            }
            if billed.period.start == start {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                return Ok(Some(Placed { billed, index, foreseen, taken }));
            }
            for segment in &billed.segments {
                taken.pass(segment, self.subscription.created_at);
            }
            foreseen = billed.next;
        }
        Ok(None)
    }

    /// Which period holds this instant, from zero; before the first it is the first.
    pub(super) fn index_at(&self, at: Timestamp) -> Result<u32, SubscriptionError> {
        let mut index = 0;
        for (number, billed) in self.periods()?.enumerate() {
            if billed?.period.start > at {
                break;
            }
            index = u32::try_from(number).unwrap_or(u32::MAX);
        }
        Ok(index)
    }

    /// Walks until nothing is known to change any more, so that a mistake in a change far ahead is found when it is made.
    pub(super) fn check(&self) -> Result<(), SubscriptionError> {
        let last = self.subscription.terms.changes.iter().map(|change| change.at).max();
        let mut periods = self.periods()?;
        while periods.next_start().is_some_and(|start| last.is_some_and(|last| start <= last)) {
            periods.next().transpose()?;
        }
        Ok(())
    }

    /// The plans of the period that holds this instant, and of the one after it, can be charged together.
    pub(super) fn check_charges(&self, at: Timestamp) -> Result<(), SubscriptionError> {
        let Some(period) = self.containing(at)? else { return Ok(()) };
        for start in [period.start, period.end] {
            if let Some(placed) = self.placed(start)? {
                check_add_ons(&self.segments(&placed)?)?;
            }
        }
        Ok(())
    }

    /// The terms of the period's parts, one after the other, with the versions of the plans that hold in each. Where a version
    /// comes into force within the period, the period is cut.
    pub(super) fn segments(&self, placed: &Placed) -> Result<Vec<BilledSegment>, SubscriptionError> {
        let Placed { billed, index: _, foreseen: _, taken } = placed;
        let start = billed.period.start;
        let mut held = taken.clone();
        let mut at = Vec::new();
        for segment in &billed.segments {
            held.pass(segment, self.subscription.created_at);
            for plan in plans_of(segment) {
                at.extend(self.book.cuts(plan, held.of(plan, start), segment.period.end));
            }
        }
        let mut held = taken.clone();
        let mut segments = Vec::new();
        for segment in &billed.clone().cut(&at, &self.terms)?.segments {
            held.pass(segment, self.subscription.created_at);
            segments.push(BilledSegment {
                period: segment.period,
                scheduled: Some(billed.scheduled),
                share: segment.share,
                state: segment.state,
                terms: self.terms_of(segment, &held, start)?,
            });
        }
        Ok(segments)
    }

    /// What is charged in advance for the period that follows this one, by the versions that are there now.
    pub(super) fn foreseen(
        &self,
        placed: &Placed,
        next: &NextPeriod,
    ) -> Result<NextTerms, SubscriptionError> {
        let mut held = placed.taken.clone();
        for segment in &placed.billed.segments {
            held.pass(segment, self.subscription.created_at);
        }
        self.next_terms(held, next)
    }

    /// What an invoice at the subscription's start charges, by the versions that hold then. None where nothing is billed, or not yet
    /// because of a pause.
    pub(super) fn at_its_start(&self) -> Result<Option<NextTerms>, SubscriptionError> {
        let first = self.periods()?.at_its_start()?;
        first.map(|first| self.next_terms(Taken::default(), &first)).transpose()
    }

    /// What the period before foresaw of this one.
    pub(super) fn was_foreseen(&self, placed: &Placed) -> Result<Option<NextTerms>, SubscriptionError> {
        let held = placed.taken.clone();
        placed.foreseen.as_ref().map(|foreseen| self.next_terms(held, foreseen)).transpose()
    }

    fn next_terms(&self, mut held: Taken, next: &NextPeriod) -> Result<NextTerms, SubscriptionError> {
        let NextPeriod { scheduled: _, segment } = next;
        held.pass(segment, self.subscription.created_at);
        Ok(NextTerms {
            period: segment.period,
            share: segment.charged_share(),
            terms: self.terms_of(segment, &held, segment.period.start)?,
        })
    }

    fn terms_of(
        &self,
        segment: &Segment,
        held: &Taken,
        period_start: Timestamp,
    ) -> Result<BilledTerms, SubscriptionError> {
        let plan_terms = |plan: &PlanName, quantity| -> Result<PlanTerms, SubscriptionError> {
            let held = held.of(plan, period_start);
            let in_force = self.book.in_force(plan, held, segment.period.start);
            let PlanVersion { name, version, spec, .. } =
                in_force.ok_or_else(|| SubscriptionError::NoSuchPlan(plan.to_string()))?;
            let spec = overridden(spec, &self.subscription.terms.overrides)?;
            Ok(PlanTerms { name: name.clone(), version: *version, spec, quantity })
        };
        let add_on = |AddOn { plan, quantity }: &AddOn| plan_terms(plan, *quantity);
        Ok(BilledTerms {
            plan: plan_terms(&segment.plan, Quantity::ONE)?,
            add_ons: segment.add_ons.iter().map(add_on).collect::<Result<_, _>>()?,
            quantities: segment.quantities.clone(),
        })
    }
}

fn plans_of(segment: &Segment) -> impl Iterator<Item = &PlanName> {
    std::iter::once(&segment.plan).chain(segment.add_ons.iter().map(|add_on| &add_on.plan))
}

impl Taken {
    /// Plans that a segment has are taken with its start, if they were not there before; a subscription that was made with a
    /// start in the past takes its first plans when it is made.
    fn pass(&mut self, segment: &Segment, made_at: Timestamp) {
        let since = segment.period.start;
        let taken_at = if self.0.is_empty() { since.max(made_at) } else { since };
        let plans: Vec<&PlanName> = plans_of(segment).collect();
        self.0.retain(|known, _| plans.contains(&known));
        for plan in plans {
            self.0.entry(plan.clone()).or_insert(Hold { since, taken_at });
        }
    }

    /// How the plan is held in a period that starts then.
    fn of(&self, plan: &PlanName, period_start: Timestamp) -> HeldPlan {
        let Hold { since, taken_at } =
            self.0.get(plan).copied().unwrap_or(Hold { since: period_start, taken_at: period_start });
        HeldPlan { taken_at, period_start: period_start.max(since) }
    }
}
