//! Graduated percentage: each part of the value at its tier's rate, tiers as in graduated.rs.

use super::{TraceStep, percentage::percent_of};
use crate::{
    catalogue::RateTiersSpec,
    decimal::{Overflow, Quantity},
};

pub(super) fn trace(tiered: &RateTiersSpec, value: Quantity) -> Result<Vec<TraceStep>, Overflow> {
    let mut steps = Vec::new();
    let mut from = Quantity::ZERO;
    for (index, tier) in tiered.tiers.iter().enumerate() {
        let reached = tier.up_to.map_or(value, |up_to| up_to.min(value));
        let quantity = reached.checked_sub(from)?;
        if !quantity.is_zero() || (index == 0 && tiered.flat_at_zero) {
            let amount =
                percent_of(quantity, tier.rate)?.checked_add(tier.flat_amount.unwrap_or_default())?;
            steps.push(TraceStep::Tier {
                tier: u32::try_from(index + 1).map_err(|_| Overflow)?,
                from,
                up_to: tier.up_to,
                quantity,
                unit_amount: None,
                blocks: None,
                rate: Some(tier.rate),
                flat_amount: tier.flat_amount,
                amount,
            });
        }
        if reached == value {
            break;
        }
        from = reached;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use crate::price::check::cases;

    const TIERS: &str = "{name: n, meterRef: {name: n}, graduatedPercentage: {tiers: [
        {upTo: '10', rate: '1', flatAmount: '200'}, {upTo: '20', rate: '2', flatAmount: '300'}, {rate: '3'}]}}";

    #[test]
    fn each_part_of_the_value_pays_its_tiers_rate() {
        cases(
            TIERS,
            &[
                ("0", "200 = tier 1: 1 % of 0 + 200 = 200"),
                ("5", "200.05 = tier 1: 1 % of 5 + 200 = 200.05"),
                ("10", "200.1 = tier 1: 1 % of 10 + 200 = 200.1"),
                ("10.5", "500.11 = tier 1: 1 % of 10 + 200 = 200.1 + tier 2: 2 % of 0.5 + 300 = 300.01"),
                (
                    "25",
                    "500.45 = tier 1: 1 % of 10 + 200 = 200.1 + tier 2: 2 % of 10 + 300 = 300.2 + tier 3: 3 % of 5 + 0 = 0.15",
                ),
            ],
        );
    }

    #[test]
    fn no_usage_pays_nothing_where_the_plan_says_so() {
        cases(
            "{name: n, meterRef: {name: n}, graduatedPercentage: {flatAtZero: false, tiers: [{rate: '1', flatAmount: '2'}]}}",
            &[("0", "0 ="), ("100", "3 = tier 1: 1 % of 100 + 2 = 3")],
        );
    }
}
