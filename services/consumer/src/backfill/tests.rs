//! What a piece of the past becomes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use meridian_billing::catalogue::MeterSpec;
use serde_json::{Value, json};

use super::*;

fn meter(id: &str, tenant: Option<&str>, spec: Value) -> Meter {
    let mut full = json!({"regionRef": {"name": "eu"}, "eventType": "call"});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let spec: MeterSpec = serde_json::from_value(full).unwrap();
    let name = id.split('/').next().unwrap().to_owned();
    Meter { id: id.into(), tenant: tenant.map(str::to_owned), name, version: 1, spec }
}

fn stored(tenant: &str, offset: i64, properties: Value) -> StoredEvent {
    let sent = json!({"tenant": tenant, "project": "default", "source": "key", "id": format!("id-{offset}"),
        "type": "call", "customer": "c1", "time": 1_000 + offset, "received_at": 2_000, "properties": properties});
    let event = UsageEvent::from_canonical_json(sent.to_string().as_bytes()).unwrap();
    StoredEvent {
        tenant: tenant.into(),
        project: "default".into(),
        source: "key".into(),
        id: event.id.clone(),
        event_type: "call".into(),
        customer: "c1".into(),
        time_us: event.time_us,
        received_at_us: event.received_at_us,
        properties: serde_json::to_string(&event.properties).unwrap(),
        identity: event.identity_hash(),
        payload_hash: event.payload_hash(),
        offset,
    }
}

fn bytes() -> Value {
    json!({"aggregation": "Sum", "valueProperty": "bytes",
        "filters": [{"property": "billable", "operator": "NotEq", "values": ["no"]}]})
}

fn piece(through: Option<RawPlace>, events: Vec<StoredEvent>) -> Piece {
    Piece { meter_id: "bytes/1".into(), after: RawPlace::default(), through, events }
}

#[test]
fn an_event_is_counted_excluded_or_quarantined_for_this_meter_alone() {
    let calls = meter("calls/1", None, json!({"aggregation": "Count"}));
    let meters = Meters::new(vec![calls, meter("bytes/1", None, bytes())]);
    let events = vec![
        stored("acme", 1, json!({"bytes": 3})),
        stored("acme", 2, json!({"bytes": 3, "billable": "no"})),
        stored("acme", 3, json!({"bytes": "many"})),
    ];
    let last = events[2].place();
    let decision = decide_past(piece(None, events), 500, &meters, &Subscriptions::default());
    let counted: Vec<_> =
        decision.processed.iter().map(|r| (r.meter.as_str(), r.offset, r.time_us)).collect();
    assert_eq!(counted, [("bytes", 1, 1_001)]);
    let exceptions: Vec<_> = decision.quarantined.iter().map(|r| (r.meter.as_str(), r.offset)).collect();
    assert_eq!(exceptions, [("bytes", 3)]);
    let [row] = decision.backfills.as_slice() else { panic!("{:?}", decision.backfills) };
    assert_eq!((row.begun_at_us, row.events, row.done), (500, 3, true));
    assert_eq!(row.through, last);
    assert_eq!((decision.raw.len(), decision.marks.len()), (0, 0));
}

#[test]
fn a_piece_in_the_middle_and_an_empty_last_one_say_how_far_they_are() {
    let meters = Meters::new(vec![meter("bytes/1", None, bytes())]);
    let event = stored("acme", 1, json!({"bytes": 3}));
    let place = event.place();
    let decision =
        decide_past(piece(Some(place.clone()), vec![event]), 500, &meters, &Subscriptions::default());
    assert_eq!((decision.backfills[0].through.clone(), decision.backfills[0].done), (place.clone(), false));
    let last = Piece { after: place.clone(), ..piece(None, vec![]) };
    let decision = decide_past(last, 500, &meters, &Subscriptions::default());
    assert_eq!((decision.backfills[0].through.clone(), decision.backfills[0].done), (place, true));
}

#[test]
fn a_tenants_own_meter_hides_the_shared_one_of_its_name() {
    let own = meter("bytes/2", Some("acme"), bytes());
    let meters = Meters::new(vec![meter("bytes/1", None, bytes()), own]);
    let events = vec![stored("acme", 1, json!({"bytes": 3})), stored("beta", 2, json!({"bytes": 4}))];
    let decision = decide_past(piece(None, events), 500, &meters, &Subscriptions::default());
    let counted: Vec<_> = decision.processed.iter().map(|row| row.tenant.as_str()).collect();
    assert_eq!(counted, ["beta"]);
}

#[test]
fn what_is_not_what_was_sent_is_never_counted_and_never_released() {
    let meters = Meters::new(vec![meter("bytes/1", None, bytes())]);
    let mut changed = stored("acme", 1, json!({"bytes": 3}));
    changed.properties = r#"{"bytes":300}"#.into();
    let mut broken = stored("acme", 2, json!({"bytes": 3}));
    broken.properties = "{".into();
    let decision = decide_past(piece(None, vec![changed, broken]), 500, &meters, &Subscriptions::default());
    assert!(decision.processed.is_empty());
    let reasons: Vec<_> = decision.quarantined.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, [reason::ALTERED, reason::ALTERED]);
    assert!(reasons.iter().all(|reason| reason::is_final(reason)));
}

#[test]
fn each_meter_begins_once() {
    let meters = Meters::new(vec![meter("bytes/1", None, bytes()), meter("calls/1", None, bytes())]);
    let first = beginnings(&meters, &HashMap::new(), 500, true);
    assert!(first.iter().all(|row| row.begun_at_us == 500 && !row.done));
    let mut begun: HashMap<_, _> = first.iter().map(|row| (row.meter_id.clone(), known(row))).collect();
    assert_eq!(beginnings(&meters, &begun, 600, true), []);
    begun.remove("calls/1");
    let later = beginnings(&meters, &begun, 600, false);
    assert_eq!(
        later.iter().map(|row| (row.meter_id.as_str(), row.done)).collect::<Vec<_>>(),
        [("calls/1", true)]
    );
}
