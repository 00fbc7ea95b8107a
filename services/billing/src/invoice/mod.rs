//! One period of one subscription becomes an invoice: lines, subtotal, discounts, credits, taxes, total.
//!
//! [`compute`] is a function of its input alone. The input holds all that mattered (terms, usage, cutoff, catalogue and
//! engine version) and is stored beside the output as one canonical text ([`Computation`]), so that any invoice can be
//! computed again, byte for byte, and proved.
//!
//! What an invoice of a period charges:
//! - usage of the period, and flat prices billed in arrears, for the period itself;
//! - flat prices billed in advance, for the next period. For its own period it charges what earlier invoices did not: all of
//!   it in the first period, and after a change within the period the difference. So each moment is charged exactly once.
//! - what became known of earlier periods after their invoices ([`LateUsage`]), by their own terms.
//!
//! Where a subscription asks for it, the first period has an invoice at its start: of what is in advance, and of what is charged once.
//!
//! Usage that is missing from the input is an error and never zero: a failed lookup must not become a cheaper invoice.
//!
//! Reading order: [`input`] → [`charges`] (which price held when) → [`flat`], [`usage`], [`commitment`], [`plan_bounds`], [`late`]
//! (lines) → [`paid`], [`portions`], [`adjustments`] (coupons, credits, taxes) → [`computation`].

mod adjustments;
mod charges;
mod commitment;
mod computation;
mod flat;
mod input;
mod late;
mod line;
mod paid;
mod plan_bounds;
mod portions;
mod progress;
#[cfg(test)]
mod tests;
mod usage;

pub use adjustments::{Adjustments, Charged, burnable};
pub use charges::{Metered, check_add_ons, metered};
pub use computation::{Computation, RecomputeError};
pub use input::{
    AdvanceCharge, BilledSegment, InvoiceInput, InvoiceKind, NextTerms, PlanCap, PlanTerms, PriceUsage, Terms,
};
pub use late::LateUsage;
pub use line::{Line, LineError, LineRole};
pub use paid::{CouponShare, DiscountedUsage};
pub use progress::{Progress, usage_amount};

use std::ops::Range;

use paid::Paid;
use serde::{Deserialize, Serialize};

use crate::{
    ENGINE_VERSION,
    catalogue::PriceModel,
    decimal::{Amount, Overflow},
    money::Currency,
};

