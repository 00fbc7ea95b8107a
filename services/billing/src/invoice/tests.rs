//! Invoices as a table: plan in YAML and usage in strings, lines and totals out as strings.

mod bucket_promises;
mod cutoff;
mod given_back;
mod late;
mod on_the_way;
mod opening;
mod paid_by_credits;
mod settlement;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    catalogue::PlanSpec,
    decimal::Quantity,
    ids::MeterName,
    ids::{CustomerKey, PlanName, PriceName, SubscriptionId, TenantId},
    money::RoundingPoint,
    period::Period,
    price::{BucketUsage, TraceStep, Usage, UsageShape},
    subscription::{SegmentState, Share},
};

const MARCH: (&str, &str) = ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
const APRIL: (&str, &str) = ("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z");

fn period((start, end): (&str, &str)) -> Period {
    Period { start: start.parse().expect("a time"), end: end.parse().expect("a time") }
}

fn plan(currency: &str, prices: &str) -> PlanSpec {
    let yaml = format!(
        "{{regionRef: {{name: eu}}, currency: {currency}, interval: {{unit: Month}}, prices: {prices}}}"
    );
    serde_saphyr::from_str(&yaml).expect("a plan in YAML")
}

fn terms(name: &str, spec: PlanSpec) -> Terms {
    let plan =
        PlanTerms { name: PlanName::new(name).expect("a name"), version: 2, spec, quantity: Quantity::ONE };
    Terms { plan, add_ons: Vec::new(), quantities: BTreeMap::new() }
}

fn whole(terms: Terms, period: Period) -> BilledSegment {
    BilledSegment { period, scheduled: None, terms, share: Share::WHOLE, state: SegmentState::Active }
}

/// March of a subscription that goes on as it was.
fn input(plan_spec: PlanSpec, usage: &[(&str, &str)]) -> InvoiceInput {
    let terms = terms("starter", plan_spec);
    of_segments(vec![whole(terms.clone(), period(MARCH))], terms, usage)
}

fn of_segments(segments: Vec<BilledSegment>, next: Terms, usage: &[(&str, &str)]) -> InvoiceInput {
    let quantity =
        |meter: &MeterName| usage.iter().find(|(name, _)| *name == meter.as_str()).map(|(_, used)| *used);
    let told = |metered: Metered| {
        let quantity: Quantity = quantity(&metered.meter)?.parse().expect("a decimal");
        Some(PriceUsage {
            plan: metered.plan,
            price: metered.price,
            usage: match metered.shape {
                UsageShape::Buckets { .. } => Usage::Buckets(vec![BucketUsage {
                    start: metered.spans[0].start,
                    group: Vec::new(),
                    quantity,
                }]),
                _ => Usage::Total(quantity),
            },
            billed_before: None,
            discounted_before: None,
            events: 7,
            meter_version: 3,
            unit: Some("call".into()),
        })
    };
    let told: Vec<PriceUsage> = metered(&segments).expect("valid").into_iter().filter_map(told).collect();
    let plans_before = vec![segments[0].terms.plan.name.clone()];
    let charged_in_advance = charged(&segments[0].terms);
    InvoiceInput {
        engine_version: ENGINE_VERSION,
        catalogue_version: 41,
        tenant: TenantId::new("acme").expect("a name"),
        customer: CustomerKey::tenant_itself(),
        subscription: SubscriptionId::new("sub_19").expect("an id"),
        time_zone: "UTC".to_owned(),
        period: Period {
            start: segments[0].period.start,
            end: segments.last().expect("a segment").period.end,
        },
        kind: InvoiceKind::Period,
        segments,
        plans_before,
        charged_in_advance,
        capped_before: None,
        next: Some(NextTerms { period: period(APRIL), terms: next, share: Share::WHOLE }),
        stored_before: "2026-04-01T01:00:07Z".parse().expect("a time"),
        usage: told,
        late: Vec::new(),
        adjustments: Adjustments::default(),
    }
}

