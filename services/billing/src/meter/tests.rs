//! What an event contributes, as a table. What contributions come to is in partial_tests.rs.

use super::*;
use crate::{
    catalogue::MeterSpec,
    ids::{CustomerKey, ProjectId, TenantId},
    properties,
};

fn meter(yaml: &str) -> MeterSpec {
    let meter: MeterSpec =
        serde_saphyr::from_str(&format!("{{regionRef: {{name: eu}}, eventType: call, {yaml}}}"))
            .expect("a meter in YAML");
    meter.validate().expect("a valid meter");
    meter
}

fn event(properties: &str) -> UsageEvent {
    UsageEvent {
        tenant: TenantId::new("acme").expect("a name"),
        project: ProjectId::default_project(),
        source: "key".into(),
        id: "e-1".into(),
        event_type: "call".into(),
        customer: CustomerKey::tenant_itself(),
        time_us: 17,
        received_at_us: 19,
        properties: properties::from_json(properties).expect("properties"),
    }
}

/// What the event adds, or the reason's code.
fn check(meter: &MeterSpec, properties: &str) -> String {
    match quantity_of(meter, &event(properties)) {
        Ok(None) => "not counted".to_owned(),
        Ok(Some(Contribution { quantity, unique_value, group: _, time_us, source, id })) => {
            assert_eq!((time_us, source.as_str(), id.as_str()), (17, "key", "e-1"));
            unique_value.map_or(quantity.to_string(), |value| format!("{quantity} of {value}"))
        }
        Err(reason) => reason.code().to_owned(),
    }
}

#[test]
fn a_value_is_read_exactly_or_quarantined_with_a_reason() {
    let sum = meter("aggregation: Sum, valueProperty: bytes");
    for (properties, expected) in [
        ("{\"bytes\":0.1}", "0.1"),
        ("{\"bytes\":12}", "12"),
        ("{\"bytes\":\"12.50\"}", "12.5"),
        ("{\"bytes\":1e3}", "1000"),
        ("{\"bytes\":\"1e3\"}", "1000"),
        ("{\"bytes\":12345678901234567890.123456789012345678}", "12345678901234567890.123456789012345678"),
        ("{\"bytes\":0}", "0"),
        ("{\"bytes\":-0.0}", "0"),
        ("{}", "missing_property"),
        ("{\"bytes\":null}", "missing_property"),
        ("{\"bytes\":\"NaN\"}", "not_a_number"),
        ("{\"bytes\":\"\"}", "not_a_number"),
        ("{\"bytes\":\"12 GB\"}", "not_a_number"),
        ("{\"bytes\":true}", "not_a_number"),
        ("{\"bytes\":[1]}", "not_a_number"),
        ("{\"bytes\":-1}", "negative_value"),
        ("{\"bytes\":\"-0.000000000000000001\"}", "negative_value"),
        ("{\"bytes\":1e300}", "number_too_large"),
        ("{\"bytes\":\"1e400\"}", "number_too_large"),
        ("{\"bytes\":123456789012345678901}", "number_too_large"),
        ("{\"bytes\":1e-19}", "too_many_decimals"),
        ("{\"bytes\":1e-400}", "too_many_decimals"),
    ] {
        assert_eq!(check(&sum, properties), expected, "{properties}");
        for aggregation in [
            "Max",
            "Min",
            "Average",
            "Latest",
            "WeightedSum",
            "Latest, reset: Never",
            "Percentile, percentile: '50'",
        ] {
            let meter = meter(&format!("aggregation: {aggregation}, valueProperty: bytes"));
            assert_eq!(check(&meter, properties), expected, "{aggregation} {properties}");
        }
    }
}

#[test]
fn only_a_sum_that_is_never_reset_takes_decrements() {
    for (aggregation, expected) in [
        ("Sum, reset: Never", "-2.5"),
        ("Sum, reset: EachPeriod", "negative_value"),
        ("Latest, reset: Never", "negative_value"),
        ("WeightedSum, reset: Never", "negative_value"),
    ] {
        let meter = meter(&format!("aggregation: {aggregation}, valueProperty: seats"));
        assert_eq!(check(&meter, "{\"seats\":-2.5}"), expected, "{aggregation}");
    }
}

