//! What terms look like, and the field and code of each mistake.

use super::*;

fn error(yaml: &str) -> (String, SpecErrorCode, String) {
    let spec: TermsSpec = serde_saphyr::from_str(yaml).expect("the shape of terms");
    let SpecError { field, code, detail } = spec.validate().expect_err(yaml);
    (field, code, detail)
}

/// Terms with these fields besides plan and start.
fn with(fields: &str) -> String {
    format!("{{planRef: {{name: basic}}, start: 2026-03-01T00:00:00Z, {fields}}}")
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec: TermsSpec =
        serde_saphyr::from_str("{planRef: {name: basic}, start: 2026-03-01T00:00:00Z}").expect("terms");
    let expected = TermsSpec {
        plan_ref: NameRef { name: "basic".to_owned() },
        start: "2026-03-01T00:00:00Z".parse().expect("a time"),
        end: None,
        time_zone: "UTC".to_owned(),
        anchor: BillingAnchor::Calendar,
        trial: None,
        quantities: vec![],
        add_ons: vec![],
        proration: Proration::BySecond,
        changes: vec![],
    };
    assert_eq!(spec, expected);
    spec.validate().expect("valid");
}

#[test]
fn every_field_comes_back_from_json() {
    let yaml = with(
        "end: 2027-03-01T00:00:00Z, timeZone: Asia/Kolkata, anchor: Anniversary, trial: {days: 7}, proration: ByDay,
         quantities: [{price: seats, quantity: '1.5'}], addOns: [{planRef: {name: support}, quantity: '2'}],
         changes: [{at: 2026-04-01T00:00:00Z, planRef: {name: pro}, quantities: [{price: seats, quantity: '0'}], addOns: [],
                    pause: true, when: NextPeriod}, {at: 2026-05-01T00:00:00Z, resume: true},
                   {at: 2026-06-01T00:00:00Z, cancel: AtPeriodEnd}]",
    );
    let spec: TermsSpec = serde_saphyr::from_str(&yaml).expect("terms");
    spec.validate().expect("valid");
    let json = serde_json::to_value(&spec).expect("serializes");
    assert_eq!(serde_json::from_value::<TermsSpec>(json).expect("the same shape"), spec);
}

#[test]
fn unknown_fields_are_refused() {
    for yaml in [
        with("plan: basic"),
        with("trial: {weeks: 2}"),
        with("changes: [{at: 2026-04-01T00:00:00Z, pauses: true}]"),
        with("quantities: [{name: seats, quantity: '1'}]"),
        with("proration: ByHour"),
    ] {
        assert!(serde_saphyr::from_str::<TermsSpec>(&yaml).is_err(), "{yaml}");
    }
}