/// What the invoice before charged in advance, had nothing changed.
fn charged(terms: &Terms) -> Vec<AdvanceCharge> {
    let prices = terms.plan.spec.prices.iter().filter_map(|price| {
        let flat = price.flat.as_ref().filter(|flat| flat.billed == crate::catalogue::Billed::InAdvance)?;
        let price = PriceName::new(price.name.as_str()).expect("a name");
        let taken = terms.quantities.get(&price).copied().unwrap_or(Quantity::ONE);
        Some(AdvanceCharge {
            plan: terms.plan.name.clone(),
            amount: taken.times(flat.amount).expect("fits"),
            price,
            discounts: Vec::new(),
            credits: Vec::new(),
            at_start: false,
        })
    });
    prices.collect()
}

/// Lines as "price role quantity amount start", then the total.
fn check(input: &InvoiceInput) -> Vec<String> {
    let invoice = compute(input).expect("an invoice");
    let shown = |line: &Line| {
        let role = line.role.as_str();
        let month = line.period.start.to_string()[..7].to_owned();
        format!("{} {role} {} {} {month}", line.price, line.quantity, invoice.currency.format(line.amount))
    };
    let total = format!("total {} {}", invoice.currency.format(invoice.total), invoice.currency);
    invoice.lines.iter().map(shown).chain([total]).collect()
}

const STARTER: &str = "[{name: base, flat: {amount: '100'}},
    {name: calls, description: API calls, meterRef: {name: api-calls}, included: '10000', perUnit: {amount: '0.01'}}]";

#[test]
fn base_100_with_10_000_included_and_12_000_used_is_120() {
    let input = input(plan("USD", STARTER), &[("api-calls", "12000")]);
    assert_eq!(
        check(&input),
        ["base flat 1 100.00 2026-03", "calls usage 12000 20.00 2026-03", "total 120.00 USD"]
    );
    let invoice = compute(&input).expect("an invoice");
    assert_eq!(invoice.lines[1].description, "API calls: 12000 call, 10000 included");
    assert_eq!(invoice.lines[1].meter_version, Some(3));
}

#[test]
fn no_usage_still_shows_its_line() {
    let input = input(plan("USD", STARTER), &[("api-calls", "0")]);
    assert_eq!(
        check(&input),
        ["base flat 1 100.00 2026-03", "calls usage 0 0.00 2026-03", "total 100.00 USD"]
    );
}

#[test]
fn usage_that_was_not_looked_up_is_an_error_and_not_zero() {
    let error = compute(&input(plan("USD", STARTER), &[("other", "5")])).expect_err("no usage of api-calls");
    assert_eq!(
        error.to_string(),
        "price calls of plan starter counts meter \"api-calls\", whose usage was not given"
    );
}

#[test]
fn each_period_pays_its_advance_charge_exactly_once() {
    let advance = plan("EUR", "[{name: base, flat: {amount: '9', billed: InAdvance}}]");
    let usual = input(advance.clone(), &[]);
    assert_eq!(check(&usual), ["base flat 1 9.00 2026-04", "total 9.00 EUR"]);
    let first = InvoiceInput { charged_in_advance: Vec::new(), ..input(advance.clone(), &[]) };
    assert_eq!(check(&first), ["base flat 1 9.00 2026-03", "base flat 1 9.00 2026-04", "total 18.00 EUR"]);
    let last = InvoiceInput { next: None, ..input(advance.clone(), &[]) };
    assert_eq!(check(&last), ["total 0.00 EUR"]);
    let only = InvoiceInput { charged_in_advance: Vec::new(), next: None, ..input(advance, &[]) };
    assert_eq!(check(&only), ["base flat 1 9.00 2026-03", "total 9.00 EUR"]);
}

