//! How every price model is tested: a price in YAML, usage as a string, and the whole amount with its trace as a string.

use super::{GroupUsage, PriceError, TraceStep, TransactionRun, Usage, price_usage};
use crate::{catalogue::PriceSpec, decimal::Overflow};

pub(crate) fn price(yaml: &str) -> PriceSpec {
    serde_saphyr::from_str(yaml).expect("a price in YAML")
}

/// The amount and how it came about.
pub(crate) fn check(price: &PriceSpec, usage: &Usage) -> String {
    let priced = price_usage(price, usage).expect("the price fits");
    let steps: Vec<String> = priced.trace.iter().map(shown).collect();
    format!("{} = {}", priced.amount, steps.join(" + ")).trim_end().to_owned()
}

fn total(usage: &str) -> Usage {
    Usage::Total(usage.parse().expect("a decimal"))
}

/// [`check`] of transactions, in order of time.
pub(crate) fn transactions(yaml: &str, values: &[&str]) -> String {
    let run = |value: &&str| TransactionRun { quantity: value.parse().expect("a decimal"), count: 1 };
    check(&price(yaml), &Usage::Transactions(values.iter().map(run).collect()))
}

/// [`check`] of groups.
pub(crate) fn groups(yaml: &str, groups: &[(&[&str], &str)]) -> String {
    let group = |(values, quantity): &(&[&str], &str)| GroupUsage {
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        quantity: quantity.parse().expect("a decimal"),
    };
    check(&price(yaml), &Usage::Groups(groups.iter().map(group).collect()))
}

/// Each case: usage, and what [`check`] must say of it.
pub(crate) fn cases(yaml: &str, cases: &[(&str, &str)]) {
    let price = price(yaml);
    for (usage, expected) in cases {
        assert_eq!(check(&price, &total(usage)), *expected, "usage {usage} of {yaml}");
    }
}

pub(crate) fn overflows(yaml: &str, usage: &str) {
    let result = price_usage(&price(yaml), &total(usage));
    assert_eq!(result, Err(PriceError::Overflow(Overflow)), "usage {usage} of {yaml}");
}

fn shown(step: &TraceStep) -> String {
    match step {
        TraceStep::Bucket { start, group, quantity, amount, steps } => {
            let steps: Vec<String> = steps.iter().map(shown).collect();
            format!("[{start} {} {quantity}: {} = {amount}]", group.join("/"), steps.join(" + "))
        }
        TraceStep::Unit { quantity, .. } => format!("unit {quantity}"),
        TraceStep::Included { quantity } => format!("included {quantity}"),
        TraceStep::DiscountedUnits { quantity } => format!("discounted {quantity}"),
        TraceStep::Flat { amount } => format!("flat {amount}"),
        TraceStep::Units { quantity, unit_amount, amount } => {
            format!("{quantity} × {unit_amount} = {amount}")
        }
        TraceStep::Packages { quantity, packages, package_amount, amount } => {
            format!("{packages} packages for {quantity} × {package_amount} = {amount}")
        }
        TraceStep::Tier { tier, quantity, rate: Some(rate), flat_amount, amount, .. } => {
            format!("tier {tier}: {rate} % of {quantity} + {} = {amount}", flat_amount.unwrap_or_default())
        }
        TraceStep::Tier { tier, quantity, blocks: Some(blocks), flat_amount, amount, .. } => format!(
            "tier {tier}: {} blocks for {quantity} × {} + {} = {amount}",
            blocks.blocks,
            blocks.block_amount,
            flat_amount.unwrap_or_default()
        ),
        TraceStep::Tier { tier, quantity, unit_amount, flat_amount, amount, .. } => format!(
            "tier {tier}: {quantity} × {} + {} = {amount}",
            unit_amount.unwrap_or_default(),
            flat_amount.unwrap_or_default()
        ),
        TraceStep::Free { quantity, transactions } => format!("free {quantity} of {transactions}"),
        TraceStep::Percentage { quantity, rate, amount } => format!("{rate} % of {quantity} = {amount}"),
        TraceStep::Transactions { transactions, fixed_amount, amount } => {
            format!("{transactions} transactions × {fixed_amount} = {amount}")
        }
        TraceStep::TransactionBounds { transactions, amount } => {
            format!("bounds of {transactions} = {amount}")
        }
        TraceStep::Dynamic { quantity, multiplier, amount } => {
            format!("{quantity} × {multiplier} = {amount}")
        }
        TraceStep::Row { row, quantity, unit_amount, amount, .. } => {
            format!("row {row}: {quantity} × {unit_amount} = {amount}")
        }
        TraceStep::PricingUnit { unit, charged, rate, amount } => {
            format!("{unit} {charged} × {rate} = {amount}")
        }
        other => format!("{other:?}"),
    }
}
