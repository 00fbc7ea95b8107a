//! Specs as YAML: what is accepted, and what each mistake is called.

use super::*;

fn json(yaml: &str) -> serde_json::Value {
    serde_saphyr::from_str(yaml).expect("YAML")
}

/// "ok", or "field code: detail".
fn shown<T>(result: Result<T, SpecError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(SpecError { field, code, detail }) => format!("{field} {code:?}: {detail}"),
    }
}

fn plan(prices: &str) -> String {
    shown(PlanSpec::from_json(&json(&format!(
        "{{regionRef: {{name: eu}}, currency: USD, interval: {{unit: Month}}, prices: {prices}}}"
    ))))
}

fn price(model: &str) -> String {
    plan(&format!("[{{name: p, meterRef: {{name: m}}, {model}}}]"))
}

#[test]
fn the_sample_plan_is_accepted_and_written_back_as_it_was() {
    let yaml = "{regionRef: {name: eu}, currency: USD, interval: {unit: Month, count: 1}, prices: [
        {name: base, flat: {amount: '100', billed: InArrears}},
        {name: calls, meterRef: {name: api-calls}, included: '10000', perUnit: {amount: '0.01'}}]}";
    let plan = PlanSpec::from_json(&json(yaml)).expect("valid");
    assert_eq!(serde_json::to_value(&plan).expect("serializes"), json(yaml));
    assert_eq!(plan.meter_names(), ["api-calls"]);
}

#[test]
fn every_model_is_accepted() {
    assert_eq!(plan("[{name: a, flat: {amount: '0', billed: InAdvance}}]"), "ok");
    for model in [
        "perUnit: {amount: '0.000000000000000001'}, minimum: '5'",
        "package: {size: '0.5', amount: '1', rounding: Down, freeUnits: '3'}",
        "graduated: {tiers: [{unitAmount: '1'}]}",
        "graduated: {tiers: [{upTo: '10', flatAmount: '1'}, {upTo: '10.5', unitAmount: '1'}, {unitAmount: '0'}], flatAtZero: false}",
        "volume: {tiers: [{upTo: '10', unitAmount: '50', flatAmount: '0'}, {unitAmount: '30'}]}",
    ] {
        assert_eq!(price(model), "ok", "{model}");
    }
}

#[test]
fn each_mistake_in_a_plan_names_its_field() {
    assert_eq!(plan("[]"), "prices OutOfRange: a plan has 1 to 100 prices");
    assert_eq!(
        plan("[{name: p, flat: {amount: '1'}}, {name: p, flat: {amount: '1'}}]"),
        "prices[1].name InvalidName: \"p\" is in the list twice"
    );
    assert_eq!(
        plan("[{name: 'P 1', flat: {amount: '1'}}]"),
        "prices[0].name InvalidName: may hold lower-case letters, digits, '-' and '.' only"
    );
    assert_eq!(
        plan("[{name: p}]"),
        "prices[0] Missing: give one of flat, perUnit, package, graduated, volume"
    );
    assert_eq!(
        plan("[{name: p, perUnit: {amount: '1'}}]"),
        "prices[0].meterRef PriceWithoutMeter: perUnit counts usage: name the meter"
    );
    assert_eq!(
        plan("[{name: p, meterRef: {name: m}, flat: {amount: '1'}}]"),
        "prices[0].meterRef Conflicting: a flat price counts no usage: leave meterRef out"
    );
    assert_eq!(
        plan("[{name: p, minimum: '1', flat: {amount: '1'}}]"),
        "prices[0].minimum Conflicting: a flat price is its own minimum: leave minimum out"
    );
    assert_eq!(
        plan("[{name: p, included: '1', flat: {amount: '1'}}]"),
        "prices[0].included Conflicting: a flat price counts no usage: leave included out"
    );
}

