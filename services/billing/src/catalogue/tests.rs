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
        "volume: {tiers: [{upTo: '10', block: {size: '5', amount: '2'}, flatAmount: '1'}, {unitAmount: '30'}]}",
        "percentage: {rate: '1.3', fixedPerTransaction: '2', freeTransactions: 3, freeAmount: '250', minPerTransaction: '1', maxPerTransaction: '1'}",
        "graduatedPercentage: {tiers: [{upTo: '10', rate: '1', flatAmount: '200'}, {rate: '0'}]}",
        "dynamic: {multiplier: '1.2'}",
        "dynamic: {}, included: '5'",
        "matrix: {dimensions: [region, size], default: '0.3', rows: [{values: [eu, s], unitAmount: '0.2'}]}",
        "unit: {divideBy: '1000', rounding: HalfUp}, perUnit: {amount: '1'}",
        "pricingUnit: {name: credits, rate: '0.01'}, perUnit: {amount: '1'}",
        "bucket: {size: Hour, groupBy: [region]}, perUnit: {amount: '1'}, discount: {percent: '100'}",
        "perUnit: {amount: '1'}, discount: {units: '10'}, commitment: {amount: '1000', overageFactor: '1.5', trueUp: true, per: Period}",
        "bucket: {size: Hour}, perUnit: {amount: '1'}, commitment: {amount: '5', per: Bucket, timeOfDay: {from: '22:00', to: '06:00'}}",
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
        "prices[0] Missing: give one of flat, perUnit, package, graduated, volume, percentage, graduatedPercentage, dynamic, matrix"
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
        plan("[{name: p, discount: {units: '1'}, flat: {amount: '1'}}]"),
        "prices[0].discount.units Conflicting: a flat price counts no units: give percent"
    );
    assert_eq!(
        plan("[{name: p, commitment: {amount: '1'}, flat: {amount: '1'}}]"),
        "prices[0].commitment Conflicting: a flat price is its own commitment: leave commitment out"
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
            "prices[0].volume.tiers[0] Missing: give unitAmount or block, flatAmount, or both",
        ),
        (
            "volume: {tiers: [{flatAmount: '-1'}]}",
            "prices[0].volume.tiers[0].flatAmount OutOfRange: must not be negative: a discount is not a price",
        ),
        (
            "volume: {tiers: [{unitAmount: '1', block: {size: '2', amount: '1'}}]}",
            "prices[0].volume.tiers[0] Conflicting: units are sold singly by unitAmount or in blocks by block: give one of them",
        ),
        (
            "graduated: {tiers: [{block: {size: '0', amount: '1'}}]}",
            "prices[0].graduated.tiers[0].block.size OutOfRange: must be above zero",
        ),
        (
            "graduated: {tiers: [{block: {size: '1', amount: '-1'}}]}",
            "prices[0].graduated.tiers[0].block.amount OutOfRange: must not be negative: a discount is not a price",
        ),
        (
            "percentage: {rate: '-1'}",
            "prices[0].percentage.rate OutOfRange: must not be negative: a discount is not a price",
        ),
        (
            "percentage: {rate: '1', minPerTransaction: '2', maxPerTransaction: '1'}",
            "prices[0].percentage.maxPerTransaction OutOfRange: must not be below minPerTransaction, 2",
        ),
        (
            "percentage: {rate: '1', freeAmount: '-2'}",
            "prices[0].percentage.freeAmount OutOfRange: must not be negative",
        ),
        (
            "included: '1', percentage: {rate: '1'}",
            "prices[0].included Conflicting: percentage has freeTransactions and freeAmount of its own: leave included out",
        ),
        (
            "discount: {units: '1'}, percentage: {rate: '1'}",
            "prices[0].discount.units Conflicting: percentage has freeTransactions and freeAmount of its own: leave discount.units out",
        ),
        (
            "bucket: {size: Day}, percentage: {rate: '1'}",
            "prices[0].bucket Conflicting: percentage prices each transaction by itself: leave bucket out",
        ),
        (
            "graduatedPercentage: {tiers: [{upTo: '1', rate: '1'}]}",
            "prices[0].graduatedPercentage.tiers[0].upTo TierOrder: the last tier must be open: leave its upTo out, or usage beyond it would have no price",
        ),
        (
            "graduatedPercentage: {tiers: [{rate: '-1'}]}",
            "prices[0].graduatedPercentage.tiers[0].rate OutOfRange: must not be negative: a discount is not a price",
        ),
        ("dynamic: {multiplier: '0'}", "prices[0].dynamic.multiplier OutOfRange: must be above zero"),
        (
            "matrix: {dimensions: [], default: '1', rows: []}",
            "prices[0].matrix.dimensions OutOfRange: give 1 to 4 properties",
        ),
        (
            "matrix: {dimensions: [a, a], default: '1', rows: []}",
            "prices[0].matrix.dimensions[1] Conflicting: \"a\" is in the list twice",
        ),
        (
            "matrix: {dimensions: [a, b], default: '1', rows: [{values: [x], unitAmount: '1'}]}",
            "prices[0].matrix.rows[0].values Missing: give one value for each of a, b",
        ),
        (
            "matrix: {dimensions: [a], default: '1', rows: [{values: [x], unitAmount: '1'}, {values: [x], unitAmount: '2'}]}",
            "prices[0].matrix.rows[1].values Conflicting: x has a row already",
        ),
        (
            "matrix: {dimensions: [a], default: '-1', rows: []}",
            "prices[0].matrix.default OutOfRange: must not be negative: a discount is not a price",
        ),
        (
            "bucket: {size: Day}, matrix: {dimensions: [a], default: '1', rows: []}",
            "prices[0].bucket Conflicting: matrix prices by dimension: leave bucket out",
        ),
        (
            "unit: {divideBy: '0'}, perUnit: {amount: '1'}",
            "prices[0].unit.divideBy OutOfRange: must be above zero",
        ),
        (
            "pricingUnit: {name: credits, rate: '0'}, perUnit: {amount: '1'}",
            "prices[0].pricingUnit.rate OutOfRange: must be above zero",
        ),
        (
            "pricingUnit: {name: '', rate: '1'}, perUnit: {amount: '1'}",
            "prices[0].pricingUnit.name InvalidName: must have 1 to 63 characters",
        ),
        ("discount: {}, perUnit: {amount: '1'}", "prices[0].discount Missing: give units or percent"),
        (
            "discount: {units: '1', percent: '1'}, perUnit: {amount: '1'}",
            "prices[0].discount Conflicting: give units or percent, not both",
        ),
        (
            "discount: {percent: '100.1'}, perUnit: {amount: '1'}",
            "prices[0].discount.percent OutOfRange: must be at most 100",
        ),
        (
            "commitment: {amount: '0'}, perUnit: {amount: '1'}",
            "prices[0].commitment.amount OutOfRange: must be above zero",
        ),
        (
            "commitment: {amount: '1', overageFactor: '0.9'}, perUnit: {amount: '1'}",
            "prices[0].commitment.overageFactor OutOfRange: must be at least 1: less would pay for using more",
        ),
        (
            "commitment: {amount: '1', per: Bucket}, perUnit: {amount: '1'}",
            "prices[0].commitment.per Missing: is held against each bucket, and the price has no bucket",
        ),
        (
            "commitment: {amount: '1', timeOfDay: {from: '09:00', to: '17:00'}}, bucket: {size: Day}, perUnit: {amount: '1'}",
            "prices[0].commitment.timeOfDay Missing: needs a bucket of Minute or Hour, to tell the times of a day apart",
        ),
        (
            "commitment: {amount: '1', timeOfDay: {from: '9:00', to: '17:00'}}, bucket: {size: Hour}, perUnit: {amount: '1'}",
            "prices[0].commitment.timeOfDay.from Malformed: \"9:00\" is no time of day: write HH:MM, such as \"09:00\"",
        ),
        (
            "commitment: {amount: '1', timeOfDay: {from: '09:00', to: '24:00'}}, bucket: {size: Hour}, perUnit: {amount: '1'}",
            "prices[0].commitment.timeOfDay.to Malformed: \"24:00\" is no time of day: write HH:MM, such as \"09:00\"",
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
        ("ladder: {}", "prices[0].ladder", "unknown field `ladder`"),
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
    assert!(meter("aggregation: Median").starts_with("aggregation Malformed: unknown variant `Median`"));
}

