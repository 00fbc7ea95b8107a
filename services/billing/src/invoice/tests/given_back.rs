//! What is given back is what was paid, coupon by coupon; and what coupons and taxes take for one amount.

use super::*;
use crate::{
    coupon::CouponSpec,
    tax::{TaxRateSpec, TaxRounding},
};

const FEBRUARY: (&str, &str) = ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");

fn coupons(yaml: &str) -> Vec<CouponSpec> {
    serde_saphyr::from_str(yaml).expect("coupons in YAML")
}

fn in_advance(name: &str, amount: &str) -> Terms {
    let prices = format!("[{{name: base, flat: {{amount: '{amount}', billed: InAdvance}}}}]");
    terms(name, plan("USD", &prices))
}

/// What February's invoice charged for March.
fn ahead(terms: &Terms, coupons: &[CouponSpec]) -> Vec<AdvanceCharge> {
    let mut input = of_segments(vec![whole(terms.clone(), period(FEBRUARY))], terms.clone(), &[]);
    input.next = Some(NextTerms { period: period(MARCH), terms: terms.clone(), share: Share::WHOLE });
    input.charged_in_advance.clear();
    input.adjustments.coupons = coupons.to_vec();
    charged_ahead(&input).expect("charges")
}

/// What is charged for March alone, on February's invoice and on March's.
fn for_march(input: &InvoiceInput) -> Amount {
    let paid = |charged: &AdvanceCharge| {
        let discounts = Amount::checked_sum(charged.discounts.iter().map(|share| share.amount));
        charged.amount.checked_sub(discounts.expect("fits")).expect("fits")
    };
    let before = Amount::checked_sum(input.charged_in_advance.iter().map(paid)).expect("fits");
    let input = InvoiceInput { next: None, ..input.clone() };
    before.checked_add(compute(&input).expect("an invoice").total).expect("fits")
}

#[test]
fn what_a_cancellation_gives_back_is_what_was_paid() {
    let small = in_advance("small", "31");
    let mut segments = halves(small.clone(), small.clone());
    segments.pop();
    let mut input = InvoiceInput { next: None, ..of_segments(segments, small.clone(), &[]) };
    for (given, still, expected) in [
        ("[{name: all, percent: '100', duration: Forever}]", true, "base -16.00 all 16.00 = 0.00"),
        ("[{name: half, percent: '50', duration: Forever}]", true, "base -16.00 half 8.00 = -8.00"),
        ("[{name: half, percent: '50'}]", false, "base -16.00 half 8.00 = -8.00"),
        // 20 off two periods is 10 off each of them.
        ("[{name: fix, amount: '20', currency: USD}]", false, "base -16.00 fix 5.16 = -10.84"),
        (
            "[{name: half, percent: '50'}, {name: fix, amount: '20', currency: USD}]",
            false,
            "base -16.00 half 8.00 fix 5.16 = -2.84",
        ),
        // Redeemed after the payment: it was in full.
        ("[]", false, "base -16.00 = -16.00"),
    ] {
        let coupons = coupons(given);
        input.charged_in_advance = ahead(&small, &coupons);
        input.adjustments.coupons = if still { coupons } else { Vec::new() };
        let invoice = compute(&input).expect("an invoice");
        let shown = |line: &Line| format!("{} {} ", line.price, invoice.currency.format(line.amount));
        let lines: String = invoice.lines.iter().map(shown).collect();
        assert_eq!(format!("{lines}= {}", invoice.currency.format(invoice.total)), expected, "{given}");
        let sum = Amount::checked_sum(invoice.lines.iter().map(|line| line.amount)).expect("fits");
        assert_eq!(sum, invoice.total);
        let text = Computation::of(input.clone()).expect("an invoice").canonical_json();
        assert!(Computation::verify(&text).is_ok());
    }
}

#[test]
fn a_coupon_that_comes_after_the_payment_makes_a_refund_no_smaller() {
    let (small, large) = (in_advance("small", "31"), in_advance("large", "62"));
    let mut input = of_segments(halves(small, large.clone()), large, &[]);
    input.adjustments.coupons = coupons("[{name: half, percent: '50'}]");
    // 16 go back in full; half of 32 and of 62.
    assert_eq!(compute(&input).expect("an invoice").total.to_string(), "31");
}

#[test]
fn a_change_of_plans_costs_its_share_of_what_both_cost_after_the_coupon() {
    let half = coupons("[{name: half, percent: '50', duration: Forever}]");
    let (small, large) = (in_advance("small", "31"), in_advance("large", "62"));
    let (cheap, dear) = (in_advance("same", "31"), in_advance("same", "62"));
    // 15 or 30 for the first 15 days, 32 or 16 for the last 16: half of the sum.
    for (before, after, expected) in
        [(&small, &large, "23.5"), (&large, &small, "23"), (&cheap, &dear, "23.5"), (&dear, &cheap, "23")]
    {
        let mut input = of_segments(halves(before.clone(), after.clone()), after.clone(), &[]);
        input.charged_in_advance = ahead(before, &half);
        input.adjustments.coupons = half.clone();
        assert_eq!(for_march(&input).to_string(), expected);
    }
}

