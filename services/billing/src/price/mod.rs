//! A price and usage become an amount with its trace. One model a file; this file holds what comes before and after.
//!
//! Order, each step with its reason: [`STEPS`]. Amounts keep 18 decimals here; invoice/ rounds each line once. Nothing here
//! knows periods, plans or other prices: minimum, maximum, percentage discounts and commitments are lines of their own and
//! belong to invoice/.

#[cfg(test)]
pub(crate) mod check;
mod dynamic;
mod flat;
mod graduated;
mod graduated_percentage;
mod matrix;
mod package;
mod per_unit;
mod percentage;
#[cfg(test)]
mod properties;
mod trace;
mod unit;
mod usage;
mod volume;

pub use trace::{BlocksStep, TraceStep};
pub use usage::{BucketUsage, GroupUsage, TransactionRun, Usage, UsageShape};

use crate::{
    catalogue::{PriceModel, PriceSpec, PricingUnitSpec, SpecError},
    decimal::{Amount, Overflow, Quantity},
};

/// What happens to usage on its way to an amount, in this order, and why there.
pub const STEPS: [(Step, &str); 6] = [
    (
        Step::Buckets,
        "a price with buckets prices each bucket and group by itself, so all that follows happens within one",
    ),
    (
        Step::Unit,
        "what a plan says of quantities is said in the unit that it sells, so the meter's unit is left first",
    ),
    (
        Step::Included,
        "what the plan includes is free whatever the model, so it comes off before the model sees the quantity",
    ),
    (
        Step::DiscountedUnits,
        "free units of a discount come off what is not included already, or they would be lost in it",
    ),
    (Step::Model, "the price model turns the remaining quantity into an amount"),
    (
        Step::PricingUnit,
        "an amount in a unit of the plan's own becomes money last, by one rate for all of it",
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Buckets,
    Unit,
    Included,
    DiscountedUnits,
    Model,
    PricingUnit,
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
    #[error("the price needs its usage as {needed}, and was given {given}")]
    Shape { needed: &'static str, given: &'static str },
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Prices the usage of one period. A flat price takes no notice of `usage`.
pub fn price_usage(price: &PriceSpec, usage: &Usage) -> Result<Priced, PriceError> {
    if let Some(negative) = usage.negative() {
        return Err(PriceError::NegativeUsage(negative));
    }
    let model = price.model()?;
    let mut trace = trace(price, model, usage)?;
    let mut amount = sum(&trace)?;
    if let Some(unit) = &price.pricing_unit {
        let step = converted(unit, amount)?;
        amount = amount.checked_add(step.amount())?;
        trace.push(step);
    }
    Ok(Priced { amount, unit_amount: unit_amount(price, model)?, trace })
}

fn trace(price: &PriceSpec, model: PriceModel<'_>, usage: &Usage) -> Result<Vec<TraceStep>, PriceError> {
    let wrong = |needed| PriceError::Shape { needed, given: usage.shape() };
    match (model, usage) {
        (PriceModel::Flat(flat), _) => Ok(flat::trace(flat)),
        (PriceModel::Matrix(matrix), Usage::Groups(groups)) => matrix::trace(price, matrix, groups),
        (PriceModel::Matrix(_), Usage::Total(_) | Usage::Buckets(_) | Usage::Transactions(_)) => {
            Err(wrong("groups"))
        }
        (PriceModel::Percentage(percentage), Usage::Transactions(runs)) => {
            let runs = unit::converted_runs(price.unit.as_ref(), runs)?;
            Ok(percentage::of_transactions(percentage, &runs)?)
        }
        (PriceModel::Percentage(percentage), _) if percentage.looks_at_transactions() => {
            Err(wrong("transactions"))
        }
        (
            PriceModel::PerUnit(_)
            | PriceModel::Package(_)
            | PriceModel::Graduated(_)
            | PriceModel::Volume(_)
            | PriceModel::Percentage(_)
            | PriceModel::GraduatedPercentage(_)
            | PriceModel::Dynamic(_),
            usage,
        ) => match (&price.bucket, usage) {
            (Some(_), Usage::Buckets(buckets)) => {
                buckets.iter().map(|bucket| priced_bucket(price, model, bucket)).collect()
            }
            (Some(_), Usage::Total(_) | Usage::Groups(_) | Usage::Transactions(_)) => Err(wrong("buckets")),
            (None, Usage::Total(quantity)) => priced_quantity(price, model, *quantity),
            (None, Usage::Buckets(_) | Usage::Groups(_) | Usage::Transactions(_)) => Err(wrong("a total")),
        },
    }
}

fn priced_bucket(
    price: &PriceSpec,
    model: PriceModel<'_>,
    bucket: &BucketUsage,
) -> Result<TraceStep, PriceError> {
    let steps = priced_quantity(price, model, bucket.quantity)?;
    Ok(TraceStep::Bucket {
        start: bucket.start,
        group: bucket.group.clone(),
        quantity: bucket.quantity,
        amount: sum(&steps)?,
        steps,
    })
}

/// The steps that one quantity goes through.
fn priced_quantity(
    price: &PriceSpec,
    model: PriceModel<'_>,
    metered: Quantity,
) -> Result<Vec<TraceStep>, PriceError> {
    let mut steps = Vec::new();
    let mut quantity = metered;
    if let Some(unit) = &price.unit {
        quantity = unit::converted(unit, metered)?;
        steps.push(TraceStep::Unit { metered, divide_by: unit.divide_by, quantity });
    }
    for (free, step) in [
        (price.included, (|quantity| TraceStep::Included { quantity }) as fn(Quantity) -> TraceStep),
        (price.discount.as_ref().and_then(|discount| discount.units), |quantity| {
            TraceStep::DiscountedUnits { quantity }
        }),
    ] {
        let taken = free.unwrap_or_default().min(quantity);
        if !taken.is_zero() {
            steps.push(step(taken));
            quantity = quantity.checked_sub(taken)?;
        }
    }
    steps.extend(match model {
        PriceModel::PerUnit(per_unit) => per_unit::trace(per_unit, quantity)?,
        PriceModel::Package(package) => package::trace(package, quantity)?,
        PriceModel::Graduated(tiered) => graduated::trace(tiered, quantity)?,
        PriceModel::Volume(tiered) => volume::trace(tiered, quantity)?,
        PriceModel::Percentage(percentage) => percentage::of_total(percentage, quantity)?,
        PriceModel::GraduatedPercentage(tiered) => graduated_percentage::trace(tiered, quantity)?,
        PriceModel::Dynamic(dynamic) => dynamic::trace(dynamic, quantity)?,
        PriceModel::Flat(_) | PriceModel::Matrix(_) => {
            return Err(PriceError::Shape { needed: "groups", given: "a total" });
        }
    });
    Ok(steps)
}

fn sum(steps: &[TraceStep]) -> Result<Amount, Overflow> {
    steps.iter().try_fold(Amount::ZERO, |sum, step| sum.checked_add(step.amount()))
}

/// What turns an amount of the plan's own unit into money; its amount is the difference, so that a trace always adds up.
fn converted(unit: &PricingUnitSpec, charged: Amount) -> Result<TraceStep, Overflow> {
    let money = Amount(charged.0.checked_mul(unit.rate.0)?);
    Ok(TraceStep::PricingUnit {
        unit: unit.name.clone(),
        charged,
        rate: unit.rate,
        amount: money.checked_sub(charged)?,
    })
}

/// The price of a unit in money, where the model has one for all units.
fn unit_amount(price: &PriceSpec, model: PriceModel<'_>) -> Result<Option<Amount>, Overflow> {
    let amount = match model {
        PriceModel::Flat(flat) => flat.amount,
        PriceModel::PerUnit(per_unit) => per_unit.amount,
        PriceModel::Package(_)
        | PriceModel::Graduated(_)
        | PriceModel::Volume(_)
        | PriceModel::Percentage(_)
        | PriceModel::GraduatedPercentage(_)
        | PriceModel::Dynamic(_)
        | PriceModel::Matrix(_) => return Ok(None),
    };
    let Some(unit) = &price.pricing_unit else { return Ok(Some(amount)) };
    Ok(Some(Amount(amount.0.checked_mul(unit.rate.0)?)))
}