#[test]
fn each_mistake_names_its_field_and_kind() {
    use SpecErrorCode::{Conflicting, InvalidName, Missing, OutOfRange, UnknownTimeZone};
    let change = |change: &str| with(&format!("changes: [{{at: 2026-04-01T00:00:00Z, {change}}}]"));
    for (yaml, field, code) in [
        ("{planRef: {name: Basic}, start: 2026-03-01T00:00:00Z}".to_owned(), "planRef.name", InvalidName),
        ("{planRef: {name: basic}, start: 2026-03-01T00:00:00.000000001Z}".to_owned(), "start", OutOfRange),
        (with("timeZone: Mars/Olympus"), "timeZone", UnknownTimeZone),
        (with("end: 2026-03-01T00:00:00Z"), "end", OutOfRange),
        (with("end: 2026-04-01T00:00:00.0000001Z"), "end", OutOfRange),
        (with("trial: {}"), "trial", Missing),
        (with("trial: {days: 7, end: 2026-04-01T00:00:00Z}"), "trial", Conflicting),
        (with("trial: {days: 0}"), "trial.days", OutOfRange),
        (with("trial: {days: 3651}"), "trial.days", OutOfRange),
        (with("trial: {end: 2026-03-01T00:00:00Z}"), "trial.end", OutOfRange),
        (with("trial: {end: 2026-04-01T00:00:00.0000001Z}"), "trial.end", OutOfRange),
        (
            "{planRef: {name: basic}, start: 9999-12-01T00:00:00Z, trial: {days: 3650}}".to_owned(),
            "trial.days",
            OutOfRange,
        ),
        (with("quantities: [{price: Seats, quantity: '1'}]"), "quantities[0].price", InvalidName),
        (with("quantities: [{price: seats, quantity: '-1'}]"), "quantities[0].quantity", OutOfRange),
        (
            with("quantities: [{price: seats, quantity: '1'}, {price: seats, quantity: '1'}]"),
            "quantities[1].price",
            InvalidName,
        ),
        (with("addOns: [{planRef: {name: ''}}]"), "addOns[0].planRef.name", InvalidName),
        (with("addOns: [{planRef: {name: a}, quantity: '-1'}]"), "addOns[0].quantity", OutOfRange),
        (with("addOns: [{planRef: {name: a}}, {planRef: {name: a}}]"), "addOns[1].planRef.name", InvalidName),
        (change("when: NextPeriod"), "changes[0]", Missing),
        (change("planRef: {name: Pro}"), "changes[0].planRef.name", InvalidName),
        (change("quantities: []"), "changes[0].quantities", Missing),
        (
            change("quantities: [{price: seats, quantity: '-1'}]"),
            "changes[0].quantities[0].quantity",
            OutOfRange,
        ),
        (change("addOns: [{planRef: {name: A}}]"), "changes[0].addOns[0].planRef.name", InvalidName),
        (change("pause: false"), "changes[0].pause", OutOfRange),
        (change("resume: false"), "changes[0].resume", OutOfRange),
        (change("pause: true, resume: true"), "changes[0].resume", Conflicting),
        (change("cancel: AtOnce, pause: true"), "changes[0].cancel", Conflicting),
        (change("cancel: AtOnce, when: NextPeriod"), "changes[0].when", Conflicting),
        (with("changes: [{at: 2026-02-28T23:59:59Z, pause: true}]"), "changes[0].at", OutOfRange),
        (with("changes: [{at: 2026-04-01T00:00:00.0000001Z, pause: true}]"), "changes[0].at", OutOfRange),
        (
            with("end: 2026-05-01T00:00:00Z, changes: [{at: 2026-05-01T00:00:00Z, pause: true}]"),
            "changes[0].at",
            OutOfRange,
        ),
        (
            with(
                "changes: [{at: 2026-05-01T00:00:00Z, pause: true}, {at: 2026-04-01T00:00:00Z, resume: true}]",
            ),
            "changes[1].at",
            OutOfRange,
        ),
        (
            with(
                "changes: [{at: 2026-05-01T00:00:00Z, cancel: AtPeriodEnd}, {at: 2026-05-01T00:00:00Z, pause: true}]",
            ),
            "changes[1]",
            Conflicting,
        ),
    ] {
        let (got_field, got_code, detail) = error(&yaml);
        assert_eq!((got_field.as_str(), got_code), (field, code), "{yaml}: {detail}");
    }
}

#[test]
fn lists_are_bounded() {
    let check = |field: &str, most: usize, item: fn(usize) -> String| {
        let validate = |count: usize| {
            let items: Vec<String> = (0..count).map(item).collect();
            let yaml = with(&format!("{field}: [{}]", items.join(", ")));
            serde_saphyr::from_str::<TermsSpec>(&yaml).expect("terms").validate()
        };
        validate(most).expect(field);
        let error = validate(most + 1).expect_err(field);
        assert_eq!((error.field.as_str(), error.code), (field, SpecErrorCode::OutOfRange));
    };
    check("changes", CHANGES_MAX, |_| "{at: 2026-04-01T00:00:00Z, addOns: []}".to_owned());
    check("quantities", QUANTITIES_MAX, |index| format!("{{price: a{index}, quantity: '1'}}"));
    check("addOns", ADD_ONS_MAX, |index| format!("{{planRef: {{name: a{index}}}}}"));
}
