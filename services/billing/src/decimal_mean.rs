//! The weighted mean: a sum of products and one division, with a single rounding at the end. The products and their sum are
//! held in 256 bits, so that no weight, however long a level stood, costs a digit.

use super::{Decimal, Overflow, divide_half_up, signed, wide_product};

impl Decimal {
    /// Σ value × weight ÷ `total`, half away from zero at the 18th decimal. A total of zero is an error, as a divisor of zero is.
    pub fn weighted_mean(parts: impl IntoIterator<Item = (Self, u64)>, total: u64) -> Result<Self, Overflow> {
        let (mut above, mut below) = ((0, 0), (0, 0));
        for (value, weight) in parts {
            let product = wide_product(value.0.unsigned_abs(), u128::from(weight));
            let side = if value.is_negative() { &mut below } else { &mut above };
            *side = wide_sum(*side, product)?;
        }
        let negative = below > above;
        let (high, low) = if negative { wide_rest(below, above) } else { wide_rest(above, below) };
        let magnitude = divide_half_up(high, low, u128::from(total)).ok_or(Overflow)?;
        signed(magnitude, negative)
    }
}

type Wide = (u128, u128);

fn wide_sum(a: Wide, b: Wide) -> Result<Wide, Overflow> {
    let (low, carry) = a.1.overflowing_add(b.1);
    let high = a.0.checked_add(b.0).and_then(|high| high.checked_add(u128::from(carry))).ok_or(Overflow)?;
    Ok((high, low))
}

/// `a` − `b`; `a` is not the smaller one.
fn wide_rest(a: Wide, b: Wide) -> Wide {
    let (low, borrow) = a.1.overflowing_sub(b.1);
    (a.0 - b.0 - u128::from(borrow), low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mean(parts: &[(&str, u64)], total: u64) -> Result<String, Overflow> {
        let parts =
            parts.iter().map(|(value, weight)| (value.parse::<Decimal>().expect("a decimal"), *weight));
        Decimal::weighted_mean(parts, total).map(|mean| mean.to_string())
    }

    #[test]
    fn it_is_rounded_once() {
        let most = "99999999999999999999.999999999999999999";
        for (parts, total, expected) in [
            (&[("2", 1), ("5", 2)][..], 3, "4"),
            (&[("1", 1), ("0", 2)], 3, "0.333333333333333333"),
            (&[("2", 1), ("0", 2)], 3, "0.666666666666666667"),
            (&[("1", 1), ("1", 1), ("1", 1)], 3, "1"),
            (&[("0.000000000000000001", 1), ("0", 1)], 2, "0.000000000000000001"),
            (&[("-0.000000000000000001", 1), ("0", 1)], 2, "-0.000000000000000001"),
            (&[("3", 1), ("-5", 1)], 2, "-1"),
            (&[(most, u64::MAX)], u64::MAX, most),
            (&[], 7, "0"),
        ] {
            assert_eq!(mean(parts, total).as_deref(), Ok(expected), "{parts:?}");
        }
    }

    #[test]
    fn a_mean_that_does_not_fit_is_an_error() {
        assert_eq!(mean(&[("1", 1)], 0), Err(Overflow));
        assert_eq!(mean(&[], 0), Err(Overflow));
        assert_eq!(mean(&[("99999999999999999999", 10)], 1), Err(Overflow));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sum_and_a_division(parts in prop::collection::vec((-1_000_000_i64..1_000_000, 0_u64..1_000_000), 0..20), total in 1_u64..1_000_000) {
            let sum: i64 = parts.iter().map(|(value, weight)| value * *weight as i64).sum();
            let expected = Decimal::from_integer(sum).checked_div(Decimal::from_integer(total as i64));
            let values = parts.iter().map(|(value, weight)| (Decimal::from_integer(*value), *weight));
            prop_assert_eq!(Decimal::weighted_mean(values, total), expected);
        }
    }
}
