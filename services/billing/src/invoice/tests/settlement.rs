//! Where several lines, parts or invoices are about one amount: that it is charged once and rounded once.

use super::*;

fn march_that_begins(state: SegmentState, terms: &Terms) -> Vec<BilledSegment> {
    let mut parts = halves(terms.clone(), terms.clone());
    parts[0].state = state;
    parts
}

#[test]
fn the_discount_of_a_minimum_is_the_percentage_of_it_to_the_cent() {
    let prices = "[{name: n, meterRef: {name: m}, perUnit: {amount: '0.01'}, minimum: '10', discount: {percent: '50'}}]";
    // 1.665 and 3.335 would both be rounded up.
    assert_eq!(
        check(&input(plan("USD", prices), &[("m", "333")])),
        [
            "n usage 333 3.33 2026-03",
            "n discount 1 -1.67 2026-03",
            "n minimum 1 6.67 2026-03",
            "n discount 1 -3.33 2026-03",
            "total 5.00 USD"
        ]
    );
}

#[test]
fn a_promise_per_bucket_is_held_against_money_after_the_discount() {
    let prices = "[{name: n, meterRef: {name: m}, bucket: {size: Month}, perUnit: {amount: '10'}, discount: {percent: '20'},
        pricingUnit: {name: credits, rate: '0.01'}, commitment: {amount: '1', trueUp: true, per: Bucket}}]";
    // 50 credits are 0.50, of which 0.40 is paid.
    assert_eq!(
        check(&input(plan("USD", prices), &[("m", "5")])),
        [
            "n usage 5 0.50 2026-03",
            "n discount 1 -0.10 2026-03",
            "n commitment 1 0.60 2026-03",
            "total 1.00 USD"
        ]
    );
}

#[test]
fn a_pause_within_a_bucket_leaves_one_promise_for_the_rest_of_it() {
    let prices = "[{name: n, meterRef: {name: m}, bucket: {size: Month}, perUnit: {amount: '1'},
        commitment: {amount: '10', trueUp: true, per: Bucket}}]";
    let terms = terms("starter", plan("USD", prices));
    let mut segments = halves(terms.clone(), terms.clone());
    let resumed: jiff::Timestamp = "2026-03-20T00:00:00Z".parse().expect("a time");
    let pause = Period { start: segments[1].period.start, end: resumed };
    segments[1].period.start = resumed;
    segments[1].share = Share::new(12, 31).expect("a share");
    let share = Share::new(4, 31).expect("a share");
    segments.insert(
        1,
        BilledSegment {
            period: pause,
            scheduled: None,
            terms: terms.clone(),
            share,
            state: SegmentState::Paused,
        },
    );
    // 27 of 31 days are 8.7097.
    assert_eq!(
        check(&of_segments(segments, terms, &[("m", "4")])),
        ["n usage 4 4.00 2026-03", "n commitment 1 4.71 2026-03", "total 8.71 USD"]
    );
}

#[test]
fn a_plan_that_is_resumed_pays_no_second_set_up_fee() {
    let starter = terms("starter", plan("USD", "[{name: set-up, flat: {amount: '50', billed: OneTime}}]"));
    let resumed = of_segments(march_that_begins(SegmentState::Paused, &starter), starter.clone(), &[]);
    assert_eq!(check(&resumed), ["total 0.00 USD"]);
    // Who left the plan and comes back begins it again.
    let other = terms("free", plan("USD", "[{name: care, flat: {amount: '31'}}]"));
    let mut back = of_segments(halves(other, starter.clone()), starter, &[]);
    back.plans_before = vec![PlanName::new("starter").expect("a name")];
    assert_eq!(
        check(&back),
        ["care proration 1 15.00 2026-03", "set-up flat 1 50.00 2026-03", "total 65.00 USD"]
    );
}