fn valued_meter(rest: &str) -> String {
    shown(MeterSpec::from_json(&json(&format!(
        "{{regionRef: {{name: eu}}, eventType: call, valueProperty: size, aggregation: {rest}}}"
    ))))
}

#[test]
fn what_an_aggregation_takes_is_checked() {
    for rest in [
        "Min",
        "Average",
        "Latest",
        "WeightedSum",
        "Percentile, percentile: '50'",
        "Percentile, percentile: '99.9'",
        "Percentile, percentile: '100'",
        "Percentile, percentile: '0.000000000000000001'",
        "Sum, multiplier: '0.001'",
        "Sum, multiplier: '1024', reset: Never",
        "Sum, reset: EachPeriod",
        "Latest, reset: Never",
        "WeightedSum, reset: Never",
    ] {
        assert_eq!(valued_meter(rest), "ok", "{rest}");
    }
    for (rest, expected) in [
        ("Percentile", "percentile Missing: say which one, such as \"95\" or \"99.9\""),
        ("Percentile, percentile: '0'", "percentile OutOfRange: must be above 0 and at most 100"),
        ("Percentile, percentile: '-1'", "percentile OutOfRange: must be above 0 and at most 100"),
        (
            "Percentile, percentile: '100.000000000000000001'",
            "percentile OutOfRange: must be above 0 and at most 100",
        ),
        (
            "Percentile, percentile: 99.9",
            "percentile Malformed: invalid type: floating point `99.9`, expected a decimal number as a string, such as \"0.01\"",
        ),
        ("Sum, percentile: '50'", "percentile Conflicting: Sum has none: leave it out, or use Percentile"),
        ("Sum, multiplier: '0'", "multiplier OutOfRange: must be above 0"),
        ("Sum, multiplier: '-2'", "multiplier OutOfRange: must be above 0"),
        ("Max, multiplier: '2'", "multiplier Conflicting: Max has none: leave it out, or use Sum"),
        (
            "Average, reset: Never",
            "reset Conflicting: Average has no level that a period could leave to the next: use EachPeriod, or Sum, Latest or WeightedSum",
        ),
        ("Sum, reset: Yearly", "reset Malformed: unknown variant `Yearly`, expected `EachPeriod` or `Never`"),
    ] {
        assert_eq!(valued_meter(rest), expected, "{rest}");
    }
    let count = "{regionRef: {name: eu}, eventType: call, aggregation: Count, multiplier: '2'}";
    assert_eq!(
        shown(MeterSpec::from_json(&json(count))),
        "multiplier Conflicting: Count has none: leave it out, or use Sum"
    );
}