#[test]
fn lines_are_rounded_once_to_the_currency_and_add_up_as_shown() {
    let prices = "[{name: a, meterRef: {name: m}, perUnit: {amount: '0.005'}}, {name: b, meterRef: {name: m}, perUnit: {amount: '0.005'}}]";
    let usage = [("m", "1")];
    assert_eq!(
        check(&input(plan("USD", prices), &usage)),
        ["a usage 1 0.01 2026-03", "b usage 1 0.01 2026-03", "total 0.02 USD"]
    );
    assert_eq!(
        check(&input(plan("JPY", prices), &usage)),
        ["a usage 1 0 2026-03", "b usage 1 0 2026-03", "total 0 JPY"]
    );
    assert_eq!(
        check(&input(plan("KWD", prices), &usage)),
        ["a usage 1 0.005 2026-03", "b usage 1 0.005 2026-03", "total 0.010 KWD"]
    );
}

#[test]
fn what_is_missing_to_a_minimum_is_a_line_of_its_own() {
    let prices =
        "[{name: calls, meterRef: {name: m}, included: '10', perUnit: {amount: '0.333'}, minimum: '5'}]";
    for (usage, expected) in [
        ("0", vec!["calls usage 0 0.00 2026-03", "calls minimum 1 5.00 2026-03", "total 5.00 USD"]),
        ("20", vec!["calls usage 20 3.33 2026-03", "calls minimum 1 1.67 2026-03", "total 5.00 USD"]),
        ("25.015", vec!["calls usage 25.015 5.00 2026-03", "total 5.00 USD"]),
        ("30", vec!["calls usage 30 6.66 2026-03", "total 6.66 USD"]),
    ] {
        assert_eq!(check(&input(plan("USD", prices), &[("m", usage)])), expected, "{usage}");
    }
    let invoice = compute(&input(plan("USD", prices), &[("m", "0")])).expect("an invoice");
    assert_eq!(invoice.lines[1].description, "calls: minimum of 5.00");
}

#[test]
fn what_is_beyond_a_maximum_is_taken_off_by_a_line_of_its_own() {
    let prices =
        "[{name: calls, meterRef: {name: m}, perUnit: {amount: '0.333'}, minimum: '1', maximum: '5.005'}]";
    for (usage, expected) in [
        ("2", vec!["calls usage 2 0.67 2026-03", "calls minimum 1 0.33 2026-03", "total 1.00 USD"]),
        ("15", vec!["calls usage 15 5.00 2026-03", "total 5.00 USD"]),
        // The maximum is rounded as the line is: 5.01.
        ("15.045", vec!["calls usage 15.045 5.01 2026-03", "total 5.01 USD"]),
        ("100", vec!["calls usage 100 33.30 2026-03", "calls maximum 1 -28.29 2026-03", "total 5.01 USD"]),
    ] {
        assert_eq!(check(&input(plan("USD", prices), &[("m", usage)])), expected, "{usage}");
    }
    let free = "[{name: calls, meterRef: {name: m}, perUnit: {amount: '1'}, maximum: '0'}]";
    assert_eq!(
        check(&input(plan("JPY", free), &[("m", "7")])),
        ["calls usage 7 7 2026-03", "calls maximum 1 -7 2026-03", "total 0 JPY"]
    );
    let invoice = compute(&input(plan("USD", prices), &[("m", "100")])).expect("an invoice");
    assert_eq!(invoice.lines[1].description, "calls: maximum of 5.01");
}

#[test]
fn a_sum_that_does_not_fit_is_an_error() {
    let prices = "[{name: a, flat: {amount: '99999999999999999999'}}, {name: b, flat: {amount: '1'}}]";
    assert_eq!(compute(&input(plan("USD", prices), &[])), Err(InvoiceError::Sum(crate::decimal::Overflow)));
}

#[test]
fn negative_usage_is_an_error() {
    let error = compute(&input(plan("USD", STARTER), &[("api-calls", "-1")])).expect_err("negative");
    assert_eq!(error.to_string(), "price calls: usage is negative: -1");
}

