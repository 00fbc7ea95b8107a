//! Tables: what is sent, and what becomes of it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn native(body: &str) -> Result<Decoded, Refusal> {
    decode(Dialect::Native, &HeaderMap::new(), body.as_bytes(), 5)
}

fn one(dialect: Dialect, body: &str) -> Result<Draft, EventRefusal> {
    let mut decoded = decode(dialect, &HeaderMap::new(), body.as_bytes(), 5).expect("one event");
    assert_eq!((decoded.shape, decoded.drafts.len()), (Shape::Single, 1));
    decoded.drafts.remove(0)
}

fn properties(draft: &Draft) -> Value {
    json!(draft.event.properties)
}

#[allow(clippy::type_complexity, reason = "a table of cases")]
#[test]
fn headers_and_route_pick_the_dialect() {
    let cases: &[(Route, &[(&'static str, &str)], Result<Dialect, &str>)] = &[
        (Route::Events, &[], Ok(Dialect::Native)),
        (Route::Events, &[("content-type", "application/json")], Ok(Dialect::Native)),
        (Route::Events, &[("content-type", "Application/JSON; charset=utf-8")], Ok(Dialect::Native)),
        (
            Route::Events,
            &[("content-type", "application/cloudevents+json; charset=utf-8")],
            Ok(Dialect::CloudEvent),
        ),
        (
            Route::Events,
            &[("content-type", "application/cloudevents-batch+json")],
            Ok(Dialect::CloudEventBatch),
        ),
        (
            Route::Events,
            &[("content-type", "application/json"), ("ce-specversion", "1.0")],
            Ok(Dialect::CloudEventBinary),
        ),
        (Route::Events, &[("content-type", "text/csv")], Err("text/csv")),
        (Route::Metric, &[("content-type", "application/json")], Ok(Dialect::Metric)),
        (Route::Track, &[], Ok(Dialect::Track)),
        (
            Route::Track,
            &[("content-type", "application/x-www-form-urlencoded")],
            Err("application/x-www-form-urlencoded"),
        ),
    ];
    for (route, pairs, expected) in cases {
        let expected = expected.map_err(|named| Refusal::UnsupportedMediaType(named.to_owned()));
        assert_eq!(dialect(*route, &headers(pairs)), expected, "{route:?} {pairs:?}");
    }
}

#[test]
fn one_event_an_array_and_an_envelope_are_told_apart() {
    let event = r#"{"type":"api-calls","id":"e-7"}"#;
    for (body, shape, count) in [
        (event.to_owned(), Shape::Single, 1),
        (format!(" [{event},{event},{event}] "), Shape::Batch, 3),
        (format!(r#"{{"events":[{event},{event}]}}"#), Shape::Batch, 2),
    ] {
        let decoded = native(&body).unwrap();
        assert_eq!((decoded.shape, decoded.drafts.len()), (shape, count), "{body}");
        for draft in decoded.drafts {
            assert_eq!(draft.unwrap().event.id.as_deref(), Some("e-7"));
        }
    }
}

#[test]
fn what_is_not_a_request_of_events_is_refused_whole() {
    let refused: &[(&str, &str)] = &[
        ("", "malformed_json"),
        ("{", "malformed_json"),
        ("[{\"type\":\"a\"},]", "malformed_json"),
        ("{\"type\":\"a\",\"properties\":{\"n\":NaN}}", "malformed_json"),
        ("{\"type\":\"a\"} {}", "malformed_json"),
        ("\"type\"", "malformed_json"),
        ("17", "malformed_json"),
        ("{\"events\":{}}", "malformed_json"),
        ("{\"events\":[{\"type\":\"a\"}],\"more\":1}", "malformed_json"),
        ("{\"events\":[],\"events\":[]}", "malformed_json"),
        ("[]", "no_events"),
        ("{\"events\":[]}", "no_events"),
        ("[0,0,0,0,0,0]", "too_many_events"),
    ];
    for (body, code) in refused {
        assert_eq!(native(body).expect_err(body).code(), *code, "{body}");
    }
    assert_eq!(
        native("[0,0,0,0,0,0,0]"),
        Err(Refusal::TooManyEvents { count: 7, max: 5 }),
        "the count goes on past the bound"
    );
    let broken = decode(Dialect::Native, &HeaderMap::new(), b"{\"type\":\"\xff\"}", 5);
    assert_eq!(broken, Err(Refusal::MalformedJson("byte 9 is not UTF-8".to_owned())));
}

#[test]
fn a_bad_event_is_refused_alone_with_code_and_field() {
    let refused: &[(&str, &str, &str)] = &[
        ("{}", "malformed_event", ""),
        ("7", "malformed_event", ""),
        ("null", "malformed_event", ""),
        ("{\"type\":7}", "malformed_event", ""),
        ("{\"type\":\"a\",\"typo\":1}", "malformed_event", ""),
        ("{\"type\":\"a\",\"id\":\"1\",\"id\":\"2\"}", "malformed_event", ""),
        ("{\"type\":\"a\",\"time\":\"yesterday\"}", "invalid_time", "time"),
        ("{\"type\":\"a\",\"time\":1e400}", "invalid_time", "time"),
        ("{\"type\":\"a\",\"time\":\"2026-01-01T00:00:00\"}", "invalid_time", "time"),
        ("{\"type\":\"a\",\"properties\":[]}", "invalid_property", "properties"),
        ("{\"type\":\"a\",\"properties\":{\"n\":1e400}}", "number_out_of_range", "properties.n"),
        ("{\"type\":\"a\",\"properties\":{\"n\":-1e400}}", "number_out_of_range", "properties.n"),
    ];
    for (event, code, field) in refused {
        let decoded = native(&format!("[{event},{{\"type\":\"good\"}}]")).expect(event);
        let refusal = decoded.drafts[0].as_ref().expect_err(event);
        assert_eq!((refusal.code, refusal.field.as_str()), (*code, *field), "{event}: {}", refusal.detail);
        assert!(decoded.drafts[1].is_ok(), "{event} took its neighbour with it");
    }
}

#[test]
fn depth_cannot_overflow_the_stack() {
    for levels in [20, 1_000, 200_000] {
        let nested = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let in_property = one(Dialect::Native, &format!(r#"{{"type":"a","properties":{{"n":{nested}}}}}"#));
        assert_eq!(in_property.unwrap_err().code, "invalid_property");
        let in_time = one(Dialect::Native, &format!(r#"{{"type":"a","time":{nested}}}"#));
        assert_eq!(in_time.unwrap_err().code, "invalid_time");
        let decoded = native(&nested).unwrap();
        assert_eq!(decoded.drafts[0].as_ref().unwrap_err().code, "malformed_event");
    }
}

#[test]
fn a_refusal_does_not_repeat_a_long_input() {
    let refusal = one(Dialect::Native, &format!(r#"{{"type":"a","{}":1}}"#, "x".repeat(60_000))).unwrap_err();
    assert!(refusal.detail.chars().count() <= DETAIL_CHARS_MAX + 1, "{}", refusal.detail.len());
}

#[test]
fn numbers_keep_the_digits_that_were_sent() {
    let draft = one(
        Dialect::Native,
        r#"{"type":"a","properties":{"n":0.1,"big":12345678901234567890.123456789012345678}}"#,
    );
    assert_eq!(
        properties(&draft.unwrap()),
        json!({"n": 0.1, "big": "12345678901234567890.123456789012345678"})
    );
}

#[test]
fn the_idempotency_key_is_the_id_when_there_is_none() {
    let id = |body: &str| one(Dialect::Native, body).unwrap().event.id;
    assert_eq!(id(r#"{"type":"a","idempotencyKey":"k-1"}"#).as_deref(), Some("k-1"));
    assert_eq!(id(r#"{"type":"a","idempotency_key":"k-1"}"#).as_deref(), Some("k-1"));
    assert_eq!(id(r#"{"type":"a","idempotencyKey":"k-1","id":"e-1"}"#).as_deref(), Some("e-1"));
    assert_eq!(id(r#"{"type":"a"}"#), None);
}

#[test]
fn the_ingest_alias_is_the_same_event() {
    let draft = one(
        Dialect::Metric,
        r#"{"metricName":"tokens","metricValue":12.5,"unit":"kT","timestamp":"2026-10-05T00:00:00Z",
            "metadata":{"model":"m"},"idempotencyKey":"k-9","customerId":"c-3"}"#,
    )
    .unwrap();
    let EventDraft { id, source, event_type, customer, time_us, .. } = draft.event.clone();
    assert_eq!(id.as_deref(), Some("k-9"));
    assert_eq!((source, event_type.as_str(), customer.as_deref()), (None, "tokens", Some("c-3")));
    assert_eq!(time_us, Some(1_791_158_400_000_000));
    assert_eq!(properties(&draft), json!({"model": "m", "unit": "kT", "value": 12.5}));
}

#[test]
fn the_track_alias_is_the_same_event() {
    let draft =
        one(Dialect::Track, r#"{"metric":"calls","amount":"0.000000000000000001","customerId":"c-3"}"#)
            .unwrap();
    assert_eq!((draft.event.event_type.as_str(), draft.event.customer.as_deref()), ("calls", Some("c-3")));
    assert_eq!(properties(&draft), json!({"value": "0.000000000000000001"}));
}

#[test]
fn an_alias_needs_a_quantity_and_loses_none() {
    let refused: &[(&str, &str, &str)] = &[
        (r#"{"metric":"c"}"#, "malformed_event", ""),
        (r#"{"metric":"c","amount":null}"#, "invalid_property", "amount"),
        (r#"{"metric":"c","amount":true}"#, "invalid_property", "amount"),
        (r#"{"metric":"c","amount":[1]}"#, "invalid_property", "amount"),
        (r#"{"metric":"c","amount":"many"}"#, "invalid_property", "amount"),
        (r#"{"metric":"c","amount":"NaN"}"#, "invalid_property", "amount"),
        (r#"{"metric":"c","amount":"inf"}"#, "invalid_property", "amount"),
        (r#"{"metric":"c","amount":1e400}"#, "number_out_of_range", "amount"),
        (r#"{"metric":"c","amount":1,"metadata":{"value":2}}"#, "invalid_property", "metadata.value"),
        (r#"{"metric":"c","amount":1,"metadata":{"x":1e400}}"#, "number_out_of_range", "metadata.x"),
    ];
    for (event, code, field) in refused {
        let refusal = one(Dialect::Track, event).expect_err(event);
        assert_eq!((refusal.code, refusal.field.as_str()), (*code, *field), "{event}");
    }
}

const CLOUD_EVENT: &str = r#"{"specversion":"1.0","id":"ce-1","source":"//shop/eu","type":"order","subject":"c-5",
    "time":"2026-10-05T00:00:00.000001Z","datacontenttype":"application/json","traceparent":"00-1","data":{"n":3}}"#;

fn check_cloud_event(draft: &Draft) {
    let EventDraft { id, source, event_type, customer, time_us, .. } = draft.event.clone();
    assert_eq!((id.as_deref(), source.as_deref()), (Some("ce-1"), Some("//shop/eu")));
    assert_eq!((event_type.as_str(), customer.as_deref()), ("order", Some("c-5")));
    assert_eq!(time_us, Some(1_791_158_400_000_001));
    assert_eq!(properties(draft), json!({"n": 3}));
}

#[test]
fn a_cloud_event_is_the_same_event_in_all_three_modes() {
    check_cloud_event(&one(Dialect::CloudEvent, CLOUD_EVENT).unwrap());

    let batch = format!("[{CLOUD_EVENT},{{\"specversion\":\"0.3\"}}]");
    let decoded = decode(Dialect::CloudEventBatch, &HeaderMap::new(), batch.as_bytes(), 5).unwrap();
    check_cloud_event(decoded.drafts[0].as_ref().unwrap());
    assert_eq!(decoded.drafts[1].as_ref().unwrap_err().field, "specversion");

    let headers = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-id", "ce-1"),
        ("ce-source", "%2F%2Fshop/eu"),
        ("ce-type", "order"),
        ("ce-subject", "c-5"),
        ("ce-time", "2026-10-05T00:00:00.000001Z"),
    ]);
    let decoded = decode(Dialect::CloudEventBinary, &headers, b"{\"n\":3}", 5).unwrap();
    check_cloud_event(decoded.drafts[0].as_ref().unwrap());
}

#[test]
fn binary_headers_are_percent_decoded_or_refused() {
    let with_subject = |subject: &str| {
        let headers = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "s"),
            ("ce-type", "t"),
            ("ce-subject", subject),
        ]);
        decode(Dialect::CloudEventBinary, &headers, b"", 5)
    };
    let subject = |decoded: Decoded| decoded.drafts.into_iter().next().unwrap().unwrap().event.customer;
    assert_eq!(subject(with_subject("Gr%C3%B6%C3%9Fe").unwrap()).as_deref(), Some("Größe"));
    for broken in ["%", "%4", "%zz", "%ff"] {
        assert_eq!(with_subject(broken).expect_err(broken).code(), "bad_header", "{broken}");
    }
}

#[test]
fn a_cloud_event_without_its_attributes_or_with_bytes_is_refused() {
    let refused: &[(&str, &str)] = &[
        (r#"{"id":"1","source":"s","type":"t"}"#, "specversion"),
        (r#"{"specversion":"1.0","id":"1","type":"t"}"#, "source"),
        (r#"{"specversion":"1.0","id":"1","source":"s"}"#, "type"),
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":"text"}"#, "data"),
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"AA=="}"#, "data_base64"),
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"n":1e400}}"#, "data.n"),
    ];
    for (event, field) in refused {
        assert_eq!(one(Dialect::CloudEvent, event).expect_err(event).field, *field, "{event}");
    }
}

proptest::proptest! {
    /// Whatever arrives is answered, never a panic; and what decodes has an event.
    #[test]
    fn any_bytes_are_answered(body in proptest::collection::vec(0u8.., 0..300)) {
        for dialect in [Dialect::Native, Dialect::Metric, Dialect::CloudEvent, Dialect::CloudEventBinary] {
            if let Ok(decoded) = decode(dialect, &HeaderMap::new(), &body, 5) {
                assert!(!decoded.drafts.is_empty());
            }
        }
    }

    /// Text near the grammar reaches further than bytes do.
    #[test]
    fn any_arrangement_of_our_words_is_answered(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"events\"", "\"type\"", "\"id\"", "\"time\"", "\"properties\"",
                "1e999", "-0", "null", "\"\\ud800\"", "7", "\"a\"", " ",
            ]),
            0..24,
        )
    ) {
        let body = words.concat();
        if let Ok(decoded) = decode(Dialect::Native, &HeaderMap::new(), body.as_bytes(), 5) {
            assert!(!decoded.drafts.is_empty() && decoded.drafts.len() <= 5);
        }
    }
}

/// A value that hides its size is the usual way to make a parser slow: time grows with the body, not its square.
#[test]
fn the_largest_body_of_tiny_elements_is_refused_quickly() {
    let body = format!("[{}0]", "0,".repeat((4 << 20) / 2 - 2));
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let refused = native(&body).unwrap_err();
    let took = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - started;
    assert_eq!(refused.code(), "too_many_events");
    assert!(took.as_secs() < 2, "{took:?}");
}