#[test]
fn each_mistake_in_a_price_names_its_field() {
    for (model, expected) in [
        (
            "perUnit: {amount: '1'}, volume: {tiers: [{unitAmount: '1'}]}",
            "prices[0] Conflicting: has both perUnit and volume: a price has exactly one model",
        ),
        (
            "perUnit: {amount: '-1'}",
            "prices[0].perUnit.amount OutOfRange: must not be negative: a discount is not a price",
        ),
        ("included: '-1', perUnit: {amount: '1'}", "prices[0].included OutOfRange: must not be negative"),
        (
            "perUnit: {amount: '1'}, minimum: '-1'",
            "prices[0].minimum OutOfRange: must not be negative: a discount is not a price",
        ),
        (
            "perUnit: {amount: '1'}, minimum: '2', maximum: '1.99'",
            "prices[0].maximum OutOfRange: must not be below the minimum of 2",
        ),
        (
            "perUnit: {amount: '1'}, maximum: '-0.01'",
            "prices[0].maximum OutOfRange: must not be negative: a discount is not a price",
        ),
        ("package: {size: '0', amount: '1'}", "prices[0].package.size OutOfRange: must be above zero"),
        ("package: {size: '-5', amount: '1'}", "prices[0].package.size OutOfRange: must be above zero"),
        (
            "package: {size: '5', amount: '1', freeUnits: '-1'}",
            "prices[0].package.freeUnits OutOfRange: must not be negative",
        ),
        ("graduated: {tiers: []}", "prices[0].graduated.tiers Missing: give at least one tier"),
        (
            "graduated: {tiers: [{upTo: '10', unitAmount: '1'}]}",
            "prices[0].graduated.tiers[0].upTo TierOrder: the last tier must be open: leave its upTo out, or usage beyond it would have no price",
        ),
        (
            "volume: {tiers: [{unitAmount: '1'}, {unitAmount: '1'}]}",
            "prices[0].volume.tiers[0].upTo TierOrder: only the last tier may be open",
        ),
        (
            "volume: {tiers: [{upTo: '10', unitAmount: '1'}, {upTo: '10', unitAmount: '1'}, {unitAmount: '1'}]}",
            "prices[0].volume.tiers[1].upTo TierOrder: must be above 10, where the tier before ends",
        ),
        (
            "volume: {tiers: [{upTo: '0', unitAmount: '1'}, {unitAmount: '1'}]}",
            "prices[0].volume.tiers[0].upTo TierOrder: must be above 0, where the tier before ends",
        ),
        (
            "volume: {tiers: [{upTo: '9'}, {unitAmount: '1'}]}",
            "prices[0].volume.tiers[0] Missing: give unitAmount, flatAmount or both",
        ),
        (
            "volume: {tiers: [{flatAmount: '-1'}]}",
            "prices[0].volume.tiers[0].flatAmount OutOfRange: must not be negative: a discount is not a price",
        ),
    ] {
        assert_eq!(price(model), expected, "{model}");
    }
}

#[test]
fn what_has_not_the_shape_names_the_path_too() {
    for (model, field, detail) in [
        ("perUnit: {amount: 1}", "prices[0].perUnit.amount", "expected a decimal number as a string"),
        ("perUnit: {amount: '1e3'}", "prices[0].perUnit.amount", "\"1e3\" is not a decimal number"),
        ("perUnit: {amount: 'NaN'}", "prices[0].perUnit.amount", "\"NaN\" is not a decimal number"),
        (
            "perUnit: {amount: '0.0000000000000000001'}",
            "prices[0].perUnit.amount",
            "more than 18 digits after",
        ),
        (
            "included: '100000000000000000000', perUnit: {amount: '1'}",
            "prices[0].included",
            "more than 20 digits before",
        ),
        ("perUnit: {amount: '1', rate: '2'}", "prices[0].perUnit.rate", "unknown field `rate`"),
        ("matrix: {}", "prices[0].matrix", "unknown field `matrix`"),
        ("perUnit: {}", "prices[0].perUnit", "missing field `amount`"),
    ] {
        let given = json(&format!(
            "{{regionRef: {{name: eu}}, currency: USD, interval: {{unit: Month}}, prices: [{{name: p, meterRef: {{name: m}}, {model}}}]}}"
        ));
        let error = PlanSpec::from_json(&given).expect_err(model);
        assert_eq!(
            (error.field.as_str(), error.code),
            (field, SpecErrorCode::Malformed),
            "{model}: {}",
            error.detail
        );
        assert!(error.detail.contains(detail), "{model}: {}", error.detail);
    }
}

