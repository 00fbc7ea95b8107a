//! What an event contributes, as a table; the merge laws on random splits.

use proptest::prelude::*;

use super::*;
use crate::{
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
        Ok(Some(Contribution { quantity, unique_value: None, group: _ })) => quantity.to_string(),
        Ok(Some(Contribution { quantity, unique_value: Some(value), group: _ })) => {
            format!("{quantity} of {value}")
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
        assert_eq!(
            check(&meter("aggregation: Max, valueProperty: bytes"), properties),
            expected,
            "{properties}"
        );
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

#[test]
fn different_aggregations_do_not_merge() {
    let merged = Partial::empty(AggregationKind::Sum).merge(Partial::empty(AggregationKind::Max));
    assert_eq!(merged, Err(MergeError::DifferentAggregations));
}

#[test]
fn a_sum_that_does_not_fit_is_an_error() {
    let most = Partial::Sum(Quantity(Decimal::MAX));
    assert_eq!(most.clone().merge(most), Err(MergeError::Overflow(Overflow)));
}

const KINDS: [AggregationKind; 4] =
    [AggregationKind::Count, AggregationKind::Sum, AggregationKind::Max, AggregationKind::UniqueCount];

fn contributions(kind: AggregationKind, values: &[u32]) -> Vec<Contribution> {
    values
        .iter()
        .map(|value| Contribution {
            quantity: match kind {
                AggregationKind::Count | AggregationKind::UniqueCount => Quantity::ONE,
                AggregationKind::Sum | AggregationKind::Max => Quantity::from_integer(i64::from(*value)),
            },
            unique_value: (kind == AggregationKind::UniqueCount).then(|| value.to_string()),
            group: BTreeMap::new(),
        })
        .collect()
}

fn fold(kind: AggregationKind, parts: impl IntoIterator<Item = Partial>) -> Partial {
    parts.into_iter().try_fold(Partial::empty(kind), Partial::merge).expect("small numbers")
}

/// What the aggregation means, computed without partial results.
fn from_scratch(kind: AggregationKind, values: &[u32]) -> u64 {
    match kind {
        AggregationKind::Count => values.len() as u64,
        AggregationKind::Sum => values.iter().map(|value| u64::from(*value)).sum(),
        AggregationKind::Max => values.iter().copied().max().map_or(0, u64::from),
        AggregationKind::UniqueCount => values.iter().collect::<BTreeSet<_>>().len() as u64,
    }
}

proptest! {
    #[test]
    fn splitting_and_shuffling_usage_changes_nothing(
        (values, shuffled) in prop::collection::vec(0u32..50, 0..40).prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
        cuts in prop::collection::vec(0usize..40, 0..6),
    ) {
        for kind in KINDS {
            let shuffled = contributions(kind, &shuffled);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (shuffled.len() + 1)).chain([0, shuffled.len()]).collect();
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|cut| fold(kind, shuffled[cut[0]..cut[1]].iter().map(|c| Partial::of(kind, c))));
            let merged = fold(kind, parts);
            let whole = fold(kind, contributions(kind, &values).iter().map(|c| Partial::of(kind, c)));
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(merged.finish().expect("fits").to_string(), from_scratch(kind, &values).to_string());
        }
    }
}
