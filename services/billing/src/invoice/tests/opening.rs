//! The invoice at a subscription's start: what it charges, and that the first period costs the same with it as without.

use super::*;
use crate::coupon::CouponSpec;

fn coupons(yaml: &str) -> Vec<CouponSpec> {
    serde_saphyr::from_str(yaml).expect("coupons in YAML")
}

/// March as a subscription's first period, which goes on in April by its last terms.
fn first(segments: Vec<BilledSegment>, usage: &[(&str, &str)]) -> InvoiceInput {
    let last = segments.last().expect("a segment").terms.clone();
    let of_later = of_segments(segments, last, usage);
    InvoiceInput { plans_before: Vec::new(), charged_in_advance: Vec::new(), ..of_later }
}

/// The invoice at the start of a first period, as it is known then: whole, by the terms that begin it.
fn opening(of: &InvoiceInput) -> InvoiceInput {
    let at_start =
        NextTerms { period: period(MARCH), terms: of.segments[0].terms.clone(), share: Share::WHOLE };
    InvoiceInput {
        kind: InvoiceKind::Opening,
        next: Some(at_start),
        usage: Vec::new(),
        stored_before: of.period.start,
        ..of.clone()
    }
}

/// What the period comes to with an invoice at its start.
fn in_two(of: &InvoiceInput) -> (ComputedInvoice, ComputedInvoice) {
    let mut progress = Progress::default();
    let at_start = opening(of);
    let opened = compute(&at_start).expect("an invoice");
    progress.add(&at_start, &opened).expect("added");
    assert_eq!(progress.invoices(), 1);
    let mut rest = of.clone();
    progress.take_off(&mut rest).expect("taken off");
    let text = Computation::of(at_start).expect("an invoice").canonical_json();
    assert!(Computation::verify(&text).is_ok());
    (opened, compute(&rest).expect("an invoice"))
}

const ALL_KINDS: &str = "[{name: base, flat: {amount: '31', billed: InAdvance}, discount: {percent: '10'}},
    {name: set-up, flat: {amount: '99', billed: OneTime}}, {name: care, flat: {amount: '5'}},
    {name: n, meterRef: {name: m}, perUnit: {amount: '1'}}]";

#[test]
fn it_is_of_what_is_in_advance_and_of_what_is_charged_once() {
    let march = first(vec![whole(terms("starter", plan("USD", ALL_KINDS)), period(MARCH))], &[("m", "4")]);
    assert_eq!(
        check(&opening(&march)),
        [
            "base flat 1 31.00 2026-03",
            "base discount 1 -3.10 2026-03",
            "set-up flat 1 99.00 2026-03",
            "total 126.90 USD"
        ]
    );
    let (_, rest) = in_two(&march);
    let shown: Vec<String> = rest
        .lines
        .iter()
        .map(|line| format!("{} {} {}", line.price, line.role.as_str(), line.amount))
        .collect();
    assert_eq!(shown, ["care flat 5", "n usage 4", "base flat 31", "base discount -3.1"]);
}

#[test]
fn what_its_coupon_of_a_fixed_amount_gave_stays_as_far_as_the_period_comes_to_it() {
    let base = terms("starter", plan("USD", "[{name: base, flat: {amount: '31', billed: InAdvance}}]"));
    let mut half = halves(base.clone(), base);
    half.pop();
    for (fix, expected) in [("10", ["21", "-16"]), ("20", ["11", "-11"]), ("31", ["0", "0"])] {
        let mut march = InvoiceInput { next: None, ..first(half.clone(), &[]) };
        march.adjustments.coupons = coupons(&format!("[{{name: fix, amount: '{fix}', currency: USD}}]"));
        let (opened, rest) = in_two(&march);
        assert_eq!([opened.total.to_string(), rest.total.to_string()], expected, "{fix}");
    }
}

