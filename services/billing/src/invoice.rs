//! One period of one subscription becomes an invoice: lines, subtotal, total.
//!
//! [`compute`] is a function of its input alone. The input holds all that mattered (plan version, usage, cutoff, catalogue
//! and engine version) and is stored beside the output as one canonical text ([`Computation`]), so that any invoice can be
//! computed again, byte for byte, and proved.
//!
//! What an invoice of a period charges:
//! - usage of the period, and flat prices billed in arrears, for the period itself;
//! - flat prices billed in advance, for the next period. The first invoice also charges them for its own period, because no
//!   invoice came before it; the last invoice of an ended subscription has no next period to charge. So each period is
//!   charged exactly once.
//!
//! Usage that is missing from the input is an error and never zero: a failed lookup must not become a cheaper invoice.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ENGINE_VERSION,
    catalogue::{Billed, PlanSpec, PriceModel, PriceSpec, SpecError},
    decimal::{Amount, Overflow, Quantity},
    ids::{CustomerKey, MeterName, PlanName, PriceName, SubscriptionId, TenantId},
    money::{Currency, RoundingPoint},
    period::Period,
    price::{PriceError, TraceStep, price_usage},
};

/// From lines to a total, in this order, and why there. Later adjustments (discounts, minimums, credits, tax) take their
/// place in this list.
pub const ADJUSTMENTS: [(Adjustment, &str); 5] = [
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
    (Adjustment::Subtotal, "the sum of the rounded lines"),
    (Adjustment::Total, "subtotal and tax; no tax is computed yet, so it is zero"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Adjustment {
    LineRounding,
    Minimum,
    Maximum,
    Subtotal,
    Total,
}

/// All that an invoice depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvoiceInput {
    pub engine_version: u32,
    pub catalogue_version: i64,
    pub tenant: TenantId,
    pub customer: CustomerKey,
    pub subscription: SubscriptionId,
    pub plan: PlanName,
    pub plan_version: i32,
    pub plan_spec: PlanSpec,
    pub period: Period,
    /// Whether an earlier invoice charged this period's advance prices.
    pub first_period: FirstPeriod,
    /// None when the subscription ends with this period.
    pub next_period: Option<Period>,
    /// The cutoff: only events stored before this instant are counted.
    pub stored_before: Timestamp,
    /// One entry for each meter of the plan, zero usage included.
    pub usage: BTreeMap<MeterName, MeterUsage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstPeriod {
    Yes,
    No,
}

/// What one meter counted in the period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterUsage {
    pub quantity: Quantity,
    pub events: u64,
    pub meter_version: i32,
    /// For people: "call".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputedInvoice {
    pub currency: Currency,
    pub lines: Vec<Line>,
    pub subtotal: Amount,
    pub tax: Amount,
    pub total: Amount,
}

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineRole {
    Flat,
    Usage,
    /// What a price's usage lacks to its minimum.
    Minimum,
    /// What a price's usage costs beyond its maximum; negative.
    Maximum,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub price: PriceName,
    pub role: LineRole,
    pub description: String,
    /// For a usage line: what was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter_version: Option<i32>,
    /// The time that the line pays for: the invoice's period, or the next one for a charge in advance.
    pub period: Period,
    /// All that was used, included units too; 1 for a flat price.
    pub quantity: Quantity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_amount: Option<Amount>,
    /// Rounded to minor units.
    pub amount: Amount,
    /// How it came about, in amounts that are not rounded.
    pub trace: Vec<TraceStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceError {
    #[error("the plan is not valid: {0}")]
    Plan(#[from] SpecError),
    #[error("price {price}: {source}")]
    Price { price: PriceName, source: PriceError },
    #[error("price {price} counts meter {meter:?}, whose usage was not given")]
    MissingUsage { price: PriceName, meter: String },
    #[error("the input says engine version {0}, this is version {ENGINE_VERSION}")]
    EngineVersion(u32),
    #[error("the sum of the lines: {0}")]
    Sum(Overflow),
}

/// The invoice of one period. Lines come in the order of the plan's prices.
pub fn compute(input: &InvoiceInput) -> Result<ComputedInvoice, InvoiceError> {
    if input.engine_version != ENGINE_VERSION {
        return Err(InvoiceError::EngineVersion(input.engine_version));
    }
    input.plan_spec.validate()?;
    let mut lines = Vec::new();
    for price in &input.plan_spec.prices {
        lines.extend(price_lines(input, price)?);
    }
    let subtotal = lines
        .iter()
        .try_fold(Amount::ZERO, |sum, line| sum.checked_add(line.amount))
        .map_err(InvoiceError::Sum)?;
    let tax = Amount::ZERO;
    let total = subtotal.checked_add(tax).map_err(InvoiceError::Sum)?;
    Ok(ComputedInvoice { currency: input.plan_spec.currency, lines, subtotal, tax, total })
}

fn price_lines(input: &InvoiceInput, price: &PriceSpec) -> Result<Vec<Line>, InvoiceError> {
    match price.model()? {
        PriceModel::Flat(flat) => flat_periods(input, flat.billed)
            .into_iter()
            .map(|period| flat_line(input, price, period))
            .collect(),
        PriceModel::PerUnit(_)
        | PriceModel::Package(_)
        | PriceModel::Graduated(_)
        | PriceModel::Volume(_) => {
            let usage = usage_line(input, price)?;
            let bound = bound_line(input, price, &usage)?;
            Ok(std::iter::once(usage).chain(bound).collect())
        }
    }
}

/// The periods that this invoice charges a flat price for. See the module's head.
fn flat_periods(input: &InvoiceInput, billed: Billed) -> Vec<Period> {
    match (billed, input.first_period) {
        (Billed::InArrears, FirstPeriod::Yes | FirstPeriod::No) => vec![input.period],
        (Billed::InAdvance, FirstPeriod::Yes) => {
            std::iter::once(input.period).chain(input.next_period).collect()
        }
        (Billed::InAdvance, FirstPeriod::No) => input.next_period.into_iter().collect(),
    }
}

fn flat_line(input: &InvoiceInput, price: &PriceSpec, period: Period) -> Result<Line, InvoiceError> {
    let name = price_name(price)?;
    let description = price.description.clone().unwrap_or_else(|| price.name.clone());
    let priced = price_usage(price, Quantity::ZERO)
        .map_err(|source| InvoiceError::Price { price: name.clone(), source })?;
    Ok(Line {
        role: LineRole::Flat,
        description,
        meter: None,
        meter_version: None,
        period,
        quantity: Quantity::ONE,
        unit_amount: priced.unit_amount,
        amount: rounded(input, &name, priced.amount)?,
        trace: priced.trace,
        price: name,
    })
}

fn usage_line(input: &InvoiceInput, price: &PriceSpec) -> Result<Line, InvoiceError> {
    let name = price_name(price)?;
    let meter = price.meter_ref.as_ref().map(|meter| meter.name.as_str()).unwrap_or_default();
    let (meter, usage) = input
        .usage
        .iter()
        .find(|(name, _)| name.as_str() == meter)
        .ok_or_else(|| InvoiceError::MissingUsage { price: name.clone(), meter: meter.to_owned() })?;
    let priced = price_usage(price, usage.quantity)
        .map_err(|source| InvoiceError::Price { price: name.clone(), source })?;
    Ok(Line {
        role: LineRole::Usage,
        description: usage_description(price, usage),
        meter: Some(meter.clone()),
        meter_version: Some(usage.meter_version),
        period: input.period,
        quantity: usage.quantity,
        unit_amount: priced.unit_amount,
        amount: rounded(input, &name, priced.amount)?,
        trace: priced.trace,
        price: name,
    })
}

/// The difference to the price's minimum or maximum, if the usage is below or above. Both are rounded, so the two lines add
/// up to the bound.
fn bound_line(input: &InvoiceInput, price: &PriceSpec, usage: &Line) -> Result<Option<Line>, InvoiceError> {
    let currency = input.plan_spec.currency;
    let charged = usage.amount;
    let rounded = |bound: Option<Amount>| bound.map(|bound| rounded(input, &usage.price, bound)).transpose();
    let (minimum, maximum) = (rounded(price.minimum)?, rounded(price.maximum)?);
    let (role, bound) = match (minimum, maximum) {
        (Some(minimum), _) if charged < minimum => (LineRole::Minimum, minimum),
        (_, Some(maximum)) if charged > maximum => (LineRole::Maximum, maximum),
        _ => return Ok(None),
    };
    let overflow =
        |overflow| InvoiceError::Price { price: usage.price.clone(), source: PriceError::Overflow(overflow) };
    let amount = bound.checked_sub(charged).map_err(overflow)?;
    let (word, step) = match role {
        LineRole::Maximum => ("maximum", TraceStep::Maximum { maximum: bound, charged, amount }),
        LineRole::Minimum | LineRole::Flat | LineRole::Usage => {
            ("minimum", TraceStep::Minimum { minimum: bound, charged, amount })
        }
    };
    let title = price.description.as_ref().unwrap_or(&price.name);
    Ok(Some(Line {
        price: usage.price.clone(),
        role,
        description: format!("{title}: {word} of {}", currency.format(bound)),
        meter: None,
        meter_version: None,
        period: input.period,
        quantity: Quantity::ONE,
        unit_amount: Some(amount),
        amount,
        trace: vec![step],
    }))
}

/// "API calls: 12000 call, 10000 included"
fn usage_description(price: &PriceSpec, usage: &MeterUsage) -> String {
    let title = price.description.as_ref().unwrap_or(&price.name);
    let unit = usage.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let included = price.included.map(|included| format!(", {included} included")).unwrap_or_default();
    format!("{title}: {}{unit}{included}", usage.quantity)
}

fn rounded(input: &InvoiceInput, price: &PriceName, amount: Amount) -> Result<Amount, InvoiceError> {
    let overflow =
        |overflow| InvoiceError::Price { price: price.clone(), source: PriceError::Overflow(overflow) };
    input.plan_spec.currency.round(amount, RoundingPoint::InvoiceLine).map_err(overflow)
}

fn price_name(price: &PriceSpec) -> Result<PriceName, InvoiceError> {
    PriceName::new(price.name.as_str()).map_err(|problem| {
        SpecError::new("prices", crate::catalogue::SpecErrorCode::InvalidName, problem.to_string()).into()
    })
}

/// An invoice with its input, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Computation {
    pub input: InvoiceInput,
    pub invoice: ComputedInvoice,
}

/// Why a stored computation does not prove itself.
#[derive(Debug, thiserror::Error)]
pub enum RecomputeError {
    #[error("the stored computation cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error("computing it again gives other bytes, first at byte {at}")]
    Differs { at: usize },
}

impl Computation {
    pub fn of(input: InvoiceInput) -> Result<Self, InvoiceError> {
        let invoice = compute(&input)?;
        Ok(Self { input, invoice })
    }

    /// One text for one computation: fields in declared order, maps sorted, decimals as canonical strings.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("strings, integers and string-keyed maps always serialize")
    }

    /// Computes a stored text again; Ok when every byte is the same.
    pub fn verify(text: &str) -> Result<Self, RecomputeError> {
        let stored: Self = serde_json::from_str(text)?;
        let again = Self::of(stored.input)?;
        let bytes = again.canonical_json();
        if bytes == text {
            return Ok(again);
        }
        let same = bytes.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        Err(RecomputeError::Differs { at: same })
    }
}

#[cfg(test)]
#[path = "invoice_tests.rs"]
mod tests;