#[test]
fn another_engine_s_invoice_is_not_recomputed() {
    let input = InvoiceInput {
        engine_version: ENGINE_VERSION + 1,
        ..input(plan("USD", STARTER), &[("api-calls", "1")])
    };
    assert_eq!(compute(&input), Err(InvoiceError::EngineVersion(ENGINE_VERSION + 1)));
}

#[test]
fn a_stored_computation_recomputes_to_the_byte_and_shows_a_changed_one() {
    let computation =
        Computation::of(input(plan("USD", STARTER), &[("api-calls", "12000")])).expect("an invoice");
    let text = computation.canonical_json();
    assert_eq!(Computation::verify(&text).expect("the same bytes"), computation);
    insta::assert_snapshot!("computation_of_the_sample", text);

    let cheaper = text.replace("\"total\":\"120\"", "\"total\":\"12\"");
    assert_ne!(cheaper, text);
    assert!(matches!(Computation::verify(&cheaper), Err(RecomputeError::Differs { .. })));
    assert!(matches!(Computation::verify("{}"), Err(RecomputeError::Unreadable(_))));
}

prop_compose! {
    fn any_plan()(
        amounts in prop::collection::vec((0u64..10_000_000_000_000, 0usize..4, 0u64..50_000), 1..8),
        currency in prop::sample::select(vec!["USD", "JPY", "KWD", "CLF"]),
    ) -> PlanSpec {
        let prices: Vec<String> = amounts.iter().enumerate().map(|(index, (units, model, included))| {
            // Twelve decimals, as prices have.
            let amount = format!("{}.{:012}", units / 1_000_000_000_000, units % 1_000_000_000_000);
            let model = match model {
                0 => return format!("{{name: p{index}, flat: {{amount: '{amount}'}}}}"),
                1 => format!("perUnit: {{amount: '{amount}'}}"),
                2 => format!("package: {{size: '7', amount: '{amount}'}}"),
                _ => format!("graduated: {{tiers: [{{upTo: '100', unitAmount: '{amount}'}}, {{unitAmount: '0.1', flatAmount: '3'}}]}}"),
            };
            format!("{{name: p{index}, meterRef: {{name: m}}, included: '{included}', {model}}}")
        }).collect();
        plan(currency, &format!("[{}]", prices.join(", ")))
    }
}

proptest! {
    #[test]
    fn lines_sum_to_the_total_in_whole_minor_units(plan in any_plan(), usage in 0i64..1_000_000_000) {
        let input = input(plan, &[("m", &usage.to_string())]);
        let invoice = compute(&input).expect("an invoice");
        let sum = invoice.lines.iter().try_fold(Amount::ZERO, |sum, line| sum.checked_add(line.amount)).expect("fits");
        prop_assert_eq!(sum, invoice.subtotal);
        prop_assert_eq!(sum.checked_add(invoice.tax).expect("fits"), invoice.total);
        for line in &invoice.lines {
            let minor = invoice.currency.round(line.amount, RoundingPoint::InvoiceLine).expect("fits");
            prop_assert_eq!(minor, line.amount);
        }
    }

    #[test]
    fn more_usage_never_costs_less_under_a_monotone_price(plan in any_plan(), usage in 0i64..1_000_000, more in 0i64..1_000_000) {
        let less = compute(&input(plan.clone(), &[("m", &usage.to_string())])).expect("an invoice");
        let more = compute(&input(plan, &[("m", &(usage + more).to_string())])).expect("an invoice");
        prop_assert!(more.total >= less.total);
    }

    #[test]
    fn any_computation_recomputes_to_the_byte(plan in any_plan(), usage in 0i64..1_000_000_000) {
        let text = Computation::of(input(plan, &[("m", &usage.to_string())])).expect("an invoice").canonical_json();
        prop_assert!(Computation::verify(&text).is_ok());
    }
}

