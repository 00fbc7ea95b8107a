//! Graduated: each unit costs what its own tier says. A tier's flat amount is due once the tier is entered; the first tier's
//! also at no usage at all, unless `flatAtZero` is false. `upTo` is inclusive, and parts of units split exactly.

use super::{BlocksStep, TraceStep};
use crate::{
    catalogue::{TierSpec, TieredSpec},
    decimal::{Amount, Overflow, Quantity, WholeRounding},
};

pub(super) fn trace(tiered: &TieredSpec, usage: Quantity) -> Result<Vec<TraceStep>, Overflow> {
    let mut steps = Vec::new();
    let mut from = Quantity::ZERO;
    for (index, tier) in tiered.tiers.iter().enumerate() {
        let reached = tier.up_to.map_or(usage, |up_to| up_to.min(usage));
        let quantity = reached.checked_sub(from)?;
        let entered = !quantity.is_zero() || (index == 0 && tiered.flat_at_zero);
        if entered {
            steps.push(tier_step(index, tier, from, quantity)?);
        }
        if reached == usage {
            break;
        }
        from = reached;
    }
    Ok(steps)
}

/// The charge for `quantity` units of one tier, its flat amount included.
pub(super) fn tier_step(
    index: usize,
    tier: &TierSpec,
    from: Quantity,
    quantity: Quantity,
) -> Result<TraceStep, Overflow> {
    let (units, blocks) = match (tier.unit_amount, &tier.block) {
        (_, Some(block)) => {
            let blocks = Quantity(quantity.0.whole_multiples(block.size.0, WholeRounding::Up)?);
            (blocks.times(block.amount)?, Some(BlocksStep { blocks, block_amount: block.amount }))
        }
        (Some(unit_amount), None) => (quantity.times(unit_amount)?, None),
        (None, None) => (Amount::ZERO, None),
    };
    let amount = units.checked_add(tier.flat_amount.unwrap_or_default())?;
    Ok(TraceStep::Tier {
        tier: u32::try_from(index + 1).map_err(|_| Overflow)?,
        from,
        up_to: tier.up_to,
        quantity,
        unit_amount: tier.unit_amount,
        blocks,
        rate: None,
        flat_amount: tier.flat_amount,
        amount,
    })
}

#[cfg(test)]
mod tests {
    use crate::price::check::cases;

    const TIERS: &str = "{name: n, meterRef: {name: n}, graduated: {tiers: [
        {upTo: '10', unitAmount: '50', flatAmount: '7'}, {upTo: '20', unitAmount: '40'}, {unitAmount: '30', flatAmount: '1'}]}}";

    #[test]
    fn each_unit_costs_what_its_tier_says() {
        cases(
            TIERS,
            &[
                ("0", "7 = tier 1: 0 × 50 + 7 = 7"),
                ("1", "57 = tier 1: 1 × 50 + 7 = 57"),
                ("10", "507 = tier 1: 10 × 50 + 7 = 507"),
                (
                    "10.000000000000000001",
                    "507.00000000000000004 = tier 1: 10 × 50 + 7 = 507 + tier 2: 0.000000000000000001 × 40 + 0 = 0.00000000000000004",
                ),
                ("11", "547 = tier 1: 10 × 50 + 7 = 507 + tier 2: 1 × 40 + 0 = 40"),
                ("20", "907 = tier 1: 10 × 50 + 7 = 507 + tier 2: 10 × 40 + 0 = 400"),
                (
                    "20.5",
                    "923 = tier 1: 10 × 50 + 7 = 507 + tier 2: 10 × 40 + 0 = 400 + tier 3: 0.5 × 30 + 1 = 16",
                ),
                (
                    "25",
                    "1058 = tier 1: 10 × 50 + 7 = 507 + tier 2: 10 × 40 + 0 = 400 + tier 3: 5 × 30 + 1 = 151",
                ),
            ],
        );
    }

    #[test]
    fn no_usage_pays_nothing_where_the_plan_says_so() {
        cases(
            "{name: n, meterRef: {name: n}, graduated: {flatAtZero: false, tiers: [{flatAmount: '100', upTo: '5'}, {unitAmount: '2'}]}}",
            &[
                ("0", "0 ="),
                ("0.1", "100 = tier 1: 0.1 × 0 + 100 = 100"),
                ("6", "102 = tier 1: 5 × 0 + 100 = 100 + tier 2: 1 × 2 + 0 = 2"),
            ],
        );
    }

    #[test]
    fn included_units_come_off_the_first_tier() {
        cases(
            "{name: n, meterRef: {name: n}, included: '3', graduated: {tiers: [{unitAmount: '5', upTo: '2'}, {unitAmount: '1'}]}}",
            &[
                ("3", "0 = included 3 + tier 1: 0 × 5 + 0 = 0"),
                ("6", "11 = included 3 + tier 1: 2 × 5 + 0 = 10 + tier 2: 1 × 1 + 0 = 1"),
            ],
        );
    }

    #[test]
    fn a_tier_sells_its_units_in_blocks_and_a_begun_one_in_full() {
        cases(
            "{name: n, meterRef: {name: n}, graduated: {flatAtZero: false, tiers: [{upTo: '10', block: {size: '5', amount: '3'}},
                {block: {size: '100', amount: '20'}, flatAmount: '1'}]}}",
            &[
                ("0", "0 ="),
                ("5", "3 = tier 1: 1 blocks for 5 × 3 + 0 = 3"),
                ("5.000000000000000001", "6 = tier 1: 2 blocks for 5.000000000000000001 × 3 + 0 = 6"),
                ("11", "27 = tier 1: 2 blocks for 10 × 3 + 0 = 6 + tier 2: 1 blocks for 1 × 20 + 1 = 21"),
                ("110", "27 = tier 1: 2 blocks for 10 × 3 + 0 = 6 + tier 2: 1 blocks for 100 × 20 + 1 = 21"),
                ("111", "47 = tier 1: 2 blocks for 10 × 3 + 0 = 6 + tier 2: 2 blocks for 101 × 20 + 1 = 41"),
            ],
        );
    }

    #[test]
    fn a_single_open_tier_is_per_unit() {
        cases(
            "{name: n, meterRef: {name: n}, graduated: {tiers: [{unitAmount: '0.01'}]}}",
            &[("2000", "20 = tier 1: 2000 × 0.01 + 0 = 20")],
        );
    }
}
