//! Taxes as a table: rates in YAML, lines and taxes as strings; and the laws of their sums.

use proptest::prelude::*;

use super::*;

fn rate(yaml: &str) -> Result<TaxRateSpec, SpecError> {
    let json: serde_json::Value = serde_saphyr::from_str(yaml).expect("YAML");
    TaxRateSpec::from_json(&json)
}

fn usd() -> Currency {
    "USD".parse().expect("a currency")
}

fn line(price: &str, amount: Amount) -> TaxableLine {
    TaxableLine { price: Some(PriceName::new(price).expect("a name")), amount }
}

/// "name amount of base = share + share" for each tax, then "tax, added".
fn check(rates: &[&str], rounding: TaxRounding, lines: &[(&str, &str)], currency: &str) -> Vec<String> {
    let currency: Currency = currency.parse().expect("a currency");
    let rates: Vec<TaxRateSpec> = rates.iter().map(|yaml| rate(yaml).expect("valid")).collect();
    let lines: Vec<TaxableLine> =
        lines.iter().map(|(price, amount)| line(price, amount.parse().expect("a decimal"))).collect();
    let shown = |amount: Amount| currency.format(amount);
    match apply(&rates, rounding, &lines, currency) {
        Ok(taxes) => taxes
            .taxes
            .iter()
            .map(|tax| {
                let shares: Vec<_> = tax.shares.iter().copied().map(shown).collect();
                let (amount, base) = (shown(tax.amount), shown(tax.base));
                format!("{} {amount} of {base} = {}", tax.name, shares.join(" + "))
            })
            .chain([format!("tax {}, added {}", shown(taxes.tax), shown(taxes.added))])
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

const VAT: &str = "{name: vat, percent: '19'}";
const VAT_IN: &str = "{name: vat, percent: '19', inclusive: true}";

#[test]
fn an_exclusive_rate_is_added() {
    assert_eq!(
        check(&[VAT], TaxRounding::Invoice, &[("a", "100"), ("b", "20")], "USD"),
        ["vat 22.80 of 120.00 = 19.00 + 3.80", "tax 22.80, added 22.80"]
    );
}

#[test]
fn the_two_roundings_differ_by_what_the_law_says() {
    // 8.875 % of 1.00 is 8.875 cents: three times 9 by line, 26.625 by invoice.
    let lines = [("a", "1"), ("b", "1"), ("c", "1")];
    let rate = ["{name: ny, percent: '8.875'}"];
    assert_eq!(
        check(&rate, TaxRounding::Invoice, &lines, "USD"),
        ["ny 0.27 of 3.00 = 0.09 + 0.09 + 0.09", "tax 0.27, added 0.27"]
    );
    let lines = [("a", "1.10"), ("b", "1.10"), ("c", "1.10")];
    let rate = ["{name: six, percent: '5'}"];
    assert_eq!(
        check(&rate, TaxRounding::Invoice, &lines, "USD"),
        ["six 0.17 of 3.30 = 0.06 + 0.06 + 0.05", "tax 0.17, added 0.17"]
    );
    assert_eq!(
        check(&rate, TaxRounding::Line, &lines, "USD"),
        ["six 0.18 of 3.30 = 0.06 + 0.06 + 0.06", "tax 0.18, added 0.18"]
    );
}

#[test]
fn exclusive_rates_do_not_compound() {
    assert_eq!(
        check(
            &["{name: gst, percent: '5'}", "{name: qst, percent: '9.975'}"],
            TaxRounding::Invoice,
            &[("a", "100")],
            "CAD"
        ),
        ["gst 5.00 of 100.00 = 5.00", "qst 9.98 of 100.00 = 9.98", "tax 14.98, added 14.98"]
    );
}

#[test]
fn an_inclusive_rate_is_taken_out_and_adds_nothing() {
    assert_eq!(
        check(&[VAT_IN], TaxRounding::Invoice, &[("a", "119"), ("b", "10")], "EUR"),
        ["vat 20.60 of 108.40 = 19.00 + 1.60", "tax 20.60, added 0.00"]
    );
    assert_eq!(
        check(
            &["{name: jct, percent: '10', inclusive: true}"],
            TaxRounding::Invoice,
            &[("a", "1000")],
            "JPY"
        ),
        ["jct 91 of 909 = 91", "tax 91, added 0"]
    );
}

#[test]
fn inclusive_rates_are_taken_out_together_and_exclusive_ones_of_what_is_left() {
    // 130 ÷ 1.3 = 100.
    assert_eq!(
        check(
            &[
                "{name: add, percent: '50'}",
                "{name: x, percent: '10', inclusive: true}",
                "{name: w, percent: '20', inclusive: true}"
            ],
            TaxRounding::Invoice,
            &[("a", "130")],
            "USD"
        ),
        [
            "add 50.00 of 100.00 = 50.00",
            "x 10.00 of 100.00 = 10.00",
            "w 20.00 of 100.00 = 20.00",
            "tax 80.00, added 50.00"
        ]
    );
}

#[test]
fn a_rate_covers_its_prices_and_is_left_out_where_there_are_none() {
    assert_eq!(
        check(
            &[
                "{name: x, percent: '10', prices: [a]}",
                "{name: w, percent: '5', prices: [z]}",
                "{name: o, percent: '0'}"
            ],
            TaxRounding::Line,
            &[("a", "10"), ("b", "20")],
            "USD"
        ),
        ["x 1.00 of 10.00 = 1.00 + 0.00", "o 0.00 of 30.00 = 0.00 + 0.00", "tax 1.00, added 1.00"]
    );
    assert_eq!(check(&[VAT], TaxRounding::Invoice, &[], "USD"), ["tax 0.00, added 0.00"]);
    assert_eq!(check(&[], TaxRounding::Invoice, &[("a", "1")], "USD"), ["tax 0.00, added 0.00"]);
}

#[test]
fn a_negative_line_reduces_the_tax() {
    for rounding in [TaxRounding::Invoice, TaxRounding::Line] {
        assert_eq!(
            check(&[VAT], rounding, &[("a", "100"), ("a", "-30")], "USD"),
            ["vat 13.30 of 70.00 = 19.00 + -5.70", "tax 13.30, added 13.30"]
        );
    }
}

#[test]
fn what_cannot_be_taxed_is_refused() {
    assert_eq!(
        check(&[VAT], TaxRounding::Invoice, &[("a", "1.005")], "USD"),
        ["line 0 has an amount that was not rounded: 1.005"]
    );
    assert_eq!(check(&[VAT, VAT_IN], TaxRounding::Line, &[], "USD"), ["tax rate vat is in the list twice"]);
    for (yaml, expected) in [
        ("{name: x, percent: '-1'}", "percent: must be 0 to 100"),
        ("{name: x, percent: '100.1'}", "percent: must be 0 to 100"),
        (
            "{name: x, percent: '1', prices: []}",
            "prices: name at least one price, or leave the list out for all of them",
        ),
    ] {
        assert_eq!(rate(yaml).expect_err(yaml).to_string(), expected);
    }
    assert_eq!(rate("{name: x}").expect_err("no percent").code, SpecErrorCode::Malformed);
}

fn cents(cents: i64) -> Amount {
    Amount::from_units(i128::from(cents) * 10_i128.pow(16)).expect("fits")
}

fn rates() -> impl Strategy<Value = Vec<TaxRateSpec>> {
    prop::collection::vec((0u32..40_000, any::<bool>(), 0u8..3), 0..4).prop_map(|rates| {
        rates
            .into_iter()
            .enumerate()
            .map(|(index, (thousandths, inclusive, prices))| {
                let prices = ["", ", prices: [a]", ", prices: [a, b]"][usize::from(prices)];
                let percent = Decimal::from_units(i128::from(thousandths) * 10_i128.pow(15)).expect("fits");
                rate(&format!("{{name: r{index}, percent: '{percent}', inclusive: {inclusive}{prices}}}"))
                    .expect("valid")
            })
            .collect()
    })
}

fn taxable() -> impl Strategy<Value = Vec<TaxableLine>> {
    prop::collection::vec((-5_000i64..50_000, 0usize..3), 0..9).prop_map(|lines| {
        lines.into_iter().map(|(amount, price)| line(["a", "b", "c"][price], cents(amount))).collect()
    })
}

fn rounding() -> impl Strategy<Value = TaxRounding> {
    prop::sample::select(vec![TaxRounding::Invoice, TaxRounding::Line])
}

proptest! {
    #[test]
    fn every_sum_is_exact(rates in rates(), lines in taxable(), rounding in rounding()) {
        let taxes = apply(&rates, rounding, &lines, usd()).expect("applies");
        for tax in &taxes.taxes {
            prop_assert_eq!(Amount::checked_sum(tax.shares.iter().copied()), Ok(tax.amount));
            prop_assert!(tax.shares.iter().all(|share| usd().is_in_minor_units(*share)));
        }
        prop_assert_eq!(Amount::checked_sum(taxes.taxes.iter().map(|tax| tax.amount)), Ok(taxes.tax));
        prop_assert_eq!(Amount::checked_sum(taxes.per_line.iter().copied()), Ok(taxes.tax));
        let exclusive = taxes.taxes.iter().filter(|tax| !tax.inclusive).map(|tax| tax.amount);
        prop_assert_eq!(Amount::checked_sum(exclusive), Ok(taxes.added));
    }

    #[test]
    fn base_and_inclusive_taxes_are_the_lines_to_the_cent(
        percents in prop::collection::vec(0u32..60, 1..4), lines in taxable(), rounding in rounding(),
    ) {
        let rates: Vec<TaxRateSpec> = percents.iter().enumerate()
            .map(|(index, percent)| rate(&format!("{{name: r{index}, percent: '{percent}', inclusive: true}}")).expect("valid"))
            .collect();
        let gross = Amount::checked_sum(lines.iter().map(|line| line.amount)).expect("fits");
        let taxes = apply(&rates, rounding, &lines, usd()).expect("applies");
        prop_assert_eq!(taxes.added, Amount::ZERO);
        for tax in &taxes.taxes {
            prop_assert_eq!(tax.base.checked_add(taxes.tax), Ok(gross));
        }
    }

    #[test]
    fn the_tax_of_an_invoice_is_its_base_times_the_rate_rounded_once(percent in 0u32..100, lines in taxable()) {
        let rate = rate(&format!("{{name: r, percent: '{percent}'}}")).expect("valid");
        let taxes = apply(&[rate], TaxRounding::Invoice, &lines, usd()).expect("applies");
        if let Some(tax) = taxes.taxes.first() {
            let exact = tax.base.percent(Decimal::from_integer(percent.into())).expect("fits");
            prop_assert_eq!(usd().round(exact, RoundingPoint::Tax), Ok(tax.amount));
        }
    }

    #[test]
    fn the_order_of_lines_and_of_rates_does_not_change_the_amounts(rates in rates(), lines in taxable()) {
        let shown = |rates: &[TaxRateSpec], lines: &[TaxableLine], rounding| {
            let mut taxes: Vec<_> = apply(rates, rounding, lines, usd()).expect("applies").taxes
                .into_iter().map(|tax| (tax.name, tax.amount, tax.inclusive)).collect();
            taxes.sort();
            taxes
        };
        let (mut other_rates, mut other_lines) = (rates.clone(), lines.clone());
        other_rates.reverse();
        other_lines.reverse();
        prop_assert_eq!(
            shown(&rates, &lines, TaxRounding::Line), shown(&other_rates, &other_lines, TaxRounding::Line));
        prop_assert_eq!(
            shown(&rates, &lines, TaxRounding::Invoice), shown(&other_rates, &lines, TaxRounding::Invoice));
    }

    #[test]
    fn a_refund_of_everything_takes_back_all_tax(rates in rates(), lines in taxable()) {
        let refund: Vec<TaxableLine> = lines.iter()
            .map(|line| TaxableLine { price: line.price.clone(), amount: line.amount.negated() }).collect();
        let tax = apply(&rates, TaxRounding::Line, &lines, usd()).expect("applies").tax;
        let refunded = apply(&rates, TaxRounding::Line, &refund, usd()).expect("applies").tax;
        prop_assert_eq!(refunded, tax.negated());
    }
}
