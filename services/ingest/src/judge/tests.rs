use http::HeaderMap;
use meridian_billing::ids::{ProjectId, TenantId};

use super::*;
use crate::decode::{Dialect, decode};

/// 2026-11-21T00:00:00Z
const NOW_US: i64 = 1_795_219_200_000_000;
const DAY_US: i64 = 86_400_000_000;

fn acme() -> EventOrigin {
    EventOrigin {
        tenant: TenantId::new("acme").unwrap(),
        project: ProjectId::new("default").unwrap(),
        default_source: "key-seven".to_owned(),
    }
}

fn judged(body: &str, idempotency_key: Option<&str>) -> Judged {
    let decoded = decode(Dialect::Native, &HeaderMap::new(), body.as_bytes(), 100).unwrap();
    let (origin, limits) = (acme(), EventLimits::default());
    let circumstances =
        Circumstances { origin: &origin, limits: &limits, received_at_us: NOW_US, idempotency_key };
    let mut made = 0;
    judge(decoded, &circumstances, || {
        made += 1;
        format!("server-{made}")
    })
}

fn refused_code(event: &str) -> &'static str {
    match judged(event, None).verdicts.remove(0) {
        Verdict::Bad { refusal, .. } => refusal.code,
        Verdict::Good { .. } => "accepted",
    }
}

fn idempotent(judged: &Judged) -> Vec<bool> {
    let flags = judged.verdicts.iter().map(|verdict| match verdict {
        Verdict::Good { idempotent, .. } => *idempotent,
        Verdict::Bad { refusal, .. } => panic!("{refusal:?}"),
    });
    flags.collect()
}

fn ids(judged: &Judged) -> Vec<&str> {
    judged.records.iter().map(|record| &*record.id).collect()
}

#[test]
fn every_bad_event_has_its_code() {
    let at = |time_us: i64| format!(r#"{{"type":"a","id":"1","time":{time_us}}}"#);
    let property = |value: &str| format!(r#"{{"type":"a","id":"1","properties":{{"n":{value}}}}}"#);
    let cases = [
        (at(NOW_US), "accepted"),
        (at(NOW_US - 366 * DAY_US), "accepted"),
        (at(NOW_US - 366 * DAY_US - 1), "too_old"),
        (at(NOW_US - 5 * 365 * DAY_US), "too_old"),
        (at(NOW_US + DAY_US), "accepted"),
        (at(NOW_US + 2 * DAY_US), "too_far_ahead"),
        (at(NOW_US / 1_000_000), "too_old"),
        (at(i64::MAX), "too_far_ahead"),
        (at(i64::MIN), "too_old"),
        (property("1e400"), "number_out_of_range"),
        // Whether a quantity may be negative is the meter's rule, not the receive path's.
        (property("-1"), "accepted"),
        (r#"{"type":"a","id":"1","tenant":"acme","project":"default"}"#.to_owned(), "accepted"),
        (r#"{"type":"a","id":"1","tenant":"globex"}"#.to_owned(), "wrong_tenant"),
        (r#"{"type":"a","id":"1","tenant":""}"#.to_owned(), "wrong_tenant"),
        (r#"{"type":"a","id":"1","project":"other"}"#.to_owned(), "wrong_project"),
        (r#"{"type":"","id":"1"}"#.to_owned(), "invalid_type"),
        (r#"{"type":"a","id":""}"#.to_owned(), "invalid_id"),
        (format!(r#"{{"type":"a","id":"{}"}}"#, "x".repeat(257)), "invalid_id"),
        (r#"{"type":"a","id":"a\u0000b"}"#.to_owned(), "invalid_id"),
        (r#"{"type":"a","id":"1","source":"a#b"}"#.to_owned(), "invalid_source"),
        (property(&format!("\"{}\"", "x".repeat(64 << 10))), "too_large"),
    ];
    for (event, code) in cases {
        assert_eq!(refused_code(&event), code, "{}", &event[..event.len().min(120)]);
    }
}

#[test]
fn the_tenant_is_the_credentials_whatever_the_body_says() {
    let judged = judged(r#"{"type":"a","id":"1","tenant":"acme","source":"mine"}"#, None);
    let record = &judged.records[0];
    assert_eq!((&*record.tenant, &*record.source), ("acme", "mine"));
    let json: serde_json::Value = serde_json::from_str(&record.json).unwrap();
    assert_eq!(json["tenant"], "acme");
    assert_eq!(json["received_at"], NOW_US);
}

#[test]
fn identity_is_body_id_then_header_then_ours() {
    let own = judged(r#"{"type":"a","id":"mine"}"#, Some("header"));
    assert_eq!((ids(&own), idempotent(&own)), (vec!["mine"], vec![true]));
    let single = judged(r#"{"type":"a"}"#, Some("header"));
    assert_eq!((ids(&single), idempotent(&single)), (vec!["header"], vec![true]));
    let batch = judged(r#"[{"type":"a"},{"type":"a","id":"mine"},{"type":"a"}]"#, Some("header"));
    assert_eq!((ids(&batch), idempotent(&batch)), (vec!["header:0", "mine", "header:2"], vec![true; 3]));
    let none = judged(r#"[{"type":"a"},{"type":"a","idempotencyKey":"k"},{"type":"a"}]"#, None);
    assert_eq!(
        (ids(&none), idempotent(&none)),
        (vec!["server-1", "k", "server-2"], vec![false, true, false])
    );
}

#[test]
fn the_source_is_the_keys_name_unless_the_event_names_one() {
    let judged = judged(r#"{"type":"a","id":"1"}"#, None);
    assert_eq!(&*judged.records[0].source, "key-seven");
}

#[test]
fn a_bad_event_leaves_its_neighbours_and_their_order() {
    let judged = judged(r#"[{"type":"a","id":"1"},{"type":"","id":"2"},{"type":"a","id":"3"}]"#, None);
    assert_eq!(ids(&judged), ["1", "3"]);
    let at = |index: usize| match &judged.verdicts[index] {
        Verdict::Good { record, .. } => format!("record {record}"),
        Verdict::Bad { id, refusal } => format!("{:?} {}", id.as_deref(), refusal.code),
    };
    assert_eq!([at(0), at(1), at(2)], ["record 0", "Some(\"2\") invalid_type", "record 1"]);
}