/// March in two parts: 15 days of 31, then 16.
fn halves(first: Terms, second: Terms) -> Vec<BilledSegment> {
    let middle: jiff::Timestamp = "2026-03-16T00:00:00Z".parse().expect("a time");
    let march = period(MARCH);
    let part = |numerator| Share::new(numerator, 31).expect("a share");
    vec![
        BilledSegment {
            period: Period { start: march.start, end: middle },
            scheduled: Some(march),
            terms: first,
            share: part(15),
            state: SegmentState::Active,
        },
        BilledSegment {
            period: Period { start: middle, end: march.end },
            scheduled: Some(march),
            terms: second,
            share: part(16),
            state: SegmentState::Active,
        },
    ]
}

fn seats(mut terms: Terms, price: &str, quantity: &str) -> Terms {
    terms.quantities.insert(PriceName::new(price).expect("a name"), quantity.parse().expect("a decimal"));
    terms
}

#[test]
fn an_upgrade_credits_the_unused_part_and_charges_the_new_one() {
    let small = terms("small", plan("USD", "[{name: base, flat: {amount: '31', billed: InAdvance}}]"));
    let large = terms("large", plan("USD", "[{name: base, flat: {amount: '62', billed: InAdvance}}]"));
    let input = of_segments(halves(small, large.clone()), large, &[]);
    assert_eq!(
        check(&input),
        [
            "base proration 1 -16.00 2026-03",
            "base proration 1 32.00 2026-03",
            "base flat 1 62.00 2026-04",
            "total 78.00 USD"
        ]
    );
    let lines = compute(&input).expect("an invoice").lines;
    assert_eq!(lines[0].description, "base: unused time");
}

#[test]
fn a_change_of_seats_charges_the_difference_and_begins_no_tier_anew() {
    let prices = "[{name: seats, flat: {amount: '31', billed: InAdvance}},
        {name: calls, meterRef: {name: m}, included: '10', perUnit: {amount: '1'}}]";
    let three = seats(terms("team", plan("USD", prices)), "seats", "3");
    let five = seats(terms("team", plan("USD", prices)), "seats", "5");
    let input = of_segments(halves(three, five.clone()), five, &[("m", "15")]);
    assert_eq!(
        check(&input),
        [
            "seats proration 1 32.00 2026-03",
            "calls usage 15 5.00 2026-03",
            "seats flat 5 155.00 2026-04",
            "total 192.00 USD"
        ]
    );
    assert_eq!(metered(&input.segments).expect("valid")[0].spans, [period(MARCH)]);
}

#[test]
fn usage_before_and_after_an_upgrade_is_priced_by_what_held() {
    let small = terms("small", plan("USD", "[{name: calls, meterRef: {name: m}, perUnit: {amount: '2'}}]"));
    let large = terms("large", plan("USD", "[{name: calls, meterRef: {name: m}, perUnit: {amount: '1'}}]"));
    let segments = halves(small, large.clone());
    let spans: Vec<_> =
        metered(&segments).expect("valid").into_iter().map(|metered| metered.spans[0].start).collect();
    assert_eq!(spans, [segments[0].period.start, segments[1].period.start]);
    let input = of_segments(segments, large, &[("m", "7")]);
    assert_eq!(
        check(&input),
        ["calls usage 7 14.00 2026-03", "calls usage 7 7.00 2026-03", "total 21.00 USD"]
    );
}

#[test]
fn a_subscription_that_ends_early_gets_back_what_it_paid_in_advance() {
    let prices =
        "[{name: base, flat: {amount: '31', billed: InAdvance}}, {name: care, flat: {amount: '3.10'}}]";
    let terms = terms("small", plan("USD", prices));
    let mut segments = halves(terms.clone(), terms.clone());
    segments.pop();
    let input = InvoiceInput { next: None, ..of_segments(segments, terms, &[]) };
    assert_eq!(
        check(&input),
        ["base proration 1 -16.00 2026-03", "care proration 1 1.50 2026-03", "total -14.50 USD"]
    );
}