#[test]
fn count_looks_at_no_value() {
    for properties in ["{}", "{\"bytes\":\"NaN\"}"] {
        assert_eq!(check(&meter("aggregation: Count"), properties), "1");
    }
}

#[test]
fn distinct_values_are_told_apart_by_their_text() {
    let unique = meter("aggregation: UniqueCount, valueProperty: user");
    for (properties, expected) in [
        ("{\"user\":\"ann\"}", "1 of ann"),
        ("{\"user\":7}", "1 of 7"),
        ("{\"user\":7.0}", "1 of 7"),
        ("{\"user\":\"7\"}", "1 of 7"),
        ("{\"user\":false}", "1 of false"),
        ("{\"user\":\"\"}", "missing_property"),
        ("{}", "missing_property"),
        ("{\"user\":{\"id\":1}}", "not_a_scalar"),
        ("{\"user\":[]}", "not_a_scalar"),
    ] {
        assert_eq!(check(&unique, properties), expected, "{properties}");
    }
}

#[test]
fn only_events_of_the_type_that_pass_every_filter_count() {
    let filtered = meter(
        "aggregation: Count, filters: [{property: region, operator: In, values: [eu, us]}, {property: test, operator: NotEq, values: ['true']}]",
    );
    for (properties, expected) in [
        ("{\"region\":\"eu\"}", "1"),
        ("{\"region\":\"us\",\"test\":false}", "1"),
        ("{\"region\":\"us\",\"test\":true}", "not counted"),
        ("{\"region\":\"asia\"}", "not counted"),
        ("{}", "not counted"),
    ] {
        assert_eq!(check(&filtered, properties), expected, "{properties}");
    }
    for (operator, values, counted) in [
        ("Eq", "[200]", true),
        ("NotEq", "[200]", false),
        ("NotIn", "[404, 500]", true),
        ("NotIn", "[200, 500]", false),
    ] {
        let values = values.replace('[', "['").replace(']', "']").replace(", ", "', '");
        let meter = meter(&format!(
            "aggregation: Count, filters: [{{property: status, operator: {operator}, values: {values}}}]"
        ));
        assert_eq!(
            check(&meter, "{\"status\":200}"),
            if counted { "1" } else { "not counted" },
            "{operator} {values}"
        );
    }
    let other = UsageEvent { event_type: "other".into(), ..event("{}") };
    assert_eq!(quantity_of(&meter("aggregation: Count"), &other), Ok(None));
}

/// Whether an event of these properties holds the filters.
fn filtered(filters: &str, properties: &str) -> String {
    match check(&meter(&format!("aggregation: Count, filters: [{filters}]")), properties).as_str() {
        "1" => "yes".to_owned(),
        "not counted" => "no".to_owned(),
        reason => reason.to_owned(),
    }
}

#[test]
fn numbers_are_compared_as_numbers_and_prefixes_as_texts() {
    for (condition, below, equal, above) in [
        ("operator: Gt, values: ['10']", "no", "no", "yes"),
        ("operator: Gte, values: ['10']", "no", "yes", "yes"),
        ("operator: Lt, values: ['10']", "yes", "no", "no"),
        ("operator: Lte, values: ['10']", "yes", "yes", "no"),
    ] {
        let filter = format!("{{property: n, {condition}}}");
        for (found, expected) in [
            ("9", below),
            ("9.999999999999999999", below),
            ("\"9\"", below),
            ("-11", below),
            ("10", equal),
            ("10.0", equal),
            ("\"1e1\"", equal),
            ("10.000000000000000001", above),
            ("100", above),
        ] {
            let properties = format!("{{\"n\":{found}}}");
            assert_eq!(filtered(&filter, &properties), expected, "{condition} of {found}");
        }
        // A missing property is above nothing and below nothing; what is no number is undecided, never a silent no.
        for (properties, expected) in [
            ("{}", "no"),
            ("{\"n\":null}", "no"),
            ("{\"n\":\"many\"}", "not_a_number"),
            ("{\"n\":[11]}", "not_a_number"),
            ("{\"n\":1e30}", "number_too_large"),
            ("{\"n\":1e-30}", "too_many_decimals"),
        ] {
            assert_eq!(filtered(&filter, properties), expected, "{condition} of {properties}");
        }
    }
    let prefix = "{property: path, operator: Prefix, values: [/v1/, /v2/]}";
    for (properties, expected) in [
        ("{\"path\":\"/v1/events\"}", "yes"),
        ("{\"path\":\"/v2/\"}", "yes"),
        ("{\"path\":\"/v1\"}", "no"),
        ("{\"path\":\"x/v1/\"}", "no"),
        ("{\"path\":\"/V1/\"}", "no"),
        ("{}", "no"),
    ] {
        assert_eq!(filtered(prefix, properties), expected, "{properties}");
    }
    assert_eq!(filtered("{property: n, operator: Prefix, values: ['40']}", "{\"n\":404}"), "yes");
}

