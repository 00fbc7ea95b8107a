//! A price and a quantity become an amount with its trace. One model a file; this file holds what comes before and after.
//!
//! Order, each step with its reason ([`STEPS`]): the included quantity goes first, because what a plan includes is free
//! whatever the model; then the model. Amounts keep 18 decimals here; invoice.rs rounds each line once.

#[cfg(test)]
pub(crate) mod check;
mod flat;
mod graduated;
mod package;
mod per_unit;
#[cfg(test)]
mod properties;
mod volume;

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{PriceModel, PriceSpec, SpecError},
    decimal::{Amount, Overflow, Quantity},
};

/// What happens to usage on its way to an amount, in this order, and why there.
pub const STEPS: [(Step, &str); 2] = [
    (
        Step::Included,
        "what the plan includes is free whatever the model, so it comes off before the model sees the quantity",
    ),
    (Step::Model, "the price model turns the remaining quantity into an amount"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Included,
    Model,
}

/// How an amount came about, step by step. Zero steps are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum TraceStep {
    /// So much of the quantity was free.
    Included { quantity: Quantity },
    /// A fixed amount.
    Flat { amount: Amount },
    /// What was missing to the price's minimum, after `charged`.
    Minimum { minimum: Amount, charged: Amount, amount: Amount },
    /// What was charged beyond the price's maximum, as a negative amount.
    Maximum { maximum: Amount, charged: Amount, amount: Amount },
    /// Units at one price each.
    Units { quantity: Quantity, unit_amount: Amount, amount: Amount },
    /// Whole packages; `quantity` is the usage that they cover, after free units.
    Packages { quantity: Quantity, packages: Quantity, package_amount: Amount, amount: Amount },
    /// What fell into one tier: `quantity` units in (from, up_to], at the tier's prices.
    Tier {
        tier: u32,
        from: Quantity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        up_to: Option<Quantity>,
        quantity: Quantity,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit_amount: Option<Amount>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flat_amount: Option<Amount>,
        amount: Amount,
    },
}

impl TraceStep {
    /// What this step adds to the price's amount.
    pub fn amount(&self) -> Amount {
        match self {
            Self::Included { .. } => Amount::ZERO,
            Self::Flat { amount }
            | Self::Minimum { amount, .. }
            | Self::Maximum { amount, .. }
            | Self::Units { amount, .. }
            | Self::Packages { amount, .. }
            | Self::Tier { amount, .. } => *amount,
        }
    }
}

/// A priced quantity, not yet rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    pub amount: Amount,
    /// The one price of each unit, where the model has one.
    pub unit_amount: Option<Amount>,
    pub trace: Vec<TraceStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    #[error("the price is not valid: {0}")]
    Spec(#[from] SpecError),
    #[error("usage is negative: {0}")]
    NegativeUsage(Quantity),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Prices the usage of one period. A flat price takes no notice of `usage`.
pub fn price_usage(price: &PriceSpec, usage: Quantity) -> Result<Priced, PriceError> {
    if usage.is_negative() {
        return Err(PriceError::NegativeUsage(usage));
    }
    let model = price.model()?;
    let (billable, included) = take_included(price, usage)?;
    let mut trace: Vec<TraceStep> = included.into_iter().collect();
    trace.extend(match model {
        PriceModel::Flat(flat) => flat::trace(flat),
        PriceModel::PerUnit(per_unit) => per_unit::trace(per_unit, billable)?,
        PriceModel::Package(package) => package::trace(package, billable)?,
        PriceModel::Graduated(tiered) => graduated::trace(tiered, billable)?,
        PriceModel::Volume(tiered) => volume::trace(tiered, billable)?,
    });
    let amount = trace.iter().try_fold(Amount::ZERO, |sum, step| sum.checked_add(step.amount()))?;
    Ok(Priced { amount, unit_amount: unit_amount(model), trace })
}

fn take_included(price: &PriceSpec, usage: Quantity) -> Result<(Quantity, Option<TraceStep>), Overflow> {
    let quantity = price.included.unwrap_or_default().min(usage);
    if quantity.is_zero() {
        return Ok((usage, None));
    }
    Ok((usage.checked_sub(quantity)?, Some(TraceStep::Included { quantity })))
}

fn unit_amount(model: PriceModel<'_>) -> Option<Amount> {
    match model {
        PriceModel::Flat(flat) => Some(flat.amount),
        PriceModel::PerUnit(per_unit) => Some(per_unit.amount),
        PriceModel::Package(_) | PriceModel::Graduated(_) | PriceModel::Volume(_) => None,
    }
}