#[test]
fn what_was_charged_for_a_plan_that_did_not_hold_is_given_back() {
    let small = terms("small", plan("USD", "[{name: base, flat: {amount: '31', billed: InAdvance}}]"));
    let large = terms("large", plan("USD", "[{name: base, flat: {amount: '62', billed: InAdvance}}]"));
    let mut input = input(large.plan.spec.clone(), &[]);
    input.charged_in_advance = charged(&small);
    assert_eq!(
        check(&input),
        [
            "base flat 1 62.00 2026-03",
            "base proration 1 -31.00 2026-03",
            "base flat 1 62.00 2026-04",
            "total 93.00 USD"
        ]
    );
}

#[test]
fn paused_time_costs_nothing_and_counts_nothing() {
    let prices =
        "[{name: base, flat: {amount: '31'}}, {name: calls, meterRef: {name: m}, perUnit: {amount: '1'}}]";
    let terms = terms("small", plan("USD", prices));
    let mut segments = halves(terms.clone(), terms.clone());
    segments[0].state = SegmentState::Paused;
    let spans = metered(&segments).expect("valid")[0].spans.clone();
    assert_eq!(spans, [segments[1].period]);
    let input = of_segments(segments, terms, &[("m", "4")]);
    assert_eq!(
        check(&input),
        ["base proration 1 16.00 2026-03", "calls usage 4 4.00 2026-03", "total 20.00 USD"]
    );
}

#[test]
fn a_set_up_fee_is_charged_once_and_whole() {
    let prices = "[{name: set-up, flat: {amount: '50', billed: OneTime}}]";
    let plan = plan("USD", prices);
    let first = InvoiceInput { plans_before: Vec::new(), ..input(plan.clone(), &[]) };
    assert_eq!(check(&first), ["set-up flat 1 50.00 2026-03", "total 50.00 USD"]);
    assert_eq!(check(&input(plan.clone(), &[])), ["total 0.00 USD"]);
    let other = terms("free", self::plan("USD", "[{name: base, flat: {amount: '0'}}]"));
    let upgraded = of_segments(halves(other, terms("starter", plan.clone())), terms("starter", plan), &[]);
    assert_eq!(
        check(&upgraded),
        ["base proration 1 0.00 2026-03", "set-up flat 1 50.00 2026-03", "total 50.00 USD"]
    );
}

#[test]
fn an_add_on_brings_its_prices_as_often_as_it_was_taken() {
    let mut terms = terms("starter", plan("USD", "[{name: base, flat: {amount: '10'}}]"));
    let support = plan(
        "USD",
        "[{name: support, flat: {amount: '7'}}, {name: set-up, flat: {amount: '1', billed: OneTime}}]",
    );
    terms.add_ons.push(PlanTerms {
        name: PlanName::new("support").expect("a name"),
        version: 1,
        spec: support,
        quantity: "2".parse().expect("a decimal"),
    });
    let input = of_segments(vec![whole(terms.clone(), period(MARCH))], terms, &[]);
    assert_eq!(
        check(&input),
        [
            "base flat 1 10.00 2026-03",
            "support flat 2 14.00 2026-03",
            "set-up flat 2 2.00 2026-03",
            "total 26.00 USD"
        ]
    );
}

#[test]
fn a_price_takes_its_percentage_off_after_its_minimum_and_maximum() {
    let prices = "[{name: calls, meterRef: {name: m}, perUnit: {amount: '1'}, minimum: '10', maximum: '50', discount: {percent: '20'}}]";
    for (usage, expected) in [
        (
            "4",
            vec![
                "calls usage 4 4.00 2026-03",
                "calls discount 1 -0.80 2026-03",
                "calls minimum 1 6.00 2026-03",
                "calls discount 1 -1.20 2026-03",
                "total 8.00 USD",
            ],
        ),
        ("30", vec!["calls usage 30 30.00 2026-03", "calls discount 1 -6.00 2026-03", "total 24.00 USD"]),
        (
            "70",
            vec![
                "calls usage 70 70.00 2026-03",
                "calls maximum 1 -20.00 2026-03",
                "calls discount 1 -10.00 2026-03",
                "total 40.00 USD",
            ],
        ),
    ] {
        assert_eq!(check(&input(plan("USD", prices), &[("m", usage)])), expected, "{usage}");
    }
    let invoice = compute(&input(plan("USD", prices), &[("m", "70")])).expect("an invoice");
    assert_eq!((invoice.subtotal, invoice.discounts), ("50".parse().expect("d"), "10".parse().expect("d")));
    let flat = "[{name: base, flat: {amount: '9.99'}, discount: {percent: '50'}}]";
    assert_eq!(
        check(&input(plan("USD", flat), &[])),
        ["base flat 1 9.99 2026-03", "base discount 1 -5.00 2026-03", "total 4.99 USD"]
    );
}

