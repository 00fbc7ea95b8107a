//! What arrives after the invoice of its period is charged with a later one, as if it had been there in time.

use super::*;
use crate::ids::InvoiceId;

const CUTOFF: &str = "2026-04-01T01:00:00Z";

/// What `known` in all changes of a March that was charged for `charged`.
fn late(prices: &PlanSpec, charged: &str, known: &str) -> Option<LateUsage> {
    let told = |quantity| input(prices.clone(), &[("m", quantity)]).usage;
    let billed = input(prices.clone(), &[("m", "1")]);
    let invoice = InvoiceId::new("inv_1").expect("an id");
    let stored_from = CUTOFF.parse().expect("a time");
    LateUsage::of(invoice, &billed, stored_from, &told(charged), told(known)).expect("it can be rated")
}

/// April, with nothing used, and what became known of March.
fn april(prices: &PlanSpec, late: Option<LateUsage>) -> InvoiceInput {
    let terms = terms("starter", prices.clone());
    let mut april = of_segments(vec![whole(terms.clone(), period(APRIL))], terms, &[("m", "0")]);
    april.period = period(APRIL);
    april.late = late.into_iter().collect();
    april
}

fn of_march(prices: &str, charged: &str, known: &str) -> Vec<String> {
    let plan = plan("USD", prices);
    let invoice = check(&april(&plan, late(&plan, charged, known)));
    invoice.into_iter().filter(|line| line.ends_with("2026-03")).collect()
}

const GRADUATED: &str = "[{name: n, meterRef: {name: m}, graduated: {tiers: [{upTo: '100', unitAmount: '1'}, {unitAmount: '0.5'}]}}]";

#[test]
fn the_rest_is_priced_where_the_period_had_stopped() {
    // 90 were charged 90.00; of 40 more, ten are in the first tier.
    assert_eq!(of_march(GRADUATED, "90", "130"), ["n usage 40 25.00 2026-03"]);
    let plan = plan("USD", GRADUATED);
    let late = late(&plan, "90", "130").expect("something changed");
    assert_eq!(late.lines[0].description, "n: 130 call; 40 became known after its invoice");
    let last = late.lines[0].trace.last().expect("a trace");
    let (quantity, amount) = ("90".parse().expect("a decimal"), "-90".parse().expect("an amount"));
    assert_eq!(*last, TraceStep::BilledBefore { quantity, amount });
    assert_eq!(
        check(&april(&plan, Some(late))),
        ["n usage 0 0.00 2026-04", "n usage 40 25.00 2026-03", "total 25.00 USD"]
    );
}

#[test]
fn what_is_included_is_named_and_costs_nothing() {
    let prices = "[{name: n, meterRef: {name: m}, included: '1000', perUnit: {amount: '1'}}]";
    assert_eq!(of_march(prices, "10", "300"), ["n usage 290 0.00 2026-03"]);
    assert_eq!(of_march(prices, "10", "1002"), ["n usage 992 2.00 2026-03"]);
}

#[test]
fn nothing_new_is_no_line() {
    assert_eq!(late(&plan("USD", GRADUATED), "90", "90"), None);
}

#[test]
fn bounds_discounts_and_promises_come_out_as_if_it_had_been_there() {
    // 10.00 at least: 4.00 more use up what was charged for nothing.
    let minimum = "[{name: n, meterRef: {name: m}, perUnit: {amount: '1'}, minimum: '10'}]";
    assert_eq!(of_march(minimum, "3", "7"), ["n usage 4 4.00 2026-03", "n minimum 1 -4.00 2026-03"]);
    assert_eq!(of_march(minimum, "3", "12"), ["n usage 9 9.00 2026-03", "n minimum 1 -7.00 2026-03"]);
    let maximum =
        "[{name: n, meterRef: {name: m}, perUnit: {amount: '1'}, maximum: '10', discount: {percent: '50'}}]";
    assert_eq!(
        of_march(maximum, "8", "15"),
        ["n usage 7 7.00 2026-03", "n maximum 1 -5.00 2026-03", "n discount 1 -1.00 2026-03"]
    );
    let volume = "[{name: n, meterRef: {name: m}, volume: {tiers: [{upTo: '10', unitAmount: '1'}, {unitAmount: '0.5'}]}}]";
    assert_eq!(of_march(volume, "10", "12"), ["n usage 2 -4.00 2026-03"]);
}

#[test]
fn it_is_discounted_and_taxed_like_the_invoice_that_it_is_on() {
    let prices = plan("USD", GRADUATED);
    let mut april = april(&prices, late(&prices, "90", "130"));
    let coupon = r#"{"name": "half", "percent": "50", "duration": "Forever"}"#;
    april.adjustments.coupons = vec![serde_json::from_str(coupon).expect("a coupon")];
    april.adjustments.tax_rates =
        vec![serde_json::from_str(r#"{"name": "vat", "percent": "20"}"#).expect("a tax rate")];
    let invoice = compute(&april).expect("an invoice");
    let shown = |amount| invoice.currency.format(amount);
    assert_eq!(
        [invoice.subtotal, invoice.discounts, invoice.tax, invoice.total].map(shown),
        ["25.00", "12.50", "2.50", "15.00"]
    );
    let text = Computation::of(april).expect("an invoice").canonical_json();
    assert!(Computation::verify(&text).is_ok());
}

#[test]
fn an_invoice_on_the_way_leaves_it_to_the_last_one() {
    let prices = plan("USD", GRADUATED);
    let april = InvoiceInput { kind: InvoiceKind::Progressive, ..april(&prices, late(&prices, "90", "130")) };
    assert_eq!(check(&april), ["n usage 0 0.00 2026-04", "total 0.00 USD"]);
}

proptest! {
    #[test]
    fn however_late_all_usage_costs_the_same(plan in any_plan(), first in 0i64..500_000, then in 0i64..500_000, last in 0i64..500_000) {
        let lines = |usage: i64| price_lines(&input(plan.clone(), &[("m", &usage.to_string())])).expect("lines").lines;
        let sum = |lines: &[Line]| Amount::checked_sum(lines.iter().map(|line| line.amount)).expect("fits");
        let later = |charged: i64, known: i64| {
            late(&plan, &charged.to_string(), &known.to_string()).map_or(Amount::ZERO, |late| sum(&late.lines))
        };
        let charged = [sum(&lines(first)), later(first, first + then), later(first + then, first + then + last)];
        prop_assert_eq!(Amount::checked_sum(charged).expect("fits"), sum(&lines(first + then + last)));
    }
}
