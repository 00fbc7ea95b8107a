//! Invoices as a table: plan in YAML and usage in strings, lines and totals out as strings.

use proptest::prelude::*;

use super::*;

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

fn input(plan_spec: PlanSpec, usage: &[(&str, &str)]) -> InvoiceInput {
    let usage = usage.iter().map(|(meter, quantity)| {
        let quantity: Quantity = quantity.parse().expect("a decimal");
        (
            MeterName::new(*meter).expect("a name"),
            MeterUsage { quantity, events: 7, meter_version: 3, unit: Some("call".into()) },
        )
    });
    InvoiceInput {
        engine_version: ENGINE_VERSION,
        catalogue_version: 41,
        tenant: TenantId::new("acme").expect("a name"),
        customer: CustomerKey::tenant_itself(),
        subscription: SubscriptionId::new("sub_19").expect("an id"),
        plan: PlanName::new("starter").expect("a name"),
        plan_version: 2,
        plan_spec,
        period: period(MARCH),
        first_period: FirstPeriod::No,
        next_period: Some(period(APRIL)),
        stored_before: "2026-04-01T01:00:07Z".parse().expect("a time"),
        usage: usage.collect(),
    }
}

/// Lines as "price role quantity amount start", then the total.
fn check(input: &InvoiceInput) -> Vec<String> {
    let invoice = compute(input).expect("an invoice");
    let shown = |line: &Line| {
        let role = match line.role {
            LineRole::Flat => "flat",
            LineRole::Usage => "usage",
            LineRole::Minimum => "minimum",
            LineRole::Maximum => "maximum",
        };
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
    assert_eq!(error.to_string(), "price calls counts meter \"api-calls\", whose usage was not given");
}

#[test]
fn each_period_pays_its_advance_charge_exactly_once() {
    let advance = plan("EUR", "[{name: base, flat: {amount: '9', billed: InAdvance}}]");
    let usual = input(advance.clone(), &[]);
    assert_eq!(check(&usual), ["base flat 1 9.00 2026-04", "total 9.00 EUR"]);
    let first = InvoiceInput { first_period: FirstPeriod::Yes, ..input(advance.clone(), &[]) };
    assert_eq!(check(&first), ["base flat 1 9.00 2026-03", "base flat 1 9.00 2026-04", "total 18.00 EUR"]);
    let last = InvoiceInput { next_period: None, ..input(advance.clone(), &[]) };
    assert_eq!(check(&last), ["total 0.00 EUR"]);
    let only = InvoiceInput { first_period: FirstPeriod::Yes, next_period: None, ..input(advance, &[]) };
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
    assert_eq!(compute(&input(plan("USD", prices), &[])), Err(InvoiceError::Sum(Overflow)));
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