#[test]
fn a_commitment_charges_what_is_missing_and_more_for_what_is_beyond() {
    let prices = |rest: &str| {
        plan(
            "USD",
            &format!(
                "[{{name: calls, meterRef: {{name: m}}, perUnit: {{amount: '1'}}, commitment: {{amount: '100', {rest}}}}}]"
            ),
        )
    };
    let both = "overageFactor: '1.5', trueUp: true";
    for (terms, usage, expected) in [
        (
            both,
            "60",
            vec!["calls usage 60 60.00 2026-03", "calls commitment 1 40.00 2026-03", "total 100.00 USD"],
        ),
        (both, "100", vec!["calls usage 100 100.00 2026-03", "total 100.00 USD"]),
        (
            both,
            "140",
            vec!["calls usage 140 140.00 2026-03", "calls overage 1 20.00 2026-03", "total 160.00 USD"],
        ),
        ("overageFactor: '1.5'", "60", vec!["calls usage 60 60.00 2026-03", "total 60.00 USD"]),
        ("trueUp: true", "140", vec!["calls usage 140 140.00 2026-03", "total 140.00 USD"]),
    ] {
        assert_eq!(check(&input(prices(terms), &[("m", usage)])), expected, "{terms} {usage}");
    }
}

#[test]
fn a_commitment_per_bucket_holds_for_empty_buckets_too() {
    let prices = "[{name: peak, meterRef: {name: m}, bucket: {size: Day}, perUnit: {amount: '2'},
        commitment: {amount: '1', trueUp: true, overageFactor: '2', per: Bucket}}]";
    // One bucket of 10: 20 charged, 19 beyond at the double price; 30 empty days of 1 each.
    assert_eq!(
        check(&input(plan("USD", prices), &[("m", "10")])),
        [
            "peak usage 10 20.00 2026-03",
            "peak commitment 1 30.00 2026-03",
            "peak overage 1 19.00 2026-03",
            "total 69.00 USD"
        ]
    );
}

#[test]
fn a_commitment_at_times_of_the_day_leaves_the_other_hours_alone() {
    let prices = "[{name: peak, meterRef: {name: m}, bucket: {size: Hour}, perUnit: {amount: '2'},
        commitment: {amount: '1', trueUp: true, per: Bucket, timeOfDay: {from: '09:00', to: '17:00'}}}]";
    // 31 days of 8 hours without usage; the usage is at midnight.
    assert_eq!(
        check(&input(plan("USD", prices), &[("m", "10")])),
        ["peak usage 10 20.00 2026-03", "peak commitment 1 248.00 2026-03", "total 268.00 USD"]
    );
}

#[test]
fn a_plan_costs_at_least_its_minimum_and_at_most_its_maximum() {
    let with = |bounds: &str| -> PlanSpec {
        let yaml = format!(
            "{{regionRef: {{name: eu}}, currency: USD, interval: {{unit: Month}}, {bounds}, prices: [
                {{name: base, flat: {{amount: '10', billed: InAdvance}}}}, {{name: calls, meterRef: {{name: m}}, perUnit: {{amount: '1'}}}}]}}"
        );
        serde_saphyr::from_str(&yaml).expect("a plan in YAML")
    };
    // The 10 of March were charged in advance and count; those of April do not.
    assert_eq!(
        check(&input(with("minimum: '50'"), &[("m", "5")])),
        [
            "calls usage 5 5.00 2026-03",
            "starter minimum 1 35.00 2026-03",
            "base flat 1 10.00 2026-04",
            "total 50.00 USD"
        ]
    );
    assert_eq!(
        check(&input(with("minimum: '1', maximum: '50'"), &[("m", "70")])),
        [
            "calls usage 70 70.00 2026-03",
            "starter maximum 1 -30.00 2026-03",
            "base flat 1 10.00 2026-04",
            "total 50.00 USD"
        ]
    );
}

