//! One line of an invoice, and what every maker of lines needs.

use serde::{Deserialize, Serialize};

use super::input::InvoiceInput;
use crate::{
    catalogue::{PriceSpec, SpecError},
    decimal::{Amount, Decimal, Quantity},
    ids::{MeterName, PlanName, PriceName},
    money::{Currency, RoundingPoint},
    period::Period,
    price::{PriceError, TraceStep},
};

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineRole {
    Flat,
    Usage,
    /// A part of a flat amount, or what is given back of one.
    Proration,
    /// What a price or a plan lacks to its minimum.
    Minimum,
    /// What a price or a plan costs beyond its maximum; negative.
    Maximum,
    /// What a price lacks to its commitment.
    Commitment,
    /// What spend beyond a commitment costs more.
    Overage,
    /// A price's own discount, or a coupon; negative.
    Discount,
    /// Prepaid or granted; negative.
    Credit,
    /// A tax that is added.
    Tax,
}

impl LineRole {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Usage => "usage",
            Self::Proration => "proration",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Commitment => "commitment",
            Self::Overage => "overage",
            Self::Discount => "discount",
            Self::Credit => "credit",
            Self::Tax => "tax",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The plan of the price; none for a coupon, a grant and a tax rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanName>,
    /// The name of what the line comes from: a price, a plan (for its minimum and maximum), a coupon, a grant, a tax rate.
    pub price: PriceName,
    pub role: LineRole,
    pub description: String,
    /// For a usage line: what was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter_version: Option<i32>,
    /// The time that the line pays for: the invoice's period, a part of it, or the next one for a charge in advance.
    pub period: Period,
    /// All that was used, included units too; for a flat price its quantity (seats).
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_amount: Option<Amount>,
    /// Rounded to minor units.
    pub amount: Amount,
    /// How it came about, in amounts that are not rounded.
    pub trace: Vec<TraceStep>,
}

/// Why a line could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("the plan is not valid: {0}")]
    Plan(#[from] SpecError),
    #[error("price {price}: {source}")]
    Price { price: PriceName, source: PriceError },
    #[error("price {price} of plan {plan} counts meter {meter:?}, whose usage was not given")]
    MissingUsage { plan: PlanName, price: PriceName, meter: String },
    #[error("usage was given for price {0}, where the period has no such charge")]
    UnknownUsage(PriceName),
    #[error("price {price}: its buckets: {problem}")]
    Buckets { price: PriceName, problem: String },
    #[error("plans {0} and {1} of one subscription have different currencies")]
    Currencies(PlanName, PlanName),
    #[error("the period has no terms")]
    NoTerms,
}

pub(super) fn price_error(price: &PriceName, source: PriceError) -> LineError {
    LineError::Price { price: price.clone(), source }
}

/// What people read on a price's line.
pub(super) fn title(price: &PriceSpec) -> &str {
    price.description.as_ref().unwrap_or(&price.name)
}

/// The one currency of all plans of the period.
pub(super) fn currency_of(input: &InvoiceInput) -> Result<Currency, LineError> {
    let mut plans = input
        .segments
        .iter()
        .map(|segment| &segment.terms)
        .chain(input.next.iter().map(|next| &next.terms))
        .flat_map(|terms| std::iter::once(&terms.plan).chain(&terms.add_ons));
    let first = plans.next().ok_or(LineError::NoTerms)?;
    match plans.find(|plan| plan.spec.currency != first.spec.currency) {
        Some(other) => Err(LineError::Currencies(first.name.clone(), other.name.clone())),
        None => Ok(first.spec.currency),
    }
}

/// The percentage that a price takes off `charged`, as a line beside `line`.
pub(super) fn discount_line(
    currency: Currency,
    price: &PriceSpec,
    line: &Line,
    charged: Amount,
) -> Result<Option<Line>, LineError> {
    let Some(percent) = price.discount.as_ref().and_then(|discount| discount.percent) else {
        return Ok(None);
    };
    let amount = discount_of(currency, percent, charged).map_err(|e| price_error(&line.price, e.into()))?;
    if amount.is_zero() {
        return Ok(None);
    }
    let trace = vec![TraceStep::Discount { percent, charged, amount }];
    let description = format!("{}: {percent} % off", title(price));
    Ok(Some(beside(line, LineRole::Discount, description, amount, trace)))
}

/// `percent` % of an amount, rounded, as a negative amount.
pub(super) fn discount_of(
    currency: Currency,
    percent: Decimal,
    charged: Amount,
) -> Result<Amount, crate::decimal::Overflow> {
    currency.round(charged.percent(percent)?.negated(), RoundingPoint::InvoiceLine)
}

/// A line of the same price and time, of one amount.
pub(super) fn beside(
    line: &Line,
    role: LineRole,
    description: String,
    amount: Amount,
    trace: Vec<TraceStep>,
) -> Line {
    Line {
        plan: line.plan.clone(),
        price: line.price.clone(),
        role,
        description,
        meter: None,
        meter_version: None,
        period: line.period,
        quantity: Quantity::ONE,
        unit_amount: Some(amount),
        amount,
        trace,
    }
}
