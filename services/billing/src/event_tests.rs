//! Events as they are sent, and what becomes of them.

use proptest::prelude::*;

use super::*;

/// 2026-03-15T12:00:00Z
const NOW_US: i64 = 1_773_576_000_000_000;

fn origin() -> EventOrigin {
    EventOrigin {
        tenant: TenantId::new("acme").expect("a name"),
        project: ProjectId::new("web").expect("a name"),
        default_source: "backend-key".into(),
    }
}

fn read(json: &str) -> Result<UsageEvent, Rejection> {
    EventDraft::from_json(json)?.validate(&origin(), &EventLimits::default(), NOW_US)
}

/// The canonical JSON, or "code field".
fn check(json: &str) -> String {
    match read(json) {
        Ok(event) => event.canonical_json(),
        Err(rejection) => format!("{} {}", rejection.code.as_str(), rejection.field).trim_end().to_owned(),
    }
}

#[test]
fn the_canonical_form_has_its_fields_in_order() {
    assert_eq!(
        check(
            r#"{"type":"api-calls","id":"e-17","properties":{"z":1,"a":{"y":0.10,"b":[true,null]}},"time":"2026-03-15T13:59:59.5+02:00"}"#
        ),
        r#"{"tenant":"acme","project":"web","source":"backend-key","id":"e-17","type":"api-calls","customer":"","time":1773575999500000,"received_at":1773576000000000,"properties":{"a":{"b":[true,null],"y":0.1},"z":1}}"#
    );
    assert_eq!(
        check(r#"{"type":"t","id":"1","source":"s","customer":"cust-3","time":1773575999500001}"#),
        r#"{"tenant":"acme","project":"web","source":"s","id":"1","type":"t","customer":"cust-3","time":1773575999500001,"received_at":1773576000000000,"properties":{}}"#
    );
}

#[test]
fn each_bad_event_has_its_code_and_field() {
    let long = "x".repeat(257);
    for (json, expected) in [
        ("", "malformed_event"),
        ("[]", "malformed_event"),
        (r#"{"type":"t","id":"1""#, "malformed_event"),
        (r#"{"type":"t","id":"1","tenant":"other"}"#, "malformed_event"),
        (r#"{"type":"t","id":7}"#, "malformed_event"),
        (r#"{"id":"1"}"#, "malformed_event"),
        (r#"{"type":"t","id":"1","properties":{"n":NaN}}"#, "malformed_event"),
        (r#"{"type":"t"}"#, "missing_id id"),
        (r#"{"type":"t","id":""}"#, "invalid_id id"),
        (r#"{"type":"t","id":"a\u0000b"}"#, "invalid_id id"),
        (&format!(r#"{{"type":"t","id":"{long}"}}"#), "invalid_id id"),
        (r#"{"type":"t","id":"1","source":"a#b"}"#, "invalid_source source"),
        (r#"{"type":"t","id":"1","source":""}"#, "invalid_source source"),
        (r#"{"type":"","id":"1"}"#, "invalid_type type"),
        (r#"{"type":"a\nb","id":"1"}"#, "invalid_type type"),
        (&format!(r#"{{"type":"t","id":"1","customer":"{long}"}}"#), "invalid_customer customer"),
        (r#"{"type":"t","id":"1","time":"yesterday"}"#, "invalid_time time"),
        (r#"{"type":"t","id":"1","time":"2026-03-15T12:00:00"}"#, "invalid_time time"),
        (r#"{"type":"t","id":"1","time":1.5}"#, "invalid_time time"),
        (r#"{"type":"t","id":"1","time":"2021-03-15T12:00:00Z"}"#, "too_old time"),
        (r#"{"type":"t","id":"1","time":1773576000}"#, "too_old time"),
        (r#"{"type":"t","id":"1","time":-9223372036854775808}"#, "too_old time"),
        (r#"{"type":"t","id":"1","time":"2026-03-17T12:00:00Z"}"#, "too_far_ahead time"),
        (r#"{"type":"t","id":"1","properties":[1]}"#, "invalid_property properties"),
        (r#"{"type":"t","id":"1","properties":{"":1}}"#, "invalid_property properties"),
        (r#"{"type":"t","id":"1","properties":{"n":1e400}}"#, "number_out_of_range properties.n"),
    ] {
        assert_eq!(check(json), expected, "{json}");
    }
}

#[test]
fn an_id_may_hold_the_separator_because_the_source_may_not() {
    assert_eq!(read(r#"{"type":"t","id":"a#b"}"#).expect("valid").id, "a#b");
}

#[test]
fn seconds_for_microseconds_are_answered_with_the_unit() {
    let rejection = read(r#"{"type":"t","id":"1","time":1773576000}"#).expect_err("1970");
    assert!(rejection.detail.contains("microseconds"), "{}", rejection.detail);
    let rejection =
        read(r#"{"type":"t","id":"1","time":"2021-03-15T12:00:00Z"}"#).expect_err("five years old");
    assert_eq!(rejection.detail, "is more than 366 days old");
}

#[test]
fn the_time_bounds_are_inclusive() {
    let limits = EventLimits::default();
    for (time_us, accepted) in [
        (NOW_US - limits.age_max_us, true),
        (NOW_US - limits.age_max_us - 1, false),
        (NOW_US + limits.ahead_max_us, true),
        (NOW_US + limits.ahead_max_us + 1, false),
    ] {
        assert_eq!(
            read(&format!(r#"{{"type":"t","id":"1","time":{time_us}}}"#)).is_ok(),
            accepted,
            "{time_us}"
        );
    }
}

#[test]
fn size_and_number_of_properties_are_bounded() {
    let many = |count: usize| {
        let properties: Vec<String> = (0..count).map(|index| format!("\"p{index}\":1")).collect();
        check(&format!(r#"{{"type":"t","id":"1","properties":{{{}}}}}"#, properties.join(",")))
    };
    assert_eq!(many(257), "too_many_properties properties");
    assert!(many(256).starts_with('{'));
    let sized = |bytes: usize| {
        check(&format!(r#"{{"type":"t","id":"1","properties":{{"p":"{}"}}}}"#, "x".repeat(bytes)))
    };
    assert_eq!(sized(64 * 1024), "too_large");
    assert!(sized(63 * 1024).starts_with('{'));
}

#[test]
fn hashes_are_fixed_for_ever() {
    let event = read(r#"{"type":"api-calls","id":"e-17","time":1773575999500000,"properties":{"n":1}}"#)
        .expect("valid");
    // Kafka keys and conflict detection outlive any release: these values must never change.
    assert_eq!(event.kafka_key(), "00500e7ff6d49351e6838cd221a932a9");
    assert_eq!(format!("{:016x}", event.payload_hash()), "6da24153f4a28808");
    assert_eq!(event.identity_hash(), identity_hash("acme", "backend-key", "e-17"));
}

#[test]
fn a_redelivery_has_the_same_hashes_and_a_changed_one_does_not() {
    let first = read(r#"{"type":"t","id":"1","time":1773575999500000,"properties":{"n":1}}"#).expect("valid");
    let again = UsageEvent { received_at_us: NOW_US + 5_000_000, ..first.clone() };
    assert_eq!((first.identity_hash(), first.payload_hash()), (again.identity_hash(), again.payload_hash()));
    let another_time = UsageEvent { time_us: first.time_us + 1, ..first.clone() };
    assert_eq!(first.identity_hash(), another_time.identity_hash());
    assert_ne!(first.payload_hash(), another_time.payload_hash());
    let another_payload =
        read(r#"{"type":"t","id":"1","time":1773575999500000,"properties":{"n":2}}"#).expect("valid");
    assert_ne!(first.payload_hash(), another_payload.payload_hash());
}

#[test]
fn every_code_has_its_own_name_as_serialized() {
    for code in RejectionCode::ALL {
        assert_eq!(serde_json::to_string(&code).expect("serializes"), format!("\"{}\"", code.as_str()));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[0-9]{1,25}\\.[0-9]{1,25}(e-?[0-9]{1,2})?".prop_map(|text| Value::String(format!("number:{text}"))),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_is_read_back_to_the_byte(properties in prop::collection::btree_map("[a-z]{1,6}", any_json(), 0..6)) {
        // Decimal numbers of any length are written as bare JSON numbers.
        let text = serde_json::to_string(&properties).expect("serializes");
        let text = with_bare_numbers(&text);
        let Ok(event) = read(&format!(r#"{{"type":"t","id":"1","properties":{text}}}"#)) else { return Ok(()) };
        let json = event.canonical_json();
        let again = UsageEvent::from_canonical_json(json.as_bytes()).expect("canonical JSON");
        prop_assert_eq!(again.canonical_json(), json);
        prop_assert_eq!(again.payload_hash(), event.payload_hash());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = read(&text);
    }
}

/// Turns `"number:12.5"` into `12.5`.
fn with_bare_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\"number:") {
        out.push_str(&rest[..at]);
        let number = &rest[at + 8..];
        let end = number.find('"').expect("a closing quote");
        out.push_str(
            number[..end]
                .trim_start_matches('0')
                .strip_prefix('.')
                .map_or_else(
                    || number[..end].trim_start_matches('0').to_owned(),
                    |fraction| format!("0.{fraction}"),
                )
                .as_str(),
        );
        rest = &number[end + 1..];
    }
    out + rest
}