/// From usage to a total, in this order, and why there.
pub const ADJUSTMENTS: [(Adjustment, &str); 12] = [
    (
        Adjustment::LineRounding,
        "each line is rounded once, so that the lines that a customer sees add up to what is asked for",
    ),
    (
        Adjustment::Minimum,
        "what a price's line lacks to its minimum becomes a line beside it, so that the usage line still says what the usage cost",
    ),
    (
        Adjustment::Maximum,
        "what a price's line has beyond its maximum is taken off by a line beside it; a price has a minimum at most as high, so never both",
    ),
    (
        Adjustment::PriceDiscount,
        "a price's percentage is off what the price would cost, bounds included: 20 % off a minimum is 20 % off",
    ),
    (
        Adjustment::Commitment,
        "what counts towards a promise is what is really spent, so after the price's own discount",
    ),
    (Adjustment::PlanMinimum, "a plan's bounds are about all its prices, so after each of them is settled"),
    (Adjustment::PlanMaximum, "as the plan's minimum, and never both"),
    (Adjustment::Subtotal, "the sum of all lines so far that are no discounts"),
    (
        Adjustment::Coupons,
        "a coupon is a gift on top: it must not cause a true-up to a minimum or a commitment; with what is given back, its part goes back too",
    ),
    (
        Adjustment::Credits,
        "prepaid money pays what is left after all discounts, so that no credit is spent on what is free",
    ),
    (Adjustment::Tax, "tax is on what is really charged: after discounts and credits"),
    (
        Adjustment::Total,
        "subtotal less discounts and credits, and the taxes that are added: the sum of all lines",
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Adjustment {
    LineRounding,
    Minimum,
    Maximum,
    PriceDiscount,
    Commitment,
    PlanMinimum,
    PlanMaximum,
    Subtotal,
    Coupons,
    Credits,
    Tax,
    Total,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputedInvoice {
    pub currency: Currency,
    /// Their amounts add up to `total`.
    pub lines: Vec<Line>,
    /// All lines but discounts, credits and taxes.
    pub subtotal: Amount,
    /// What discounts of prices and coupons take off, less what coupons have back of what is given back: it may be negative.
    pub discounts: Amount,
    /// What credits pay and what is carried, less what is given back of it: it may be negative.
    pub credits: Amount,
    /// The taxes that are added to the lines.
    pub tax: Amount,
    /// Every tax, those too that are within the lines' amounts. Their shares are those of `charged`.
    pub taxes: Vec<crate::tax::AppliedTax>,
    /// What each price comes to: what a credit note gives back at most, and with which tax.
    pub charged: Vec<Charged>,
    pub total: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the input says engine version {0}, this is version {ENGINE_VERSION}")]
    EngineVersion(u32),
    #[error("the segments do not tile the period: one begins at {0}")]
    Segments(jiff::Timestamp),
    #[error("the sum of the lines: {0}")]
    Sum(#[from] Overflow),
    #[error("{0}")]
    Adjustment(String),
}

/// The invoice of one period. Lines come in the order of the plans' prices, then in the order of [`ADJUSTMENTS`].
pub fn compute(input: &InvoiceInput) -> Result<ComputedInvoice, InvoiceError> {
    let lines = lines(input)?;
    adjustments::settle(input, lines)
}

/// What the invoice charges in advance, by plan and price, and what coupons take off it: what the next period's input says was
/// charged for it.
pub fn charged_ahead(input: &InvoiceInput) -> Result<Vec<AdvanceCharge>, InvoiceError> {
    adjustments::charged_ahead(input, &lines(input)?)
}

/// What the prices ask for, before coupons, credits and taxes.
struct PriceLines {
    currency: Currency,
    /// Those of the period's prices; `of_plans`; `late`; what is charged in advance.
    lines: Vec<Line>,
    /// Which of them are about a plan, not about the price that may have the same name.
    of_plans: Range<usize>,
    /// Which of them are of earlier periods.
    late: Range<usize>,
    /// What earlier invoices charged for the period.
    paid: Vec<Paid>,
}

fn lines(input: &InvoiceInput) -> Result<PriceLines, InvoiceError> {
    if input.engine_version != ENGINE_VERSION {
        return Err(InvoiceError::EngineVersion(input.engine_version));
    }
    check_segments(input)?;
    match input.kind {
        InvoiceKind::Period => {
            let mut all = price_lines(input)?;
            all.lines.extend(input.late.iter().flat_map(|late| late.lines.iter().cloned()));
            all.late.end = all.lines.len();
            all.lines.extend(flat::in_advance(input)?);
            Ok(all)
        }
        InvoiceKind::Progressive => Ok(price_lines(input)?),
        InvoiceKind::Opening => Ok(PriceLines {
            currency: line::currency_of(input)?,
            lines: flat::in_advance(input)?,
            of_plans: 0..0,
            late: 0..0,
            paid: Vec::new(),
        }),
    }
}

/// Whole, in order, and of plans that are valid.
fn check_segments(input: &InvoiceInput) -> Result<(), InvoiceError> {
    let mut reached = input.period.start;
    for segment in &input.segments {
        if segment.period.start != reached || segment.period.end <= reached {
            return Err(InvoiceError::Segments(segment.period.start));
        }
        reached = segment.period.end;
        for plan in std::iter::once(&segment.terms.plan).chain(&segment.terms.add_ons) {
            plan.spec.validate().map_err(LineError::from)?;
        }
    }
    if reached != input.period.end {
        return Err(InvoiceError::Segments(reached));
    }
    Ok(())
}

/// What the prices say of this period, and at the end what their plans say of them together.
fn price_lines(input: &InvoiceInput) -> Result<PriceLines, LineError> {
    let currency = line::currency_of(input)?;
    let charges = charges::charges(&input.segments)?;
    let mut usage = input.usage.iter().peekable();
    let mut lines = Vec::new();
    let mut paid: Vec<Paid> = input.charged_in_advance.iter().map(Paid::in_advance).collect();
    for (index, charge) in charges.iter().enumerate() {
        match charge.price.model()? {
            PriceModel::Flat(flat) if input.kind == InvoiceKind::Period => {
                lines.extend(flat::lines(input, charge, flat, &charges[..index])?);
            }
            PriceModel::Flat(_) => {}
            PriceModel::PerUnit(_)
            | PriceModel::Package(_)
            | PriceModel::Graduated(_)
            | PriceModel::Volume(_)
            | PriceModel::Percentage(_)
            | PriceModel::GraduatedPercentage(_)
            | PriceModel::Dynamic(_)
            | PriceModel::Matrix(_) => {
                let given = usage.next_if(|given| given.plan == *charge.plan && given.price == charge.name);
                if !input.counts_from(charge.hull().start) {
                    continue;
                }
                let given = given.ok_or_else(|| LineError::MissingUsage {
                    plan: charge.plan.clone(),
                    price: charge.name.clone(),
                    meter: charge
                        .price
                        .meter_ref
                        .as_ref()
                        .map(|meter| meter.name.clone())
                        .unwrap_or_default(),
                })?;
                lines.extend(usage::lines(input, charge, given)?);
                paid.push(Paid::on_the_way(input, charge, given)?);
            }
        }
    }
    if let Some(unknown) = usage.next() {
        return Err(LineError::UnknownUsage(unknown.price.clone()));
    }
    if input.kind == InvoiceKind::Period {
        lines.extend(flat::given_back(input, &charges));
    }
    let of_prices = lines.len();
    lines.extend(plan_bounds::lines(input, &charges, &lines, &paid)?);
    let (of_plans, late) = (of_prices..lines.len(), lines.len()..lines.len());
    Ok(PriceLines { currency, lines, of_plans, late, paid })
}