#[test]
fn two_versions_of_a_price_settle_one_advance_charge_and_one_set_up_fee() {
    let prices = |amount: &str| {
        let prices = format!(
            "[{{name: base, flat: {{amount: '{amount}', billed: InAdvance}}}}, {{name: set-up, flat: {{amount: '{amount}', billed: OneTime}}}}]"
        );
        terms("starter", plan("USD", &prices))
    };
    let mut input = of_segments(halves(prices("31"), prices("62")), prices("62"), &[]);
    assert_eq!(
        check(&input),
        [
            "base proration 1 -16.00 2026-03",
            "base proration 1 32.00 2026-03",
            "base flat 1 62.00 2026-04",
            "total 78.00 USD"
        ]
    );
    input.plans_before.clear();
    assert_eq!(check(&input)[1], "set-up flat 1 31.00 2026-03");
    assert_eq!(check(&input)[4], "total 109.00 USD");
}

#[test]
fn parts_of_a_period_that_was_paid_in_advance_are_rounded_once() {
    let terms = terms(
        "starter",
        plan("USD", "[{name: base, flat: {amount: '30', billed: InAdvance}, discount: {percent: '10'}}]"),
    );
    let mut segments = halves(seats(terms.clone(), "base", "1"), seats(terms.clone(), "base", "2"));
    let mut input = of_segments(segments.clone(), terms.clone(), &[]);
    input.next = None;
    input.charged_in_advance[0].amount = "27".parse().expect("a decimal");
    // 15/31 × 30 + 16/31 × 60 = 45.483… → 45.48, less 10 % (4.548 → 4.55), less 27.
    assert_eq!(check(&input), ["base proration 1 13.93 2026-03", "total 13.93 USD"]);
    segments[1].share = Share::NOTHING;
    input.segments = segments;
    // 14.516… → 14.52, less 1.45, less 27.
    assert_eq!(check(&input), ["base proration 1 -13.93 2026-03", "total -13.93 USD"]);
}

#[test]
fn time_that_costs_nothing_has_no_line() {
    let terms = terms("starter", plan("USD", "[{name: base, flat: {amount: '30'}}]"));
    let mut segments = halves(terms.clone(), seats(terms.clone(), "base", "2"));
    (segments[0].share, segments[1].share) = (Share::WHOLE, Share::NOTHING);
    assert_eq!(check(&of_segments(segments, terms, &[])), ["base flat 1 30.00 2026-03", "total 30.00 USD"]);
}

#[test]
fn what_thresholds_billed_counts_towards_the_bounds_of_the_plan() {
    let yaml = "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, minimum: '100', maximum: '140', prices: [
        {name: calls, meterRef: {name: m}, perUnit: {amount: '1'}, discount: {percent: '10'}}]}";
    let plan: PlanSpec = serde_saphyr::from_str(yaml).expect("a plan in YAML");
    let last = |usage: &str, before: &str| {
        let mut input = input(plan.clone(), &[("m", usage)]);
        input.usage[0].billed_before = Some(Usage::Total(before.parse().expect("a decimal")));
        check(&input)
    };
    assert_eq!(
        last("120", "115"),
        ["calls usage 5 5.00 2026-03", "calls discount 1 -0.50 2026-03", "total 4.50 USD"]
    );
    // 99.90 were billed, and nothing came after that.
    assert_eq!(
        last("111", "111"),
        ["calls usage 0 0.00 2026-03", "starter minimum 1 0.10 2026-03", "total 0.10 USD"]
    );
    assert_eq!(
        last("160", "150"),
        [
            "calls usage 10 10.00 2026-03",
            "calls discount 1 -1.00 2026-03",
            "starter maximum 1 -4.00 2026-03",
            "total 5.00 USD"
        ]
    );
}

