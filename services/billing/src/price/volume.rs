//! Volume: all units cost what the tier says that the total reaches. `upTo` is inclusive. More usage can cost less where a
//! cheaper tier begins; that is what this model is bought for.

use super::{TraceStep, graduated::tier_step};
use crate::{
    catalogue::TieredSpec,
    decimal::{Overflow, Quantity},
};

pub(super) fn trace(tiered: &TieredSpec, usage: Quantity) -> Result<Vec<TraceStep>, Overflow> {
    if usage.is_zero() && !tiered.flat_at_zero {
        return Ok(Vec::new());
    }
    let reached = tiered.tiers.iter().position(|tier| tier.up_to.is_none_or(|up_to| usage <= up_to));
    // The last tier is open in every valid plan, so a tier is always reached; one that is not could only be a plan that was
    // never checked, and its usage must not become free.
    let index = reached.ok_or(Overflow)?;
    Ok(vec![tier_step(index, &tiered.tiers[index], Quantity::ZERO, usage)?])
}

#[cfg(test)]
mod tests {
    use crate::price::check::cases;

    #[test]
    fn the_total_decides_the_price_of_every_unit() {
        cases(
            "{name: n, meterRef: {name: n}, volume: {tiers: [{upTo: '10', unitAmount: '50', flatAmount: '7'}, {unitAmount: '30'}]}}",
            &[
                ("0", "7 = tier 1: 0 × 50 + 7 = 7"),
                ("10", "507 = tier 1: 10 × 50 + 7 = 507"),
                (
                    "10.000000000000000001",
                    "300.00000000000000003 = tier 2: 10.000000000000000001 × 30 + 0 = 300.00000000000000003",
                ),
                ("11", "330 = tier 2: 11 × 30 + 0 = 330"),
            ],
        );
    }

    #[test]
    fn no_usage_pays_nothing_where_the_plan_says_so() {
        cases(
            "{name: n, meterRef: {name: n}, volume: {flatAtZero: false, tiers: [{flatAmount: '9'}]}}",
            &[("0", "0 ="), ("0.5", "9 = tier 1: 0.5 × 0 + 9 = 9")],
        );
    }

    #[test]
    fn what_is_included_does_not_count_towards_the_tier() {
        cases(
            "{name: n, meterRef: {name: n}, included: '5', volume: {tiers: [{upTo: '10', unitAmount: '2'}, {unitAmount: '1'}]}}",
            &[
                ("15", "20 = included 5 + tier 1: 10 × 2 + 0 = 20"),
                ("16", "11 = included 5 + tier 2: 11 × 1 + 0 = 11"),
            ],
        );
    }
}
