//! How every price model is tested: a price in YAML, usage as a string, and the whole amount with its trace as a string.

use super::{PriceError, TraceStep, price_usage};
use crate::{catalogue::PriceSpec, decimal::Overflow};

pub(crate) fn price(yaml: &str) -> PriceSpec {
    serde_saphyr::from_str(yaml).expect("a price in YAML")
}

/// The amount and how it came about.
pub(crate) fn check(price: &PriceSpec, usage: &str) -> String {
    let priced = price_usage(price, usage.parse().expect("a decimal")).expect("the price fits");
    let steps: Vec<String> = priced.trace.iter().map(shown).collect();
    format!("{} = {}", priced.amount, steps.join(" + ")).trim_end().to_owned()
}

/// Each case: usage, and what [`check`] must say of it.
pub(crate) fn cases(yaml: &str, cases: &[(&str, &str)]) {
    let price = price(yaml);
    for (usage, expected) in cases {
        assert_eq!(check(&price, usage), *expected, "usage {usage} of {yaml}");
    }
}

pub(crate) fn overflows(yaml: &str, usage: &str) {
    let result = price_usage(&price(yaml), usage.parse().expect("a decimal"));
    assert_eq!(result, Err(PriceError::Overflow(Overflow)), "usage {usage} of {yaml}");
}

fn shown(step: &TraceStep) -> String {
    match step {
        TraceStep::Included { quantity } => format!("included {quantity}"),
        TraceStep::Flat { amount } => format!("flat {amount}"),
        TraceStep::Maximum { maximum, charged, amount } => {
            format!("maximum {maximum} - {charged} = {amount}")
        }
        TraceStep::Minimum { minimum, charged, amount } => {
            format!("minimum {minimum} - {charged} = {amount}")
        }
        TraceStep::Units { quantity, unit_amount, amount } => {
            format!("{quantity} × {unit_amount} = {amount}")
        }
        TraceStep::Packages { quantity, packages, package_amount, amount } => {
            format!("{packages} packages for {quantity} × {package_amount} = {amount}")
        }
        TraceStep::Tier { tier, from: _, up_to: _, quantity, unit_amount, flat_amount, amount } => format!(
            "tier {tier}: {quantity} × {} + {} = {amount}",
            unit_amount.unwrap_or_default(),
            flat_amount.unwrap_or_default()
        ),
    }
}
