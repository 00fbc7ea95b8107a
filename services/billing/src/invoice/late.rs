//! Usage that became known after the invoice of its period: lines on a later invoice that name the period which they are of.
//!
//! An issued invoice does not change. What its period would cost with all that is known now, less what it was charged for, is asked
//! for with the next invoice: priced by the terms of its own period, so that tiers, minimums and commitments come out as if
//! everything had been there in time; then discounted and taxed like any other line of the invoice that it is on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{InvoiceError, InvoiceInput, InvoiceKind, Line, LineRole, PriceUsage, price_lines};
use crate::{
    ENGINE_VERSION,
    decimal::{Amount, Quantity},
    ids::InvoiceId,
    period::Period,
    price::TraceStep,
};

/// What became known of an earlier period after it was charged. A fact of the invoice that charges it: it is computed once, and
/// kept in that invoice's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateUsage {
    pub period: Period,
    /// The invoice of the period.
    pub invoice: InvoiceId,
    /// The cutoff of what was charged before. Only events stored from then on are new.
    pub stored_from: Timestamp,
    /// What the period's prices are told now: what an invoice after this one counts from.
    pub usage: Vec<PriceUsage>,
    /// What that changes; no discounts by coupons, no credits, no taxes.
    pub lines: Vec<Line>,
}

impl LateUsage {
    /// `billed` is the input of the period's invoice, `charged` what was told the last time that the period was charged, as of
    /// `stored_from`. None where nothing changes.
    pub fn of(
        invoice: InvoiceId,
        billed: &InvoiceInput,
        stored_from: Timestamp,
        charged: &[PriceUsage],
        usage: Vec<PriceUsage>,
    ) -> Result<Option<Self>, InvoiceError> {
        if usage == charged {
            return Ok(None);
        }
        let lines = difference(&whole(billed, charged)?, whole(billed, &usage)?)?;
        let period = billed.period;
        Ok((!lines.is_empty()).then_some(Self { period, invoice, stored_from, usage, lines }))
    }
}

/// The lines of a period as if nothing of it had been billed before.
fn whole(billed: &InvoiceInput, usage: &[PriceUsage]) -> Result<Vec<Line>, InvoiceError> {
    let usage = usage.iter().map(PriceUsage::whole).collect();
    let input = InvoiceInput {
        engine_version: ENGINE_VERSION,
        kind: InvoiceKind::Period,
        usage,
        capped_before: None,
        ..billed.clone()
    };
    Ok(price_lines(&input)?.lines)
}

/// What a line is about: lines of two computations that are about the same are compared.
fn same(a: &Line, b: &Line) -> bool {
    (&a.plan, &a.price, a.role, a.period) == (&b.plan, &b.price, b.role, b.period)
}

/// Lines for what is new, in the order of the new lines; what is there no more comes last.
fn difference(before: &[Line], after: Vec<Line>) -> Result<Vec<Line>, InvoiceError> {
    let before = joined(before.to_vec())?;
    let after = joined(after)?;
    let gone = before.iter().filter(|old| !after.iter().any(|new| same(old, new)));
    let nothing = |old: &Line| Line {
        quantity: Quantity::ZERO,
        amount: Amount::ZERO,
        trace: Vec::new(),
        ..old.clone()
    };
    let gone: Vec<Line> = gone.map(nothing).collect();
    let mut lines = Vec::new();
    for new in after.into_iter().chain(gone) {
        let old = before.iter().find(|old| same(old, &new));
        lines.extend(changed(old, new)?);
    }
    Ok(lines)
}

/// One line for each thing that lines are about: a price's discount, for one, may be on two lines.
fn joined(lines: Vec<Line>) -> Result<Vec<Line>, InvoiceError> {
    let mut joined: Vec<Line> = Vec::new();
    for line in lines {
        match joined.iter_mut().find(|other| same(other, &line)) {
            Some(other) => {
                other.amount = other.amount.checked_add(line.amount)?;
                other.trace.extend(line.trace);
            }
            None => joined.push(line),
        }
    }
    Ok(joined)
}

fn changed(old: Option<&Line>, new: Line) -> Result<Option<Line>, InvoiceError> {
    let (amount_before, quantity_before) =
        old.map_or((Amount::ZERO, Quantity::ZERO), |old| (old.amount, old.quantity));
    let amount = new.amount.checked_sub(amount_before)?;
    let more = new.quantity.checked_sub(quantity_before)?;
    let counts = new.role == LineRole::Usage;
    if amount.is_zero() && (!counts || more.is_zero()) {
        return Ok(None);
    }
    let mut trace = new.trace;
    if old.is_some() {
        let quantity = if counts { quantity_before } else { Quantity::ZERO };
        trace.push(TraceStep::BilledBefore { quantity, amount: amount_before.negated() });
    }
    Ok(Some(if counts {
        let description = format!("{}; {} became known after its invoice", new.description, more.0);
        Line { description, quantity: more, amount, trace, ..new }
    } else {
        let description = format!("{}; by usage that became known after its invoice", new.description);
        Line { description, quantity: Quantity::ONE, unit_amount: Some(amount), amount, trace, ..new }
    }))
}