#[test]
fn currency_and_interval_are_checked() {
    let with = |currency: &str, interval: &str| {
        shown(PlanSpec::from_json(&json(&format!(
            "{{regionRef: {{name: eu}}, currency: {currency}, interval: {interval}, prices: [{{name: p, flat: {{amount: '1'}}}}]}}"
        ))))
    };
    assert!(
        with("BTC", "{unit: Month}").starts_with("currency Malformed: \"BTC\" is not a currency of ISO 4217")
    );
    assert_eq!(with("JPY", "{unit: Year, count: 10}"), "ok");
    assert_eq!(with("JPY", "{unit: Year, count: 11}"), "interval.count OutOfRange: must be 1 to 10 for Year");
    assert_eq!(with("JPY", "{unit: Day, count: 0}"), "interval.count OutOfRange: must be 1 to 3650 for Day");
    assert!(with("JPY", "{unit: Fortnight}").starts_with("interval.unit Malformed: unknown variant"));
}

#[test]
fn a_meter_says_what_it_counts() {
    let meter = |rest: &str| {
        shown(MeterSpec::from_json(&json(&format!("{{regionRef: {{name: eu}}, eventType: call, {rest}}}"))))
    };
    assert_eq!(meter("aggregation: Count"), "ok");
    assert_eq!(
        meter(
            "aggregation: UniqueCount, valueProperty: user, groupBy: [a, b], unit: user, description: People"
        ),
        "ok"
    );
    assert_eq!(
        meter("aggregation: Sum"),
        "valueProperty Missing: name the property that Sum reads its value from"
    );
    assert_eq!(
        meter("aggregation: Count, valueProperty: size"),
        "valueProperty Conflicting: Count reads no value: leave it out, or use Sum"
    );
    assert_eq!(
        meter("aggregation: Count, groupBy: [a, a]"),
        "groupBy[1] Conflicting: \"a\" is in the list twice"
    );
    assert_eq!(meter("aggregation: Count, groupBy: ['']"), "groupBy[0] InvalidName: must not be empty");
    assert_eq!(
        meter("aggregation: Count, filters: [{property: a, operator: Eq, values: [one, two]}]"),
        "filters[0].values Conflicting: Eq and NotEq take one value; use In or NotIn for several"
    );
    assert_eq!(
        meter("aggregation: Count, filters: [{property: a, operator: In, values: []}]"),
        "filters[0].values Missing: give at least one value"
    );
    assert!(meter("aggregation: Average").starts_with("aggregation Malformed: unknown variant `Average`"));
}

#[test]
fn only_texts_for_people_may_change_on_a_meter() {
    let base = "{regionRef: {name: eu}, eventType: call, aggregation: Sum, valueProperty: size, unit: GB}";
    let first = MeterSpec::from_json(&json(base)).expect("valid");
    for (from, to, same) in [
        ("unit: GB", "unit: GiB, description: traffic", true),
        ("eventType: call", "eventType: other", false),
        ("aggregation: Sum", "aggregation: Max", false),
        ("valueProperty: size", "valueProperty: length", false),
        ("unit: GB", "groupBy: [a]", false),
        ("unit: GB", "filters: [{property: a, operator: In, values: [x]}]", false),
        ("unit: GB", "tenantRef: {name: acme}", false),
        ("name: eu", "name: us", false),
    ] {
        let other = MeterSpec::from_json(&json(&base.replace(from, to))).expect("valid");
        assert_eq!(first.counts_the_same_as(&other), same, "{to}");
    }
}

#[test]
fn a_tenant_names_a_real_zone_and_real_projects() {
    let tenant =
        |rest: &str| shown(TenantSpec::from_json(&json(&format!("{{regionRef: {{name: eu}}{rest}}}"))));
    assert_eq!(tenant(""), "ok");
    assert_eq!(
        tenant(
            ", planRef: {name: p}, billingStart: '2026-03-01T00:00:00Z', timeZone: Asia/Kolkata, projects: [web], apiKeys: [{name: k, project: web, secretRef: {name: s}}]"
        ),
        "ok"
    );
    assert_eq!(
        tenant(", timeZone: Mars/Olympus"),
        "timeZone UnknownTimeZone: \"Mars/Olympus\" is not a time zone of the IANA database, such as \"Europe/Berlin\""
    );
    assert_eq!(
        tenant(", apiKeys: [{name: k, project: web, secretRef: {name: s}}]"),
        "apiKeys[0].project Missing: \"web\" is not in projects"
    );
    assert_eq!(
        tenant(", apiKeys: [{name: k, secretRef: {name: s}}, {name: k, secretRef: {name: t}}]"),
        "apiKeys[1].name InvalidName: \"k\" is in the list twice"
    );
    assert!(tenant(", projects: [Web]").starts_with("projects[0] InvalidName"));
    assert!(tenant(", billingStart: tomorrow").starts_with("billingStart Malformed"));
}
