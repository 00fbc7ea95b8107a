//! Invoices at a threshold: what had not begun when it was reached is not on them.

use super::*;

/// basic until the middle of March, pro from then on: its first unit costs 20 more.
fn upgrade() -> (Vec<BilledSegment>, Terms) {
    let basic = terms("basic", plan("USD", "[{name: calls, meterRef: {name: m}, perUnit: {amount: '1'}}]"));
    let tiers = "{tiers: [{unitAmount: '1', flatAmount: '20'}]}";
    let pro = plan("USD", &format!("[{{name: calls, meterRef: {{name: n}}, graduated: {tiers}}}]"));
    let pro = terms("pro", pro);
    (halves(basic, pro.clone()), pro)
}

fn at_the_threshold() -> InvoiceInput {
    let (segments, pro) = upgrade();
    // A level may be told of time that is still to come.
    InvoiceInput {
        kind: InvoiceKind::Progressive,
        stored_before: "2026-03-05T00:00:00Z".parse().expect("a time"),
        ..of_segments(segments, pro, &[("m", "10"), ("n", "7")])
    }
}

#[test]
fn a_plan_that_does_not_hold_yet_is_not_billed_at_a_threshold() {
    let early = at_the_threshold();
    assert_eq!(check(&early), ["calls usage 10 10.00 2026-03", "total 10.00 USD"]);
    assert_eq!(usage_amount(&early).expect("fits"), Amount::from_integer(10));
    let later = InvoiceInput { stored_before: "2026-03-20T00:00:00Z".parse().expect("a time"), ..early };
    assert_eq!(
        check(&later),
        ["calls usage 10 10.00 2026-03", "calls usage 7 27.00 2026-03", "total 37.00 USD"]
    );
}

#[test]
fn what_was_not_billed_at_a_threshold_is_billed_with_the_period() {
    let Computation { input: early, invoice } = Computation::of(at_the_threshold()).expect("an invoice");
    let text = Computation { input: early.clone(), invoice: invoice.clone() }.canonical_json();
    assert!(Computation::verify(&text).is_ok(), "{text}");
    let mut progress = Progress::default();
    progress.add(&early, &invoice).expect("fits");
    let (segments, pro) = upgrade();
    let mut rest = of_segments(segments, pro, &[("m", "15"), ("n", "7")]);
    progress.take_off(&mut rest).expect("fits");
    assert_eq!(
        check(&rest),
        ["calls usage 5 5.00 2026-03", "calls usage 7 27.00 2026-03", "total 32.00 USD"]
    );
}

#[test]
fn usage_that_was_not_looked_up_is_an_error_at_a_threshold_too() {
    let mut early = at_the_threshold();
    early.usage.clear();
    assert!(compute(&early).is_err());
}