#[test]
fn only_a_kind_with_a_level_can_be_never_reset() {
    for kind in AggregationKind::ALL {
        let more = match kind {
            AggregationKind::Count => "",
            AggregationKind::Percentile => ", valueProperty: size, percentile: '50'",
            _ => ", valueProperty: size",
        };
        let spec = format!(
            "{{regionRef: {{name: eu}}, eventType: call, aggregation: {}, reset: Never{more}}}",
            kind.as_str()
        );
        assert_eq!(MeterSpec::from_json(&json(&spec)).is_ok(), kind.has_a_level(), "{kind:?}");
    }
}

#[test]
fn each_mistake_in_a_filter_names_its_field() {
    let filters = |filters: &str| valued_meter(&format!("Sum, filters: [{filters}]"));
    let condition = "{property: a, operator: Gt, values: ['-0.5']}";
    let nested = |inner: &str| format!("{{anyOf: [{condition}, {{allOf: [{inner}]}}]}}");
    for accepted in [
        condition.to_owned(),
        nested(condition),
        "{property: a, operator: Prefix, values: [x, z]}".to_owned(),
        vec!["{anyOf: [{property: a, operator: Lte, values: ['7']}]}"; 16].join(", "),
    ] {
        assert_eq!(filters(&accepted), "ok", "{accepted}");
    }
    let no_form = "Malformed: a filter is either property, operator and values, or anyOf, or allOf";
    for (given, expected) in [
        (
            "{property: a, operator: Gt, values: [many]}",
            "filters[0].values[0] OutOfRange: \"many\" is not a decimal number (digits, an optional '-' in front and one '.')",
        ),
        (
            "{property: a, operator: Lte, values: ['1e3']}",
            "filters[0].values[0] OutOfRange: \"1e3\" is not a decimal number (digits, an optional '-' in front and one '.')",
        ),
        (
            "{property: a, operator: Gte, values: ['0.0000000000000000001']}",
            "filters[0].values[0] OutOfRange: \"0.0000000000000000001\" has more than 18 digits after the decimal point",
        ),
        (
            "{property: a, operator: Lt, values: ['1', '2']}",
            "filters[0].values Conflicting: Lt takes one value, a number",
        ),
        ("{property: a, operator: Gt, values: []}", "filters[0].values Missing: give at least one value"),
        (
            "{property: a, operator: Prefix, values: [x, '']}",
            "filters[0].values[1] OutOfRange: must not be empty: every text begins with it",
        ),
        ("{anyOf: []}", "filters[0].anyOf OutOfRange: a group has 1 to 8 filters"),
        (
            &format!("{{allOf: [{}]}}", [condition; 9].join(", ")),
            "filters[0].allOf OutOfRange: a group has 1 to 8 filters",
        ),
        (
            &nested("{property: '', operator: Eq, values: [x]}"),
            "filters[0].anyOf[1].allOf[0].property InvalidName: must not be empty",
        ),
        (
            &nested(&format!("{{anyOf: [{condition}]}}")),
            "filters[0].anyOf[1].allOf[0].anyOf OutOfRange: filters nest at most 3 deep: give conditions here",
        ),
        (&[condition; 17].join(", "), "filters OutOfRange: at most 16 filters are possible"),
    ] {
        assert_eq!(filters(given), expected, "{given}");
    }
    for (given, at) in [
        ("{}", "filters[0]"),
        ("{property: a, operator: Eq}", "filters[0]"),
        (
            "{property: a, operator: Eq, values: [x], anyOf: [{property: a, operator: Eq, values: [x]}]}",
            "filters[0]",
        ),
        ("{anyOf: [{}], allOf: [{}]}", "filters[0].anyOf[0]"),
        (
            "{anyOf: [{property: a, operator: Eq, values: [x]}], allOf: [{property: a, operator: Eq, values: [x]}]}",
            "filters[0]",
        ),
    ] {
        assert_eq!(filters(given), format!("{at} {no_form}"), "{given}");
    }
}

