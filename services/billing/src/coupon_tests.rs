//! Coupons as a table: coupons in YAML, lines as strings, discounts with their shares as strings.

use proptest::prelude::*;

use super::*;

fn coupon(yaml: &str) -> Result<CouponSpec, SpecError> {
    let json: serde_json::Value = serde_saphyr::from_str(yaml).expect("YAML");
    CouponSpec::from_json(&json)
}

fn usd() -> Currency {
    "USD".parse().expect("a currency")
}

fn lines(lines: &[(&str, &str)]) -> Vec<DiscountableLine> {
    lines
        .iter()
        .map(|(price, amount)| DiscountableLine {
            price: Some(PriceName::new(*price).expect("a name")),
            amount: amount.parse().expect("a decimal"),
        })
        .collect()
}

/// "amount = share + share" for each coupon.
fn check(coupons: &[&str], given: &[(&str, &str)], currency: &str) -> Vec<String> {
    let currency: Currency = currency.parse().expect("a currency");
    let coupons: Vec<CouponSpec> = coupons.iter().map(|yaml| coupon(yaml).expect("valid")).collect();
    match apply(&coupons, &lines(given), currency) {
        Ok(discounts) => discounts
            .iter()
            .map(|discount| {
                let shares: Vec<_> = discount.shares.iter().map(|share| currency.format(*share)).collect();
                format!("{} {} = {}", discount.coupon, currency.format(discount.amount), shares.join(" + "))
            })
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn a_percentage_is_rounded_once_and_split_to_the_cent() {
    // 10 % of 30.15 is 3.015; three times 10 % of 10.05, each rounded, would be 3.03.
    assert_eq!(
        check(&["{name: tenth, percent: '10'}"], &[("a", "10.05"), ("b", "10.05"), ("c", "10.05")], "USD"),
        ["tenth 3.02 = 1.01 + 1.01 + 1.00"]
    );
    assert_eq!(check(&["{name: half, percent: '50'}"], &[("a", "1")], "JPY"), ["half 1 = 1"]);
    assert_eq!(check(&["{name: all, percent: '100'}"], &[("a", "7.77")], "USD"), ["all 7.77 = 7.77"]);
}

#[test]
fn percentages_multiply_on_what_the_ones_before_left() {
    assert_eq!(
        check(
            &[
                "{name: x, percent: '50'}",
                "{name: w, amount: '10', currency: USD}",
                "{name: z, percent: '20'}"
            ],
            &[("a", "100")],
            "USD"
        ),
        ["x 50.00 = 50.00", "w 10.00 = 10.00", "z 8.00 = 8.00"]
    );
    assert_eq!(
        check(
            &["{name: w, amount: '10', currency: USD}", "{name: x, percent: '50'}"],
            &[("a", "100")],
            "USD"
        ),
        ["w 10.00 = 10.00", "x 45.00 = 45.00"]
    );
}

#[test]
fn an_amount_takes_no_more_than_is_left() {
    assert_eq!(
        check(
            &["{name: x, amount: '25', currency: USD}", "{name: w, amount: '25', currency: USD}"],
            &[("a", "10"), ("b", "20.01")],
            "USD"
        ),
        ["x 25.00 = 8.33 + 16.67", "w 5.01 = 1.67 + 3.34"]
    );
    assert_eq!(check(&["{name: x, amount: '25', currency: USD}"], &[], "USD"), ["x 0.00 = "]);
}

#[test]
fn only_the_named_prices_are_discounted() {
    assert_eq!(
        check(
            &["{name: x, percent: '10', prices: [b, c]}"],
            &[("a", "100"), ("b", "200"), ("c", "-50"), ("b", "1")],
            "USD"
        ),
        ["x 20.10 = 0.00 + 20.00 + 0.00 + 0.10"]
    );
}

#[test]
fn a_credit_for_unused_time_takes_no_discount_and_lends_none() {
    assert_eq!(
        check(&["{name: x, amount: '60', currency: USD}"], &[("a", "50"), ("a", "-30")], "USD"),
        ["x 50.00 = 50.00 + 0.00"]
    );
}

#[test]
fn what_does_not_fit_the_invoice_is_refused() {
    assert_eq!(
        check(&["{name: x, amount: '5', currency: EUR}"], &[("a", "50")], "USD"),
        ["coupon x is in EUR, the invoice is in USD"]
    );
    assert_eq!(
        check(&["{name: x, percent: '5'}"], &[("a", "50"), ("a", "0.005")], "USD"),
        ["line 1 has an amount that was not rounded: 0.005"]
    );
    assert_eq!(
        check(&["{name: x, percent: '5'}"], &[("a", "99999999999999999999"), ("a", "1")], "USD"),
        ["the result does not fit 20 digits before and 18 after the decimal point"]
    );
}

#[test]
fn a_coupon_is_written_back_as_it_was() {
    let yaml = "{name: spring, percent: '12.5', duration: Repeating, periods: 3, prices: [base], redeemBy: '2026-06-01T00:00:00Z', maxRedemptions: 40}";
    let json: serde_json::Value = serde_saphyr::from_str(yaml).expect("YAML");
    assert_eq!(serde_json::to_value(coupon(yaml).expect("valid")).expect("serializes"), json);
}

#[test]
fn each_mistake_in_a_coupon_names_its_field() {
    for (yaml, expected) in [
        ("{name: x}", "percent Missing: a coupon needs a percent or an amount"),
        (
            "{name: x, percent: '1', amount: '1', currency: USD}",
            "amount Conflicting: a coupon has a percent or an amount, not both",
        ),
        ("{name: x, percent: '0'}", "percent OutOfRange: must be more than 0 and at most 100"),
        ("{name: x, percent: '-1'}", "percent OutOfRange: must be more than 0 and at most 100"),
        (
            "{name: x, percent: '100.000000000000000001'}",
            "percent OutOfRange: must be more than 0 and at most 100",
        ),
        (
            "{name: x, percent: '1', currency: USD}",
            "currency Conflicting: a percentage has no currency: leave it out",
        ),
        ("{name: x, amount: '1'}", "currency Missing: say which currency the amount is in"),
        ("{name: x, amount: '0', currency: USD}", "amount OutOfRange: must be more than 0"),
        (
            "{name: x, amount: '0.5', currency: JPY}",
            "amount OutOfRange: JPY has 0 digits after the decimal point at most",
        ),
        (
            "{name: x, percent: '1', duration: Repeating}",
            "periods Missing: say for how many periods a Repeating coupon counts",
        ),
        (
            "{name: x, percent: '1', duration: Repeating, periods: 0}",
            "periods OutOfRange: must be at least 1",
        ),
        (
            "{name: x, percent: '1', periods: 2}",
            "periods Conflicting: only a Repeating coupon has a number of periods: leave it out, or set duration: Repeating",
        ),
        ("{name: x, percent: '1', maxRedemptions: 0}", "maxRedemptions OutOfRange: must be at least 1"),
        (
            "{name: x, percent: '1', prices: []}",
            "prices OutOfRange: name at least one price, or leave the list out for all of them",
        ),
        ("{name: x, percent: '1', prices: [a, a]}", "prices[1] InvalidName: \"a\" is in the list twice"),
        (
            "{name: x, percent: '1', prices: [a, B]}",
            "prices[1] Malformed: price name may hold lower-case letters, digits, '-' and '.' only",
        ),
    ] {
        let error = coupon(yaml).expect_err(yaml);
        assert_eq!(format!("{} {:?}: {}", error.field, error.code, error.detail), expected, "{yaml}");
    }
    assert_eq!(coupon("{name: x, percent: 5}").expect_err("a number").field, "percent");
    assert_eq!(coupon("{name: x, percent: '5', percentage: '5'}").expect_err("unknown").field, "percentage");
}

#[test]
fn the_duration_counts_periods_from_the_redemption() {
    let periods = |yaml: &str| {
        let coupon = coupon(yaml).expect("valid");
        (0..5).filter(|period| coupon.applies_in(*period)).collect::<Vec<_>>()
    };
    assert_eq!(periods("{name: x, percent: '1'}"), [0]);
    assert_eq!(periods("{name: x, percent: '1', duration: Repeating, periods: 3}"), [0, 1, 2]);
    assert_eq!(periods("{name: x, percent: '1', duration: Forever}"), [0, 1, 2, 3, 4]);
}

#[test]
fn redemptions_end_at_the_time_and_at_the_number() {
    let coupon = coupon("{name: x, percent: '1', redeemBy: '2026-06-01T00:00:00Z', maxRedemptions: 2}")
        .expect("valid");
    let check = |at: &str, redemptions| {
        coupon
            .check_redemption(at.parse().expect("a time"), redemptions)
            .map_err(|refused| refused.to_string())
    };
    assert_eq!(check("2026-05-31T23:59:59.999999999Z", 1), Ok(()));
    assert_eq!(
        check("2026-06-01T00:00:00Z", 0),
        Err("coupon x could be redeemed before 2026-06-01T00:00:00Z only".to_owned())
    );
    assert_eq!(
        check("2026-01-01T00:00:00Z", 2),
        Err("coupon x was redeemed 2 times already, which is its limit".to_owned())
    );
}

fn cents(cents: i64) -> Amount {
    Amount::from_units(i128::from(cents) * 10_i128.pow(16)).expect("fits")
}

proptest! {
    #[test]
    fn discounts_never_take_more_than_a_line_has_and_shares_sum(
        amounts in prop::collection::vec(-500i64..10_000, 0..8),
        coupons in prop::collection::vec((any::<bool>(), 1u32..=100, any::<bool>()), 0..5),
    ) {
        let price = |index: usize| PriceName::new(if index.is_multiple_of(2) { "a" } else { "b" }).expect("a name");
        let lines: Vec<DiscountableLine> = amounts
            .iter()
            .enumerate()
            .map(|(index, amount)| DiscountableLine { price: Some(price(index)), amount: cents(*amount) })
            .collect();
        let coupons: Vec<CouponSpec> = coupons
            .iter()
            .map(|(percent, value, narrow)| {
                let what = if *percent { format!("percent: '{value}'") } else { format!("amount: '{value}.07', currency: USD") };
                coupon(&format!("{{name: x, {what}{}}}", if *narrow { ", prices: [a]" } else { "" })).expect("valid")
            })
            .collect();
        let discounts = apply(&coupons, &lines, usd()).expect("applies");
        prop_assert_eq!(discounts.len(), coupons.len());
        for discount in &discounts {
            prop_assert_eq!(Amount::checked_sum(discount.shares.iter().copied()), Ok(discount.amount));
            prop_assert!(usd().is_in_minor_units(discount.amount) && !discount.amount.is_negative());
        }
        for (index, line) in lines.iter().enumerate() {
            let taken = Amount::checked_sum(discounts.iter().map(|discount| discount.shares[index])).expect("fits");
            prop_assert!(taken <= line.amount.max(Amount::ZERO), "{} of {}", taken, line.amount);
        }
    }
}
