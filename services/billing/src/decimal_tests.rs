//! Decimals as tables, and against bigdecimal on random values.

use bigdecimal::RoundingMode;
use proptest::prelude::*;

use super::*;

fn d(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

#[test]
fn parsing_is_strict_and_says_why() {
    use ParseDecimalError::{NotANumber, TooManyDecimals, TooManyIntegerDigits};
    for (text, canonical) in [
        ("0", "0"),
        ("-0", "0"),
        ("00012.3400", "12.34"),
        ("-0.000000000000000001", "-0.000000000000000001"),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        ("000000000000000000000000000001", "1"),
    ] {
        assert_eq!(d(text).to_string(), canonical, "{text}");
    }
    for text in [
        "", "-", ".", "1.", ".5", "+1", "1e3", "1,5", " 1", "1 ", "0x1", "NaN", "inf", "Infinity", "--1",
        "1.2.3", "1_000", "١",
    ] {
        assert_eq!(text.parse::<Decimal>(), Err(NotANumber), "{text:?}");
    }
    assert_eq!("100000000000000000000".parse::<Decimal>(), Err(TooManyIntegerDigits));
    assert_eq!("0.0000000000000000001".parse::<Decimal>(), Err(TooManyDecimals));
    assert_eq!("1.0000000000000000000".parse::<Decimal>(), Err(TooManyDecimals));
}

#[test]
fn exponents_are_taken_exactly_or_refused() {
    use ParseDecimalError::{NotANumber, TooManyDecimals, TooManyIntegerDigits};
    for (text, canonical) in [
        ("1e0", "1"),
        ("1.5e3", "1500"),
        ("-2E-3", "-0.002"),
        ("1e+19", "10000000000000000000"),
        ("1e-18", "0.000000000000000001"),
        ("10e-19", "0.000000000000000001"),
        ("0e99999", "0"),
        ("100.0", "100"),
        ("12345.678e-3", "12.345678"),
    ] {
        assert_eq!(Decimal::parse_scientific(text), Ok(d(canonical)), "{text}");
    }
    for (text, error) in [
        ("1e20", TooManyIntegerDigits),
        ("1e400", TooManyIntegerDigits),
        ("1e9223372036854775807", TooManyIntegerDigits),
        ("10e9223372036854775807", TooManyIntegerDigits),
        ("1e-19", TooManyDecimals),
        ("1e-400", TooManyDecimals),
        ("1e99999999999999999999", NotANumber),
        ("e5", NotANumber),
        ("1e", NotANumber),
        ("nan", NotANumber),
        ("1.5e3.2", NotANumber),
    ] {
        assert_eq!(Decimal::parse_scientific(text), Err(error), "{text}");
    }
}

#[test]
fn json_numbers_are_refused_because_a_double_stood_between() {
    assert_eq!(serde_json::from_str::<Decimal>("\"0.1\"").expect("a string"), d("0.1"));
    assert!(serde_json::from_str::<Decimal>("0.1").is_err());
    assert!(serde_json::from_str::<Decimal>("1").is_err());
    let error = serde_json::from_str::<Amount>("\"1e5\"").expect_err("an exponent").to_string();
    assert!(error.starts_with("\"1e5\" is not a decimal number"), "{error}");
    assert_eq!(serde_json::to_string(&Quantity::from_integer(-7)).expect("serializes"), "\"-7\"");
}

#[test]
fn products_and_quotients_round_half_away_from_zero_at_the_18th_decimal() {
    let tiny = "0.000000000000000001";
    for (a, b, product) in [
        ("2000", "0.01", "20"),
        (tiny, "0.5", tiny),
        (tiny, "-0.5", "-0.000000000000000001"),
        (tiny, "0.499999999999999999", "0"),
        ("99999999999999999999.999999999999999999", "1", "99999999999999999999.999999999999999999"),
        ("-10000000000", "9999999999", "-99999999990000000000"),
    ] {
        assert_eq!(d(a).checked_mul(d(b)), Ok(d(product)), "{a} × {b}");
        assert_eq!(d(b).checked_mul(d(a)), Ok(d(product)), "{b} × {a}");
    }
    for (a, b, quotient) in [
        ("1", "3", "0.333333333333333333"),
        ("2", "3", "0.666666666666666667"),
        ("-2", "3", "-0.666666666666666667"),
        ("1", "99999999999999999999", "0"),
        ("12345678901234567890.5", "2", "6172839450617283945.25"),
    ] {
        assert_eq!(d(a).checked_div(d(b)), Ok(d(quotient)), "{a} / {b}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    assert_eq!(Decimal::MAX.checked_add(d("0.000000000000000001")), Err(Overflow));
    assert_eq!(Decimal::MAX.negated().checked_sub(d("0.000000000000000001")), Err(Overflow));
    assert_eq!(d("10000000000").checked_mul(d("10000000000")), Err(Overflow));
    assert_eq!(Decimal::MAX.checked_mul(Decimal::MAX), Err(Overflow));
    assert_eq!(d("1").checked_div(Decimal::ZERO), Err(Overflow));
    assert_eq!(Decimal::MAX.checked_div(d("0.1")), Err(Overflow));
    assert_eq!(Decimal::MAX.rounded(2), Err(Overflow));
    assert_eq!(Decimal::from_units(i128::MAX), Err(Overflow));
    assert_eq!(Decimal::from_units(i128::MIN), Err(Overflow));
    assert_eq!(Decimal::MAX.whole_multiples(d("0.1"), WholeRounding::Up), Err(Overflow));
    assert_eq!(Decimal::ONE.whole_multiples(Decimal::ZERO, WholeRounding::Up), Err(Overflow));
    assert_eq!(Decimal::ONE.negated().whole_multiples(Decimal::ONE, WholeRounding::Up), Err(Overflow));
}

#[test]
fn padding_adds_zeros_and_never_cuts() {
    for (text, decimals, padded) in
        [("120", 2, "120.00"), ("0.5", 2, "0.50"), ("0.125", 2, "0.125"), ("7", 0, "7"), ("-1", 3, "-1.000")]
    {
        assert_eq!(d(text).to_string_padded(decimals), padded);
    }
}

#[test]
fn integers_are_recognised() {
    assert!(d("-12").is_integer() && Decimal::ZERO.is_integer());
    assert!(!d("0.000000000000000001").is_integer());
}

#[test]
fn a_numeric_column_that_does_not_fit_is_refused_not_cut() {
    let big = |text: &str| text.parse::<BigDecimal>().expect("bigdecimal");
    assert_eq!(Decimal::from_bigdecimal(&big("1.000000000000000000000")), Ok(d("1")));
    assert_eq!(Decimal::from_bigdecimal(&big("-0.10")), Ok(d("-0.1")));
    assert_eq!(Decimal::from_bigdecimal(&big("1e3")), Ok(d("1000")));
    assert_eq!(Decimal::from_bigdecimal(&big("1e-19")), Err(ParseDecimalError::TooManyDecimals));
    assert_eq!(Decimal::from_bigdecimal(&big("1e20")), Err(ParseDecimalError::TooManyIntegerDigits));
    assert_eq!(Decimal::from_bigdecimal(&big("1e1000000000")), Err(ParseDecimalError::TooManyIntegerDigits));
    assert_eq!(Decimal::from_bigdecimal(&big("1e-1000000000")), Err(ParseDecimalError::TooManyDecimals));
}

prop_compose! {
    /// Magnitudes of every size, ties at the 18th decimal included.
    fn any_decimal()(units in any::<i128>(), bits in 0u32..127, tie in any::<bool>()) -> Decimal {
        let units = (units >> bits) % (MAX + 1);
        let step = 500_000_000_000;
        Decimal::from_units(if tie { units / step * step } else { units }).expect("within bounds")
    }
}

fn fits(value: &BigDecimal) -> Option<Decimal> {
    let rounded = value.with_scale_round(18, RoundingMode::HalfUp);
    let (units, _) = rounded.as_bigint_and_exponent();
    i128::try_from(units).ok().and_then(|units| Decimal::from_units(units).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn arithmetic_agrees_with_bigdecimal(a in any_decimal(), b in any_decimal()) {
        let (x, y) = (a.to_bigdecimal(), b.to_bigdecimal());
        prop_assert_eq!(a.checked_add(b).ok(), fits(&(&x + &y)));
        prop_assert_eq!(a.checked_sub(b).ok(), fits(&(&x - &y)));
        prop_assert_eq!(a.checked_mul(b).ok(), fits(&(&x * &y)), "{} × {}", a, b);
    }

    #[test]
    fn quotients_are_the_nearest(a in any_decimal(), b in any_decimal()) {
        // |a − q·b| ≤ |b| / 2 at the 18th decimal: compared as integers.
        if let Ok(q) = a.checked_div(b) {
            let scaled = BigDecimal::new(a.units().into(), 0) * BigDecimal::new(10_i128.pow(18).into(), 0);
            let rest = (scaled - BigDecimal::new(q.units().into(), 0) * BigDecimal::new(b.units().into(), 0)).abs();
            prop_assert!(rest * BigDecimal::from(2) <= BigDecimal::new(b.units().into(), 0).abs(), "{} / {} = {}", a, b, q);
        }
    }

    #[test]
    fn rounding_agrees_with_bigdecimal(a in any_decimal(), decimals in 0u32..20) {
        let expected = a.to_bigdecimal().with_scale_round(i64::from(decimals.min(18)), RoundingMode::HalfUp);
        prop_assert_eq!(a.rounded(decimals).ok(), fits(&expected));
    }

    #[test]
    fn text_and_columns_go_both_ways(a in any_decimal()) {
        prop_assert_eq!(a.to_string().parse(), Ok(a));
        prop_assert_eq!(Decimal::parse_scientific(&a.to_string()), Ok(a));
        prop_assert_eq!(Decimal::from_bigdecimal(&a.to_bigdecimal()), Ok(a));
    }

    #[test]
    fn order_is_that_of_the_numbers(a in any_decimal(), b in any_decimal()) {
        prop_assert_eq!(a.cmp(&b), a.to_bigdecimal().cmp(&b.to_bigdecimal()));
    }
}

#[test]
fn multiplying_and_dividing_rounds_once() {
    for (value, factor, divisor, expected) in [
        ("10", "20", "100", "2"),
        ("1", "1", "3", "0.333333333333333333"),
        ("2", "1", "-3", "-0.666666666666666667"),
        ("-2", "1", "-3", "0.666666666666666667"),
        // The product alone would not fit.
        ("99999999999999999999", "100", "119", "84033613445378151259.663865546218487395"),
        // 10⁻¹⁸ × 10⁻¹⁸ alone would be cut to zero.
        ("0.000000000000000001", "0.000000000000000001", "0.000000000000000001", "0.000000000000000001"),
    ] {
        let decimal = |text: &str| text.parse::<Decimal>().expect("a decimal");
        let result = decimal(value).checked_mul_div(decimal(factor), decimal(divisor)).expect("fits");
        assert_eq!(result.to_string(), expected, "{value} × {factor} ÷ {divisor}");
    }
    assert_eq!(Decimal::ONE.checked_mul_div(Decimal::ONE, Decimal::ZERO), Err(Overflow));
    assert_eq!(Decimal::MAX.checked_mul_div(Decimal::from_integer(2), Decimal::ONE), Err(Overflow));
}

#[test]
fn a_ratio_is_rounded_once_at_the_18th_decimal() {
    let max = "99999999999999999999.999999999999999999";
    for (value, numerator, denominator, expected) in [
        ("30", 14, 31, Ok("13.548387096774193548")),
        ("-30", 14, 31, Ok("-13.548387096774193548")),
        ("0.000000000000000001", 1, 2, Ok("0.000000000000000001")),
        ("0.000000000000000001", 1, 3, Ok("0")),
        ("1", 2, 3, Ok("0.666666666666666667")),
        ("7", 0, 5, Ok("0")),
        (max, u64::MAX, u64::MAX, Ok(max)),
        (max, 2, 1, Err(Overflow)),
        ("1", 1, 0, Err(Overflow)),
    ] {
        let got = d(value).checked_mul_ratio(numerator, denominator).map(|value| value.to_string());
        assert_eq!(
            got.as_deref().map_err(|overflow| *overflow),
            expected,
            "{value} × {numerator}/{denominator}"
        );
    }
}