#[test]
fn filters_are_written_back_as_they_were() {
    let yaml = "{regionRef: {name: eu}, eventType: call, aggregation: Percentile, valueProperty: size, percentile: '99.9', filters: [
        {property: a, operator: In, values: [x, w]},
        {anyOf: [{property: size, operator: Gt, values: ['5']}, {allOf: [{property: b, operator: Prefix, values: [z]}]}]}]}";
    let meter = MeterSpec::from_json(&json(yaml)).expect("valid");
    assert_eq!(serde_json::to_value(&meter).expect("serializes"), json(yaml));
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
        ("unit: GB", "multiplier: '2'", false),
        ("unit: GB", "reset: Never", false),
        ("unit: GB", "reset: EachPeriod", true),
    ] {
        let other = MeterSpec::from_json(&json(&base.replace(from, to))).expect("valid");
        assert_eq!(first.counts_the_same_as(&other), same, "{to}");
    }
    let percentile = |which: &str| {
        let spec = base.replace("Sum", &format!("Percentile, percentile: '{which}'"));
        MeterSpec::from_json(&json(&spec)).expect("valid")
    };
    assert!(percentile("50").counts_the_same_as(&percentile("50.0")));
    assert!(!percentile("50").counts_the_same_as(&percentile("90")));
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

#[test]
fn a_time_of_day_runs_over_midnight_and_from_an_hour_to_itself_all_day() {
    let table = [
        ("09:00", "17:00", [false, true, true, false]),
        ("17:00", "09:00", [true, false, false, true]),
        ("09:00", "09:00", [true, true, true, true]),
    ];
    for (from, to, expected) in table {
        let window = TimeOfDaySpec { from: from.to_owned(), to: to.to_owned() };
        let minutes = [0, 9 * 60, 17 * 60 - 1, 17 * 60];
        assert_eq!(minutes.map(|minute| window.contains(minute).expect("times")), expected, "{from} to {to}");
    }
}

#[test]
fn a_percentage_looks_at_transactions_only_where_one_of_them_could_matter() {
    for (fields, expected) in [
        ("", false),
        (", fixedPerTransaction: '0', freeTransactions: 0", false),
        (", freeAmount: '5'", false),
        (", fixedPerTransaction: '0.1'", true),
        (", freeTransactions: 1", true),
        (", minPerTransaction: '0'", true),
        (", maxPerTransaction: '9'", true),
    ] {
        let percentage: PercentageSpec =
            serde_saphyr::from_str(&format!("{{rate: '1'{fields}}}")).expect("a percentage");
        assert_eq!(percentage.looks_at_transactions(), expected, "{fields}");
    }
}