#[test]
fn what_was_billed_before_in_the_period_is_not_billed_again() {
    let prices = "[{name: sms, meterRef: {name: m}, package: {size: '100', amount: '3'}, maximum: '20'}, {name: base, flat: {amount: '9'}}]";
    let mut last = input(plan("USD", prices), &[("m", "250")]);
    last.usage[0].billed_before = Some(Usage::Total("150".parse().expect("a decimal")));
    assert_eq!(check(&last), ["sms usage 100 3.00 2026-03", "base flat 1 9.00 2026-03", "total 12.00 USD"]);
    let progressive =
        InvoiceInput { kind: InvoiceKind::Progressive, ..input(plan("USD", prices), &[("m", "150")]) };
    assert_eq!(check(&progressive), ["sms usage 150 6.00 2026-03", "total 6.00 USD"]);
    last.usage[0].usage = Usage::Total("2000".parse().expect("a decimal"));
    assert_eq!(
        check(&last),
        [
            "sms usage 1850 54.00 2026-03",
            "sms maximum 1 -40.00 2026-03",
            "base flat 1 9.00 2026-03",
            "total 23.00 USD"
        ]
    );
}

#[test]
fn segments_that_leave_a_gap_are_refused() {
    let terms = terms("small", plan("USD", "[{name: base, flat: {amount: '31'}}]"));
    let mut segments = halves(terms.clone(), terms.clone());
    segments[1].period.start = "2026-03-17T00:00:00Z".parse().expect("a time");
    let error = compute(&of_segments(segments, terms, &[])).expect_err("a gap");
    assert_eq!(error.to_string(), "the segments do not tile the period: one begins at 2026-03-17T00:00:00Z");
}

proptest! {
    #[test]
    fn billing_on_the_way_changes_nothing_in_the_end(plan in any_plan(), first in 0i64..500_000, more in 0i64..500_000) {
        let total = compute(&input(plan.clone(), &[("m", &(first + more).to_string())])).expect("an invoice").total;
        let progressive = InvoiceInput { kind: InvoiceKind::Progressive, ..input(plan.clone(), &[("m", &first.to_string())]) };
        let mut rest = input(plan, &[("m", &(first + more).to_string())]);
        for usage in &mut rest.usage {
            usage.billed_before = Some(Usage::Total(Quantity::from_integer(first)));
        }
        let on_the_way = compute(&progressive).expect("an invoice").total;
        let rest = compute(&rest).expect("an invoice").total;
        prop_assert_eq!(on_the_way.checked_add(rest).expect("fits"), total);
    }

    #[test]
    fn a_change_that_changes_nothing_costs_nothing(amount in 0u64..1_000_000, split in 1u64..31, advance in any::<bool>()) {
        let billed = if advance { "InAdvance" } else { "InArrears" };
        let prices = format!("[{{name: base, flat: {{amount: '{amount}.37', billed: {billed}}}}}]");
        let terms = terms("small", plan("USD", &prices));
        let mut segments = halves(terms.clone(), terms.clone());
        segments[0].share = Share::new(split, 31).expect("a share");
        segments[1].share = Share::new(31 - split, 31).expect("a share");
        let changed = compute(&of_segments(segments, terms.clone(), &[])).expect("an invoice").total;
        let unchanged = compute(&input(terms.plan.spec.clone(), &[])).expect("an invoice").total;
        prop_assert_eq!(changed, unchanged);
    }
}
