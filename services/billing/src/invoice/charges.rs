//! From the terms of a period's segments to its charges: one for each price, however often other terms changed meanwhile.
//!
//! Usage of one price is priced once for all the time in which the price held unchanged, so that a change of seats or of an
//! add-on in the middle of a month does not begin the tiers of the others anew.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::input::{BilledSegment, InvoiceInput, PlanTerms, Terms};
use crate::{
    catalogue::{NameRef, PriceSpec, SpecError, SpecErrorCode},
    decimal::{Overflow, Quantity},
    ids::{MeterName, PlanName, PriceName},
    period::Period,
    price::UsageShape,
    subscription::{SegmentState, Share},
};

/// One price and when it held.
#[derive(Debug, Clone)]
pub(super) struct Charge<'a> {
    pub plan: &'a PlanName,
    pub name: PriceName,
    pub price: &'a PriceSpec,
    /// In order of time, without overlap.
    pub parts: Vec<Part>,
}

/// Time in which a price held with one quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub period: Period,
    pub quantity: Quantity,
    pub share: Share,
}

/// A price whose usage must be read, and of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metered {
    pub plan: PlanName,
    pub price: PriceName,
    pub meter: MeterName,
    pub shape: UsageShape,
    /// Usage in any of these counts, together. Mostly one: the period.
    pub spans: Vec<Period>,
    /// Of what the spans are parts: a level counts for how long of this it stood. None: of themselves.
    pub whole: Option<Period>,
    /// Where the billed period begins: a level that each period resets stands from there on, whenever its price begins to hold.
    pub since: Timestamp,
}

/// What a shell must read before it can ask for an invoice. `input.usage` is not looked at.
pub fn metered(segments: &[BilledSegment]) -> Result<Vec<Metered>, SpecError> {
    let Some(first) = segments.first() else { return Ok(Vec::new()) };
    let (whole, since) = (first.scheduled, first.period.start);
    let mut metered = Vec::new();
    for charge in charges(segments)? {
        let Some(shape) = UsageShape::of(charge.price)? else { continue };
        let meter = charge.price.meter_ref.as_ref().map(|NameRef { name }| name.as_str()).unwrap_or_default();
        let meter = MeterName::new(meter)
            .map_err(|problem| SpecError::new("meterRef", SpecErrorCode::InvalidName, problem.to_string()))?;
        metered.push(Metered {
            plan: charge.plan.clone(),
            price: charge.name.clone(),
            meter,
            shape,
            spans: charge.spans(),
            whole,
            since,
        });
    }
    Ok(metered)
}

/// All charges of the period, in the order of the plans and their prices.
pub(super) fn charges(segments: &[BilledSegment]) -> Result<Vec<Charge<'_>>, SpecError> {
    let mut charges: Vec<Charge<'_>> = Vec::new();
    // By plan and name: mostly one, more where a version of the plan changed the price within the period.
    let mut known: BTreeMap<(&PlanName, &str), Vec<usize>> = BTreeMap::new();
    for BilledSegment { period, scheduled: _, terms, share, state } in segments {
        match state {
            SegmentState::Paused => continue,
            SegmentState::Active => {}
        }
        for plan in std::iter::once(&terms.plan).chain(&terms.add_ons) {
            for price in &plan.spec.prices {
                let name = price_name(price)?;
                let taken = terms.quantities.get(&name).copied().unwrap_or(Quantity::ONE);
                let quantity = times(plan, taken)?;
                let part = Part { period: *period, quantity, share: *share };
                let named = known.entry((&plan.name, &price.name)).or_default();
                match named.iter().copied().find(|index| *charges[*index].price == *price) {
                    Some(index) => charges[index].add(part).map_err(too_large)?,
                    None => {
                        named.push(charges.len());
                        charges.push(Charge { plan: &plan.name, name, price, parts: vec![part] });
                    }
                }
            }
        }
    }
    Ok(charges)
}

/// Of a plan that is taken twice at once nobody could say which charge is whose. For who makes terms: what was billed by such is
/// computed again as it was.
pub fn check_add_ons(segments: &[BilledSegment]) -> Result<(), SpecError> {
    let taken_twice = |terms: &Terms| terms.add_ons.iter().any(|add_on| add_on.name == terms.plan.name);
    let Some(BilledSegment { period, terms, .. }) =
        segments.iter().find(|segment| taken_twice(&segment.terms))
    else {
        return Ok(());
    };
    let plan = &terms.plan.name;
    let detail =
        format!("plan {plan} is the subscription's plan and an add-on of it at once from {}", period.start);
    Err(SpecError::new("addOns", SpecErrorCode::Conflicting, detail))
}

/// Seats of an add-on that was taken several times: both count.
fn times(plan: &PlanTerms, taken: Quantity) -> Result<Quantity, SpecError> {
    plan.quantity.0.checked_mul(taken.0).map(Quantity).map_err(too_large)
}

fn too_large(overflow: Overflow) -> SpecError {
    SpecError::new("quantities", SpecErrorCode::OutOfRange, overflow.to_string())
}

pub(super) fn price_name(price: &PriceSpec) -> Result<PriceName, SpecError> {
    PriceName::new(price.name.as_str())
        .map_err(|problem| SpecError::new("prices", SpecErrorCode::InvalidName, problem.to_string()))
}

impl Charge<'_> {
    /// Time that follows with the same quantity belongs to the part before.
    fn add(&mut self, part: Part) -> Result<(), Overflow> {
        match self.parts.last_mut() {
            Some(last) if last.period.end == part.period.start && last.quantity == part.quantity => {
                last.period.end = part.period.end;
                last.share = last.share.checked_add(part.share)?;
            }
            _ => self.parts.push(part),
        }
        Ok(())
    }

    /// When the price held, whatever its quantity.
    pub fn spans(&self) -> Vec<Period> {
        let mut spans: Vec<Period> = Vec::new();
        for Part { period, quantity: _, share: _ } in &self.parts {
            match spans.last_mut() {
                Some(last) if last.end == period.start => last.end = period.end,
                _ => spans.push(*period),
            }
        }
        spans
    }

    /// From the beginning of the first part to the end of the last.
    pub fn hull(&self) -> Period {
        let first = &self.parts[0].period;
        Period { start: first.start, end: self.parts.last().map_or(first.end, |part| part.period.end) }
    }

    /// How much of a whole period the price held.
    pub fn share(&self) -> Result<Share, Overflow> {
        self.parts.iter().try_fold(Share::NOTHING, |sum, part| sum.checked_add(part.share))
    }

    /// Whether the plan begins to hold within the period. One that holds and is paused when the period begins is not new when
    /// it is resumed, nor is another version of it.
    pub fn is_new(&self, input: &InvoiceInput) -> bool {
        let goes_on = input.segments.first().is_some_and(|BilledSegment { terms, .. }| {
            std::iter::once(&terms.plan).chain(&terms.add_ons).any(|plan| plan.name == *self.plan)
        });
        !(goes_on && input.plans_before.contains(self.plan))
    }
}
