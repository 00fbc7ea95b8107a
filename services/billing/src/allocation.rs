//! Splitting a rounded amount over several lines so that the parts sum to it exactly, by the largest remainder (Hamilton's
//! method): each part is cut down to whole minor units, and the units that are then missing go, one each, to the parts that
//! lost most; of equal losers the heavier ones get it, and of
//! those equally heavy the first, so the order of lines matters between equal lines only. Nothing is rounded here: the sum was rounded before, at a
//! [`RoundingPoint`](crate::money::RoundingPoint).
//!
//! Neighbours: coupon.rs splits discounts, tax.rs splits taxes.

use std::cmp::Reverse;

use crate::{
    decimal::{Amount, Overflow, multiply_and_divide},
    money::Currency,
};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    #[error("{total} {currency} has parts of minor units, which cannot be split without a rest")]
    NotInMinorUnits { total: Amount, currency: Currency },
    #[error("weight {index} is negative: {weight}")]
    NegativeWeight { index: usize, weight: Amount },
    #[error("{0} is to be split, but every weight is zero")]
    NoWeight(Amount),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Splits `total` in proportion to `weights`, which are not negative. Exact: the shares sum to `total`, each is less than a
/// minor unit from its exact part, and where weights are in minor units and sum to at least `total`, no share is over its weight.
/// A negative total gives the same shares, negated.
pub fn allocate(
    total: Amount,
    weights: &[Amount],
    currency: Currency,
) -> Result<Vec<Amount>, AllocationError> {
    if !currency.is_in_minor_units(total) {
        return Err(AllocationError::NotInMinorUnits { total, currency });
    }
    if let Some((index, weight)) = weights.iter().enumerate().find(|(_, weight)| weight.is_negative()) {
        return Err(AllocationError::NegativeWeight { index, weight: *weight });
    }
    if total.is_zero() {
        return Ok(vec![Amount::ZERO; weights.len()]);
    }
    let whole = Amount::checked_sum(weights.iter().copied())?;
    if whole.is_zero() {
        return Err(AllocationError::NoWeight(total));
    }
    let minor_units = total.units().unsigned_abs() / currency.minor_unit().unsigned_abs();
    let parts = weights
        .iter()
        .map(|weight| {
            // Counted in minor units; all rests have the same divisor, so they compare as they are.
            multiply_and_divide(minor_units, weight.units().unsigned_abs(), whole.units().unsigned_abs())
                .ok_or(Overflow)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let cut = parts.iter().map(|(units, _)| *units).sum::<u128>();
    let rests = parts.iter().map(|(_, rest)| *rest).collect::<Vec<_>>();
    let bonus = largest(&rests, weights, minor_units - cut);
    parts
        .iter()
        .zip(bonus)
        .map(|((units, _), bonus)| {
            let units = i128::try_from(units + u128::from(bonus)).map_err(|_| Overflow)?;
            let share = Amount::from_units(units.checked_mul(currency.minor_unit()).ok_or(Overflow)?)?;
            Ok(if total.is_negative() { share.negated() } else { share })
        })
        .collect()
}

/// Rounds `exact` amounts, of either sign, to minor units such that they sum to `total`, which is their sum rounded. Each
/// result is less than a minor unit from its exact amount; what was in minor units stays as it is.
pub(crate) fn round_to_sum(
    exact: &[Amount],
    total: Amount,
    currency: Currency,
) -> Result<Vec<Amount>, Overflow> {
    let unit = currency.minor_unit();
    let rests: Vec<u128> =
        exact.iter().map(|amount| amount.units().rem_euclid(unit).unsigned_abs()).collect();
    let cut = exact
        .iter()
        .map(|amount| Amount::from_units(amount.units() - amount.units().rem_euclid(unit)))
        .collect::<Result<Vec<_>, _>>()?;
    let missing = total.checked_sub(Amount::checked_sum(cut.iter().copied())?)?.units() / unit;
    let bonus = largest(&rests, exact, u128::try_from(missing).map_err(|_| Overflow)?);
    cut.iter()
        .zip(bonus)
        .map(|(amount, bonus)| if bonus { Amount::from_units(amount.units() + unit) } else { Ok(*amount) })
        .collect()
}

/// Which of the rests are the `count` largest ones: of equal ones those with the larger weight, and of those the first.
fn largest(rests: &[u128], weights: &[Amount], count: u128) -> Vec<bool> {
    let mut order: Vec<usize> = (0..rests.len()).collect();
    order.sort_by_key(|&index| (Reverse(rests[index]), Reverse(weights[index]), index));
    let mut chosen = vec![false; rests.len()];
    for index in order.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
        chosen[index] = true;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amounts(texts: &[&str]) -> Vec<Amount> {
        texts.iter().map(|text| text.parse().expect("a decimal")).collect()
    }

    fn check(total: &str, weights: &[&str], currency: &str) -> String {
        let currency: Currency = currency.parse().expect("a currency");
        match allocate(total.parse().expect("a decimal"), &amounts(weights), currency) {
            Ok(shares) => {
                shares.into_iter().map(|share| currency.format(share)).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_missing_cents_go_to_the_largest_rests_and_then_to_the_first() {
        for (total, weights, currency, expected) in [
            ("10", &["1", "1", "1"][..], "USD", "3.34 3.33 3.33"),
            ("0.02", &["1", "1", "1"], "USD", "0.01 0.01 0.00"),
            ("10", &["1", "2"], "USD", "3.33 6.67"),
            ("-10", &["1", "2"], "USD", "-3.33 -6.67"),
            ("100", &["1", "0", "1", "1"], "JPY", "34 0 33 33"),
            ("0.001", &["5", "7"], "KWD", "0.000 0.001"),
            ("30", &["10", "20"], "USD", "10.00 20.00"),
            ("0", &["0", "0"], "USD", "0.00 0.00"),
            ("0", &[], "USD", ""),
            (
                "99999999999999999999.99",
                &["33333333333333333333", "33333333333333333333", "33333333333333333333"],
                "USD",
                "33333333333333333333.33 33333333333333333333.33 33333333333333333333.33",
            ),
        ] {
            assert_eq!(check(total, weights, currency), expected, "{total} over {weights:?}");
        }
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        for (total, weights, expected) in [
            ("0.005", &["1"][..], "0.005 USD has parts of minor units, which cannot be split without a rest"),
            ("1", &["2", "-1"], "weight 1 is negative: -1"),
            ("1", &["0"], "1 is to be split, but every weight is zero"),
            ("1", &[], "1 is to be split, but every weight is zero"),
            (
                "1",
                &["99999999999999999999", "1"],
                "the result does not fit 20 digits before and 18 after the decimal point",
            ),
        ] {
            assert_eq!(check(total, weights, "USD"), expected);
        }
    }

    #[test]
    fn signed_amounts_round_to_their_rounded_sum() {
        let usd: Currency = "USD".parse().expect("a currency");
        for (exact, total, expected) in [
            (&["1.005", "-1.005"][..], "0", "1.01 -1.01"),
            (&["0.004", "0.004", "0.004"], "0.01", "0.01 0.00 0.00"),
            (&["-0.005"], "-0.01", "-0.01"),
            (&["-0.004", "-0.004", "2"], "1.99", "0.00 -0.01 2.00"),
        ] {
            let rounded =
                round_to_sum(&amounts(exact), total.parse().expect("a decimal"), usd).expect("fits");
            let shown: Vec<_> = rounded.into_iter().map(|amount| usd.format(amount)).collect();
            assert_eq!(shown.join(" "), expected, "{exact:?}");
        }
    }

    fn cents(cents: i64) -> Amount {
        Amount::from_units(i128::from(cents) * 10_i128.pow(16)).expect("fits")
    }

    proptest! {
        #[test]
        fn shares_sum_exactly_and_none_is_over_its_line(
            lines in prop::collection::vec(0i64..1_000_000, 1..12), part in 0u32..=1000,
        ) {
            let usd: Currency = "USD".parse().expect("a currency");
            let whole: i64 = lines.iter().sum();
            let total = cents(whole * i64::from(part) / 1000);
            let weights: Vec<Amount> = lines.iter().copied().map(cents).collect();
            let shares = allocate(total, &weights, usd).expect("can be split");
            prop_assert_eq!(Amount::checked_sum(shares.iter().copied()), Ok(total));
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!(!share.is_negative() && share <= weight, "{} of {}", share, weight);
            }
        }

        #[test]
        fn equal_weights_differ_by_a_cent_at_most_and_the_first_have_it(total in 0i64..100_000, count in 1usize..12) {
            let usd: Currency = "USD".parse().expect("a currency");
            let shares = allocate(cents(total), &vec![cents(7); count], usd).expect("can be split");
            prop_assert!(shares.is_sorted_by(|a, b| a >= b));
            prop_assert!(shares[0].checked_sub(shares[count - 1]).expect("fits") <= cents(1));
        }

        #[test]
        fn the_order_of_the_lines_changes_nothing_but_who_of_equals_is_first(
            lines in prop::collection::vec(1i64..50, 1..9), total in 0i64..1000, turn in 0usize..9,
        ) {
            let usd: Currency = "USD".parse().expect("a currency");
            let paired = |lines: &[i64]| {
                let weights: Vec<Amount> = lines.iter().copied().map(cents).collect();
                let shares = allocate(cents(total), &weights, usd).expect("can be split");
                let mut pairs: Vec<_> = weights.into_iter().zip(shares).collect();
                pairs.sort();
                pairs
            };
            let mut turned = lines.clone();
            turned.rotate_left(turn % lines.len());
            prop_assert_eq!(paired(&lines), paired(&turned));
        }
    }
}
