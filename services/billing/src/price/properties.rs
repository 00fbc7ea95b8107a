//! What holds for every price model and quantity.

use proptest::prelude::*;

use super::{Usage, check::price, price_usage};
use crate::decimal::{Amount, Decimal, Quantity};

fn quantity(thousandths: i64) -> Quantity {
    Quantity(Decimal::from_units(i128::from(thousandths) * 10_i128.pow(15)).expect("fits"))
}

fn amount(yaml: &str, usage: Quantity) -> Amount {
    price_usage(&price(yaml), &Usage::Total(usage)).expect("the price fits").amount
}

fn tiers(bounds: &[u32], unit_amounts: &[u32]) -> String {
    let mut reached = 0;
    let closed: Vec<String> = bounds
        .iter()
        .zip(unit_amounts)
        .map(|(width, unit_amount)| {
            reached += width;
            format!("{{upTo: '{reached}', unitAmount: '{unit_amount}'}}")
        })
        .collect();
    format!(
        "{{tiers: [{}{}{{unitAmount: '4', flatAmount: '2'}}]}}",
        closed.join(", "),
        if closed.is_empty() { "" } else { ", " }
    )
}

proptest! {
    #[test]
    fn graduated_and_volume_agree_within_the_first_tier(first in 1u32..1000, unit in 0u32..99, part in 0i64..=1000) {
        let tiers = tiers(&[first], &[unit]);
        let usage = quantity(i64::from(first) * part);
        let graduated = amount(&format!("{{name: n, meterRef: {{name: n}}, graduated: {tiers}}}"), usage);
        let volume = amount(&format!("{{name: n, meterRef: {{name: n}}, volume: {tiers}}}"), usage);
        prop_assert_eq!(graduated, volume);
    }

    #[test]
    fn graduated_never_costs_less_for_more_and_has_no_jump_without_flat_amounts(
        bounds in prop::collection::vec(1u32..500, 0..6), units in prop::collection::vec(0u32..99, 6), usage in 0i64..3_000_000,
    ) {
        let yaml = format!("{{name: n, meterRef: {{name: n}}, graduated: {}}}", tiers(&bounds, &units));
        let (less, more) = (amount(&yaml, quantity(usage)), amount(&yaml, quantity(usage + 1)));
        prop_assert!(more >= less);
        // One more thousandth costs at most a thousandth of the dearest unit, and the last tier's flat amount of 2.
        prop_assert!(more.checked_sub(less).expect("fits") <= "2.1".parse().expect("a decimal"));
    }

    #[test]
    fn graduated_tiers_split_the_quantity_without_loss(
        bounds in prop::collection::vec(1u32..500, 0..6), units in prop::collection::vec(0u32..99, 6), usage in 0i64..3_000_000,
    ) {
        let yaml = format!("{{name: n, meterRef: {{name: n}}, graduated: {}}}", tiers(&bounds, &units));
        let trace = price_usage(&price(&yaml), &Usage::Total(quantity(usage))).expect("fits").trace;
        let split = trace.iter().try_fold(Quantity::ZERO, |sum, step| match step {
            super::TraceStep::Tier { quantity, .. } => sum.checked_add(*quantity),
            other => panic!("not a tier: {other:?}"),
        });
        prop_assert_eq!(split.expect("fits"), quantity(usage));
    }

    #[test]
    fn volume_never_costs_less_for_more_where_no_tier_is_cheaper(first in 1u32..1000, unit in 0u32..50, dearer in 0u32..50, usage in 0i64..3_000_000) {
        let yaml = format!(
            "{{name: n, meterRef: {{name: n}}, volume: {{tiers: [{{upTo: '{first}', unitAmount: '{unit}'}}, {{unitAmount: '{}'}}]}}}}",
            unit + dearer
        );
        prop_assert!(amount(&yaml, quantity(usage + 1)) >= amount(&yaml, quantity(usage)));
    }

    #[test]
    fn packages_cover_the_usage_and_not_one_more(size in 1u32..5000, usage in 0i64..3_000_000) {
        let yaml = format!("{{name: n, meterRef: {{name: n}}, package: {{size: '{size}', amount: '1'}}}}");
        let covered = Quantity::from_integer(i64::from(size)).0.checked_mul(amount(&yaml, quantity(usage)).0).expect("fits");
        prop_assert!(covered >= quantity(usage).0);
        prop_assert!(covered.checked_sub(Decimal::from_integer(i64::from(size))).expect("fits") < quantity(usage).0 || usage == 0);
    }
}