#[test]
fn the_tax_of_a_refund_follows_what_was_paid() {
    let small = in_advance("small", "31");
    let mut segments = halves(small.clone(), small.clone());
    segments.pop();
    let half = coupons("[{name: half, percent: '50'}]");
    let mut input = InvoiceInput { next: None, ..of_segments(segments, small.clone(), &[]) };
    input.charged_in_advance = ahead(&small, &half);
    input.adjustments.tax_rates =
        serde_saphyr::from_str::<Vec<TaxRateSpec>>("[{name: vat, percent: '10', prices: [base]}]")
            .expect("YAML");
    let invoice = compute(&input).expect("an invoice");
    assert_eq!((invoice.tax.to_string(), invoice.total.to_string()), ("-0.8".into(), "-8.8".into()));
    assert_eq!(invoice.discounts.to_string(), "-8");
}

#[test]
fn what_was_stored_without_discounts_is_read_as_paid_in_full() {
    let json = r#"{"plan":"small","price":"base","amount":"31"}"#;
    let charged: AdvanceCharge = serde_json::from_str(json).expect("an advance charge");
    assert!(charged.discounts.is_empty());
    assert_eq!(serde_json::to_string(&charged).expect("text"), json);
}

#[test]
fn a_discount_at_a_threshold_is_taken_back_with_what_the_end_of_the_period_gives_back() {
    let prices = "[{name: n, meterRef: {name: m}, volume: {tiers: [{upTo: '100', unitAmount: '1'}, {unitAmount: '0.5'}]}}]";
    for (given, expected) in [
        // The month is 50.50.
        ("[{name: tenth, percent: '10'}]", ["90", "-44.55"]),
        ("[{name: fix, amount: '20', currency: USD}]", ["80", "-49.5"]),
        ("[{name: fix, amount: '70', currency: USD}]", ["30", "-30"]),
        ("[{name: all, percent: '100'}]", ["0", "0"]),
        ("[{name: tenth, percent: '10'}, {name: fix, amount: '20', currency: USD}]", ["70", "-44.55"]),
    ] {
        let mut progress = Progress::default();
        let mut totals = Vec::new();
        for (used, kind) in [("100", InvoiceKind::Progressive), ("101", InvoiceKind::Period)] {
            let mut input = InvoiceInput { kind, ..input(plan("USD", prices), &[("m", used)]) };
            input.adjustments.coupons = coupons(given);
            progress.take_off(&mut input).expect("taken off");
            let text = Computation::of(input.clone()).expect("an invoice").canonical_json();
            let invoice = Computation::verify(&text).expect("the same bytes").invoice;
            progress.add(&input, &invoice).expect("added");
            totals.push(invoice.total.to_string());
        }
        assert_eq!(totals, expected, "{given}");
    }
}

#[test]
fn two_periods_of_a_price_are_two_lines_to_a_tax() {
    let first = |rounding: TaxRounding| {
        let mut input = input(in_advance("small", "10.05").plan.spec, &[]);
        input.charged_in_advance.clear();
        input.adjustments.tax_rates =
            serde_saphyr::from_str::<Vec<TaxRateSpec>>("[{name: vat, percent: '10'}]").expect("YAML");
        input.adjustments.tax_rounding = rounding;
        compute(&input).expect("an invoice")
    };
    let by_line = first(TaxRounding::Line);
    assert_eq!(by_line.tax.to_string(), "2.02");
    // What is told of the price is both of its lines.
    assert_eq!(by_line.charged.len(), 1);
    assert_eq!(
        (by_line.charged[0].net.to_string(), by_line.charged[0].tax.to_string()),
        ("20.1".into(), "2.02".into())
    );
    assert_eq!(by_line.taxes[0].shares, [by_line.tax]);
    assert_eq!(first(TaxRounding::Invoice).tax.to_string(), "2.01");
}

#[test]
fn a_coupon_for_a_price_leaves_the_minimum_of_a_plan_of_that_name_alone() {
    let spec: PlanSpec = serde_saphyr::from_str(
        "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, minimum: '40', prices: [{name: p, flat: {amount: '10'}}]}",
    )
    .expect("a plan in YAML");
    let p = terms("p", spec);
    let mut input = of_segments(vec![whole(p.clone(), period(MARCH))], p, &[]);
    let tax = |yaml: &str| serde_saphyr::from_str::<Vec<TaxRateSpec>>(yaml).expect("YAML");
    input.adjustments.coupons = coupons("[{name: half, percent: '50', prices: [p]}]");
    assert_eq!(compute(&input).expect("an invoice").total.to_string(), "35");
    input.adjustments.coupons = coupons("[{name: half, percent: '50'}]");
    assert_eq!(compute(&input).expect("an invoice").total.to_string(), "20");
    input.adjustments.coupons.clear();
    input.adjustments.tax_rates = tax("[{name: vat, percent: '10', prices: [p]}]");
    assert_eq!(compute(&input).expect("an invoice").tax.to_string(), "1");
}