#[test]
fn a_fee_that_was_charged_once_goes_back_with_no_change_of_plan() {
    let (one, other) = (
        terms("one", plan("USD", "[{name: set-up, flat: {amount: '99', billed: OneTime}}]")),
        terms("other", plan("USD", "[{name: set-up, flat: {amount: '50', billed: OneTime}}]")),
    );
    let (opened, rest) = in_two(&first(halves(one, other), &[]));
    assert_eq!([opened.total.to_string(), rest.total.to_string()], ["99", "50"]);
}

#[test]
fn a_plans_maximum_is_kept_by_the_invoices_that_follow() {
    let spec: PlanSpec = serde_saphyr::from_str(
        "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, maximum: '50', prices: [
            {name: base, flat: {amount: '40', billed: InAdvance}}, {name: n, meterRef: {name: m}, perUnit: {amount: '1'}}]}",
    )
    .expect("a plan in YAML");
    let march = first(vec![whole(terms("starter", spec), period(MARCH))], &[("m", "25")]);
    let mut on_the_way = InvoiceInput { kind: InvoiceKind::Progressive, ..march.clone() };
    let (at_start, mut progress) = (opening(&march), Progress::default());
    progress.add(&at_start, &compute(&at_start).expect("an invoice")).expect("added");
    progress.take_off(&mut on_the_way).expect("taken off");
    let reached = compute(&on_the_way).expect("an invoice");
    // 40 and 25 are 65: 15 beyond.
    assert_eq!(reached.total.to_string(), "10");
    assert_eq!(usage_amount(&on_the_way).expect("an amount").to_string(), "10");
    progress.add(&on_the_way, &reached).expect("added");
    let mut rest = InvoiceInput { next: None, ..march };
    progress.take_off(&mut rest).expect("taken off");
    assert_eq!(compute(&rest).expect("an invoice").total.to_string(), "0");
}

proptest! {
    #[test]
    fn a_first_period_costs_the_same_with_an_invoice_at_its_start(
        (flat, then) in (0i64..90, 0i64..90),
        used in 0i64..50,
        seats in 0i64..4,
        life in prop::sample::select(vec!["as it was", "seats", "another plan", "ends"]),
        given in prop::sample::select(vec![
            "[]",
            "[{name: half, percent: '50'}]",
            "[{name: fix, amount: '70', currency: USD}]",
            "[{name: fix, amount: '20', currency: USD, prices: [base]}]",
            "[{name: fix, amount: '20', currency: USD, prices: [set-up, n]}, {name: fifth, percent: '20'}]",
            "[{name: tenth, percent: '10', prices: [base, n]}, {name: fix, amount: '33', currency: USD}]",
        ]),
    ) {
        // Whole units of 31 days and of 10: no amount falls between two cents.
        let prices = |flat: i64| format!(
            "[{{name: base, flat: {{amount: '{}', billed: InAdvance}}}}, {{name: set-up, flat: {{amount: '{}', billed: OneTime}}}},
                {{name: care, flat: {{amount: '31'}}}}, {{name: n, meterRef: {{name: m}}, perUnit: {{amount: '1'}}}}]",
            flat * 31, flat * 10,
        );
        let one = terms("one", plan("USD", &prices(flat)));
        let mut second = match life {
            "another plan" => terms("two", plan("USD", &prices(then))),
            _ => one.clone(),
        };
        if life == "seats" {
            second.quantities.insert(PriceName::new("base").expect("a name"), seats.to_string().parse().expect("a quantity"));
        }
        let mut segments = halves(one, second);
        if life == "ends" {
            segments.pop();
        }
        let mut march = first(segments, &[("m", &used.to_string())]);
        if life == "ends" {
            march.next = None;
        }
        march.adjustments.coupons = coupons(given);
        let alone = compute(&march).expect("an invoice").total;
        let (opened, rest) = in_two(&march);
        prop_assert!(!opened.total.is_negative());
        prop_assert_eq!(opened.total.checked_add(rest.total).expect("fits"), alone);
    }
}
