//! Flat amounts: whole, in part, in advance, once.
//!
//! - In arrears: what the price's parts of the period come to.
//! - In advance: the same, less what earlier invoices charged for this period. Mostly that is nothing at all, both being the
//!   whole amount; after a change within the period it is the credit for the unused part or the charge for the new one; in the
//!   first period nothing was charged before. And the next period, as the terms are known now.
//! - Once: with the period in which the plan begins to hold, never in part.
//! - At the subscription's start, where it asks for that invoice: what is in advance and once, of the first period, foreseen as any
//!   other. The period's own invoice takes that off as any other charge in advance.
//! - Time that costs nothing (a pause, a change without proration) has no line.

use super::{
    Line, LineRole,
    charges::{Charge, Part, price_name},
    input::{InvoiceInput, InvoiceKind, NextTerms, PlanTerms},
    line::{LineError, currency_of, discount_line, discount_of, price_error, title},
};
use crate::{
    catalogue::{Billed, FlatSpec, PriceModel, PriceSpec},
    decimal::{Amount, Quantity},
    ids::{PlanName, PriceName},
    money::RoundingPoint,
    period::Period,
    price::{TraceStep, Usage, price_usage},
    subscription::Share,
};

/// The lines of one flat charge for this period. Among the `earlier` charges may be another version of the same price: then
/// that one was charged once for both, and what was charged in advance was taken off it.
pub(super) fn lines(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    flat: &FlatSpec,
    earlier: &[Charge<'_>],
) -> Result<Vec<Line>, LineError> {
    let is_first = !earlier.iter().any(|other| other.plan == charge.plan && other.name == charge.name);
    let due = match flat.billed {
        Billed::InArrears => return due(input, charge),
        Billed::OneTime if is_first && charge.is_new(input) => once(input, charge)?,
        Billed::OneTime => return Ok(Vec::new()),
        Billed::InAdvance => due(input, charge)?,
    };
    let charged: Vec<_> =
        input.charged_in_advance.iter().filter(|charged| is_first && is_of(charged, charge)).collect();
    if charged.is_empty() { Ok(due) } else { settled(input, charge, &due, &charged) }
}

fn is_of(charged: &super::AdvanceCharge, charge: &Charge<'_>) -> bool {
    charged.plan == *charge.plan && charged.price == charge.name
}

/// One line for each part, with its discount.
fn due(input: &InvoiceInput, charge: &Charge<'_>) -> Result<Vec<Line>, LineError> {
    let mut lines = Vec::new();
    for Part { period, quantity, share } in &charge.parts {
        lines.extend(part_lines(input, charge.plan, charge.price, *period, *quantity, *share)?);
    }
    Ok(lines)
}

fn once(input: &InvoiceInput, charge: &Charge<'_>) -> Result<Vec<Line>, LineError> {
    let Part { period, quantity, share: _ } = &charge.parts[0];
    part_lines(input, charge.plan, charge.price, *period, *quantity, Share::WHOLE)
}

/// A flat amount for some time: role `flat` where it is all of the amount, `proration` where it is a part, no line where it is
/// nothing of it.
fn part_lines(
    input: &InvoiceInput,
    plan: &PlanName,
    price: &PriceSpec,
    period: Period,
    quantity: Quantity,
    share: Share,
) -> Result<Vec<Line>, LineError> {
    if share.is_nothing() {
        return Ok(Vec::new());
    }
    let name = price_name(price)?;
    let error = |source| price_error(&name, source);
    let priced = price_usage(price, &Usage::Total(Quantity::ZERO)).map_err(error)?;
    let overflow = |overflow| price_error(&name, overflow);
    let whole = quantity.times(priced.amount).map_err(|e| overflow(e.into()))?;
    let mut trace = priced.trace;
    if quantity != Quantity::ONE {
        trace = vec![TraceStep::Units { quantity, unit_amount: priced.amount, amount: whole }];
    }
    let (role, exact) = if share == Share::WHOLE {
        (LineRole::Flat, whole)
    } else {
        let exact = share.of(whole).map_err(|e| overflow(e.into()))?;
        trace = vec![TraceStep::Prorated { whole, share, amount: exact }];
        (LineRole::Proration, exact)
    };
    let currency = currency_of(input)?;
    let amount = currency.round(exact, RoundingPoint::InvoiceLine).map_err(|e| overflow(e.into()))?;
    let line = Line {
        plan: Some(plan.clone()),
        price: name.clone(),
        role,
        description: title(price).to_owned(),
        meter: None,
        meter_version: None,
        period,
        quantity,
        unit_amount: priced.unit_amount,
        amount,
        trace,
    };
    let discount = discount_line(currency, price, &line, amount)?;
    Ok(std::iter::once(line).chain(discount).collect())
}

/// What is due, less what was charged in advance, in one line; none where it is nothing. It is one line of all parts of the
/// period, so what they come to is rounded once, and its own discount is of that.
fn settled(
    input: &InvoiceInput,
    charge: &Charge<'_>,
    due: &[Line],
    charged: &[&super::AdvanceCharge],
) -> Result<Vec<Line>, LineError> {
    let overflow = |overflow: crate::decimal::Overflow| price_error(&charge.name, overflow.into());
    let currency = currency_of(input)?;
    let parts = due.iter().filter(|line| line.role != LineRole::Discount).flat_map(|line| &line.trace);
    let mut trace: Vec<TraceStep> = parts.cloned().collect();
    let exact = Amount::checked_sum(trace.iter().map(TraceStep::amount)).map_err(overflow)?;
    let mut amount = currency.round(exact, RoundingPoint::InvoiceLine).map_err(overflow)?;
    if let Some(percent) = charge.price.discount.as_ref().and_then(|discount| discount.percent) {
        let (charged, taken) = (amount, discount_of(currency, percent, amount).map_err(overflow)?);
        amount = amount.checked_add(taken).map_err(overflow)?;
        trace.push(TraceStep::Discount { percent, charged, amount: taken });
    }
    for charged in charged {
        let taken = Amount(charged.amount.0.negated());
        amount = amount.checked_add(taken).map_err(overflow)?;
        trace.push(TraceStep::ChargedInAdvance { amount: taken });
    }
    if amount.is_zero() {
        return Ok(Vec::new());
    }
    Ok(vec![correction(input, charge.plan, &charge.name, title(charge.price), charge.hull(), amount, trace)])
}

/// What was charged in advance for prices that did not hold in the period after all: given back.
pub(super) fn given_back(input: &InvoiceInput, charges: &[Charge<'_>]) -> Vec<Line> {
    let gone = input
        .charged_in_advance
        .iter()
        .filter(|charged| !charges.iter().any(|charge| is_of(charged, charge)));
    gone.filter(|charged| !charged.amount.is_zero())
        .map(|charged| {
            let amount = Amount(charged.amount.0.negated());
            let trace = vec![TraceStep::ChargedInAdvance { amount }];
            correction(
                input,
                &charged.plan,
                &charged.price,
                charged.price.as_str(),
                input.period,
                amount,
                trace,
            )
        })
        .collect()
}

fn correction(
    input: &InvoiceInput,
    plan: &PlanName,
    price: &PriceName,
    title: &str,
    period: Period,
    amount: Amount,
    trace: Vec<TraceStep>,
) -> Line {
    let what = if amount.is_negative() { "unused time" } else { "time not charged in advance" };
    Line {
        plan: Some(plan.clone()),
        price: price.clone(),
        role: LineRole::Proration,
        description: format!("{title}: {what}"),
        meter: None,
        meter_version: None,
        period: if period.end > period.start { period } else { input.period },
        quantity: Quantity::ONE,
        unit_amount: Some(amount),
        amount,
        trace,
    }
}

/// The next period's amounts in advance, by the terms that are known to hold at its start; at the subscription's start the first one's,
/// and what is charged once.
pub(super) fn in_advance(input: &InvoiceInput) -> Result<Vec<Line>, LineError> {
    let Some(NextTerms { period, terms, share }) = &input.next else { return Ok(Vec::new()) };
    let share_of = |billed| match billed {
        Billed::InAdvance => Some(*share),
        Billed::OneTime => (input.kind == InvoiceKind::Opening).then_some(Share::WHOLE),
        Billed::InArrears => None,
    };
    let mut lines = Vec::new();
    for PlanTerms { name, version: _, spec, quantity: taken } in
        std::iter::once(&terms.plan).chain(&terms.add_ons)
    {
        for price in &spec.prices {
            let PriceModel::Flat(FlatSpec { billed, .. }) = price.model()? else { continue };
            let Some(share) = share_of(*billed) else { continue };
            let price_name = price_name(price)?;
            let seats = terms.quantities.get(&price_name).copied().unwrap_or(Quantity::ONE);
            let quantity = taken.0.checked_mul(seats.0).map_err(|e| price_error(&price_name, e.into()))?;
            lines.extend(part_lines(input, name, price, *period, Quantity(quantity), share)?);
        }
    }
    Ok(lines)
}