#[test]
fn what_a_maximum_gives_back_of_an_advance_charge_is_what_was_paid_of_it() {
    let spec: PlanSpec = serde_saphyr::from_str(
        "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, maximum: '50', prices: [
            {name: base, flat: {amount: '60', billed: InAdvance}}, {name: calls, meterRef: {name: m}, perUnit: {amount: '1'}}]}",
    )
    .expect("a plan in YAML");
    let capped = terms("capped", spec);
    let half = coupons("[{name: half, percent: '50', duration: Forever}]");
    let mut input = of_segments(vec![whole(capped.clone(), period(MARCH))], capped, &[("m", "10")]);
    input.charged_in_advance[0].discounts = vec![CouponShare {
        coupon: half[0].name.clone(),
        amount: "30".parse().expect("a decimal"),
        fixed: false,
    }];
    input.adjustments.coupons = half;
    // 60 and 10 are 50 together, of which half is paid; 30 were.
    assert_eq!(for_march(&input).to_string(), "25");
}

proptest! {
    /// It is one discount of the period, whatever is billed in how many invoices, and however amounts fall in between.
    #[test]
    fn a_fixed_coupon_takes_off_the_same_however_many_invoices_there_are(
        used in prop::collection::vec((0i64..300, 0i64..300), 1..4),
        fix in prop::sample::select(vec!["5", "70", "135.5", "400"]),
        of in prop::sample::select(vec!["", ", prices: [n]", ", prices: [n, k]", ", prices: [base, n]"]),
        flat in prop::sample::select(vec!["0", "10", "100"]),
    ) {
        let volume = "volume: {tiers: [{upTo: '100', unitAmount: '1'}, {upTo: '200', unitAmount: '0.5'}, {unitAmount: '0.01'}]}";
        let prices = format!("[{{name: base, flat: {{amount: '{flat}'}}}}, {{name: n, meterRef: {{name: m}}, {volume}}}, {{name: k, meterRef: {{name: l}}, {volume}}}]");
        let coupon = coupons(&format!("[{{name: fix, amount: '{fix}', currency: USD{of}}}]"));
        let (mut progress, mut paid, mut n, mut k) = (Progress::default(), Amount::ZERO, 0, 0);
        let last = used.len() - 1;
        for (index, (more_n, more_k)) in used.into_iter().enumerate() {
            (n, k) = (n + more_n, k + more_k);
            let template = input(plan("USD", &prices), &[("m", &n.to_string()), ("l", &k.to_string())]);
            let kind = if index == last { InvoiceKind::Period } else { InvoiceKind::Progressive };
            let mut part = InvoiceInput { kind, ..template.clone() };
            part.adjustments.coupons = coupon.clone();
            progress.take_off(&mut part).expect("taken off");
            let invoice = compute(&part).expect("an invoice");
            progress.add(&part, &invoice).expect("added");
            paid = paid.checked_add(invoice.total).expect("fits");
            if index == last {
                let mut whole = template;
                whole.adjustments.coupons = coupon.clone();
                prop_assert_eq!(paid, compute(&whole).expect("an invoice").total);
            }
        }
    }

    #[test]
    fn nobody_is_given_back_more_than_they_paid(
        used in prop::collection::vec(0i64..300, 1..4),
        given in prop::sample::select(vec![
            "[{name: all, percent: '100'}]",
            "[{name: most, percent: '97'}]",
            "[{name: fix, amount: '70', currency: USD}]",
            "[{name: third, percent: '33'}, {name: fix, amount: '40.01', currency: USD}]",
            "[{name: fix, amount: '40.01', currency: USD}, {name: half, percent: '50'}]",
        ]),
        maximum in prop::sample::select(vec!["", "maximum: '60',"]),
    ) {
        let spec: PlanSpec = serde_saphyr::from_str(&format!(
            "{{regionRef: {{name: eu}}, currency: USD, interval: {{unit: Month}}, {maximum} prices: [{{name: n, meterRef: {{name: m}},
                volume: {{tiers: [{{upTo: '100', unitAmount: '1'}}, {{upTo: '200', unitAmount: '0.5'}}, {{unitAmount: '0.01'}}]}}}}]}}"
        )).expect("a plan in YAML");
        let (mut progress, mut paid, mut quantity) = (Progress::default(), Amount::ZERO, 0);
        let last = used.len() - 1;
        for (index, more) in used.into_iter().enumerate() {
            quantity += more;
            let kind = if index == last { InvoiceKind::Period } else { InvoiceKind::Progressive };
            let mut input = InvoiceInput { kind, ..input(spec.clone(), &[("m", &quantity.to_string())]) };
            input.adjustments.coupons = coupons(given);
            progress.take_off(&mut input).expect("taken off");
            let invoice = compute(&input).expect("an invoice");
            progress.add(&input, &invoice).expect("added");
            paid = paid.checked_add(invoice.total).expect("fits");
            prop_assert!(!paid.is_negative(), "{} paid in all", paid);
            if given.contains("all") {
                prop_assert_eq!(invoice.total, Amount::ZERO);
            }
        }
    }
}