#[test]
fn the_trace_of_a_line_says_what_was_billed_before_and_only_then() {
    let prices = "[{name: calls, meterRef: {name: m}, perUnit: {amount: '1'}, discount: {percent: '10'}}]";
    let traces = |before: Option<&str>| {
        let mut input = input(plan("USD", prices), &[("m", "120")]);
        input.usage[0].billed_before = before.map(|before| Usage::Total(before.parse().expect("a decimal")));
        let invoice = compute(&input).expect("an invoice");
        let billed = |step: &TraceStep| match step {
            TraceStep::BilledBefore { quantity, amount } => Some(format!("{quantity} for {amount}")),
            _ => None,
        };
        invoice
            .lines
            .iter()
            .map(|line| line.trace.iter().filter_map(billed).collect())
            .collect::<Vec<Vec<_>>>()
    };
    assert_eq!(traces(None), [[], []] as [[String; 0]; 2]);
    assert_eq!(traces(Some("115")), [["115 for -115"], ["0 for 11.5"]]);
}

#[test]
fn an_invoice_on_the_way_keeps_to_the_plans_maximum() {
    let yaml = "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, maximum: '20', prices: [
        {name: calls, meterRef: {name: m}, volume: {tiers: [{upTo: '30', unitAmount: '1'}, {unitAmount: '0.5'}]}}]}";
    let plan: PlanSpec = serde_saphyr::from_str(yaml).expect("a plan in YAML");
    let billed = |kind, usage: &str, before: Option<&str>| {
        let mut input = InvoiceInput { kind, ..input(plan.clone(), &[("m", usage)]) };
        input.usage[0].billed_before = before.map(|before| Usage::Total(before.parse().expect("a decimal")));
        check(&input).last().cloned().expect("a total")
    };
    assert_eq!(billed(InvoiceKind::Progressive, "15", None), "total 15.00 USD");
    assert_eq!(billed(InvoiceKind::Progressive, "24", Some("15")), "total 5.00 USD");
    assert_eq!(billed(InvoiceKind::Progressive, "30", Some("24")), "total 0.00 USD");
    // 15.50 in all: 4.50 go back.
    assert_eq!(billed(InvoiceKind::Period, "31", Some("30")), "total -4.50 USD");
}

#[test]
fn what_was_charged_in_advance_beyond_the_plans_maximum_goes_back() {
    let yaml = "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, maximum: '20', prices: [
        {name: base, flat: {amount: '30', billed: InAdvance}}, {name: calls, meterRef: {name: m}, perUnit: {amount: '1'}}]}";
    let plan: PlanSpec = serde_saphyr::from_str(yaml).expect("a plan in YAML");
    let last = InvoiceInput { next: None, ..input(plan, &[("m", "0")]) };
    assert_eq!(
        check(&last),
        ["calls usage 0 0.00 2026-03", "starter maximum 1 -10.00 2026-03", "total -10.00 USD"]
    );
}

#[test]
fn a_price_may_have_the_name_of_its_plan() {
    let prices = "[{name: starter, meterRef: {name: m}, perUnit: {amount: '1'}, maximum: '10'}, {name: base, flat: {amount: '30'}}]";
    let net = |charged: &Charged| format!("{} {}", charged.price, charged.net);
    let invoice = compute(&input(plan("USD", prices), &[("m", "15")])).expect("an invoice");
    assert_eq!(invoice.charged.iter().map(net).collect::<Vec<_>>(), ["starter 10", "base 30"]);
}

#[test]
fn the_line_of_a_maximum_says_what_it_is_of_a_part_of_the_period() {
    let prices = "[{name: n, meterRef: {name: m}, perUnit: {amount: '1'}, maximum: '3'}]";
    let first = terms("small", plan("USD", prices));
    let second = terms("large", plan("USD", "[{name: base, flat: {amount: '31'}}]"));
    let invoice =
        compute(&of_segments(halves(first, second.clone()), second, &[("m", "9")])).expect("an invoice");
    // 15 of 31 days.
    assert_eq!(invoice.lines[1].description, "n: maximum of 1.45");
    assert_eq!(invoice.lines[1].amount, "-7.55".parse().expect("a decimal"));
}