#[test]
fn groups_of_filters_nest() {
    let eu_or_large = "{anyOf: [
        {property: region, operator: Eq, values: [eu]},
        {allOf: [{property: n, operator: Gte, values: ['5']}, {property: n, operator: Lt, values: ['7']}]}]}";
    for (properties, expected) in [
        ("{\"region\":\"eu\",\"n\":1}", "yes"),
        ("{\"region\":\"us\",\"n\":1}", "no"),
        ("{\"region\":\"us\",\"n\":5}", "yes"),
        ("{\"region\":\"us\",\"n\":7}", "no"),
        ("{}", "no"),
    ] {
        assert_eq!(filtered(eu_or_large, properties), expected, "{properties}");
        let both = format!("{eu_or_large}, {{property: off, operator: NotEq, values: ['true']}}");
        assert_eq!(filtered(&both, properties), expected, "{properties}");
        let off = properties.replace('{', "{\"off\":true,").replace(",}", "}");
        assert_eq!(filtered(&both, &off), "no", "{off}");
    }
}

#[test]
fn an_undecided_condition_matters_only_where_the_others_leave_the_answer_open_in_any_order() {
    let (yes, no, open) = (
        "{property: a, operator: Eq, values: [x]}",
        "{property: a, operator: Eq, values: [y]}",
        "{property: n, operator: Gt, values: ['1']}",
    );
    for (group, members, expected) in [
        ("anyOf", [yes, open], "yes"),
        ("anyOf", [no, open], "not_a_number"),
        ("allOf", [yes, open], "not_a_number"),
        ("allOf", [no, open], "no"),
    ] {
        let [one, other] = members;
        for order in [[one, other], [other, one]] {
            let filter = format!("{{{group}: [{}]}}", order.join(", "));
            assert_eq!(filtered(&filter, "{\"a\":\"x\",\"n\":\"many\"}"), expected, "{filter}");
        }
    }
    assert_eq!(filtered(&format!("{open}, {no}"), "{\"n\":\"many\"}"), "no");
}

#[test]
fn a_filtered_out_event_is_not_quarantined_for_its_value() {
    let filtered = meter(
        "aggregation: Sum, valueProperty: n, filters: [{property: kind, operator: Eq, values: [paid]}]",
    );
    assert_eq!(check(&filtered, "{\"kind\":\"free\"}"), "not counted");
    assert_eq!(check(&filtered, "{\"kind\":\"paid\"}"), "missing_property");
}

#[test]
fn groups_hold_the_properties_that_are_there_as_text() {
    let grouped = meter("aggregation: Count, groupBy: [region, tier, n]");
    let contribution = quantity_of(&grouped, &event("{\"tier\":\"gold\",\"n\":1.0,\"x\":9}"))
        .expect("usable")
        .expect("counted");
    assert_eq!(contribution.group_json(&grouped), "{\"n\":\"1\",\"tier\":\"gold\"}");
    let plain = meter("aggregation: Count");
    let contribution = quantity_of(&plain, &event("{}")).expect("usable").expect("counted");
    assert_eq!(contribution.group_json(&plain), "");
}

#[test]
fn the_reason_shows_the_value_but_not_all_of_a_long_one() {
    let reason = quantity_of(
        &meter("aggregation: Sum, valueProperty: n"),
        &event(&format!("{{\"n\":\"{}\"}}", "x".repeat(500))),
    )
    .expect_err("text");
    let text = reason.to_string();
    assert!(
        text.starts_with("property \"n\" is \"xxx") && text.ends_with("…, not a number") && text.len() < 150,
        "{text}"
    );
}
