//! Cases of a decision, and the property behind them: replaying, shuffling and splitting change nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use meridian_billing::catalogue::MeterSpec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const PARTITION: i32 = 5;

fn meter(name: &str, tenant: Option<&str>, spec: Value) -> Meter {
    let mut full = json!({"regionRef": {"name": "eu"}});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let spec: MeterSpec = serde_json::from_value(full).unwrap();
    Meter {
        id: format!("mtr_{name}_{}", tenant.unwrap_or("")),
        tenant: tenant.map(str::to_owned),
        name: name.into(),
        version: 3,
        spec,
    }
}

fn meters() -> Meters {
    Meters::new(vec![
        meter("api-calls", None, json!({"eventType": "call", "aggregation": "Count"})),
        meter(
            "bytes",
            None,
            json!({"eventType": "call", "aggregation": "Sum", "valueProperty": "bytes", "groupBy": ["zone"],
            "filters": [{"property": "billable", "operator": "NotEq", "values": ["no"]}]}),
        ),
        meter(
            "seats",
            Some("acme"),
            json!({"eventType": "login", "aggregation": "UniqueCount", "valueProperty": "user"}),
        ),
    ])
}

fn subscriptions() -> Subscriptions {
    let mut all = Subscriptions::default();
    let prices = BTreeMap::from([("mtr_bytes_".to_owned(), vec!["traffic".to_owned()])]);
    let subscription = crate::catalogue::Subscription {
        id: "sub_7".into(),
        plan_version: "pro@2".into(),
        starts_us: 1_000,
        ends_us: 9_000,
        prices,
    };
    all.insert("acme".into(), "c1".into(), subscription);
    all
}

fn event(id: &str, kind: &str, time: i64, properties: Value) -> Vec<u8> {
    json!({"tenant": "acme", "project": "default", "source": "key-1", "id": id, "type": kind, "customer": "c1",
        "time": time, "received_at": 4_000_000 + time, "properties": properties})
    .to_string()
    .into_bytes()
}

fn records(values: Vec<Vec<u8>>, from: i64) -> Vec<Record> {
    values.into_iter().zip(from..).map(|(value, offset)| Record { offset, value: Some(value) }).collect()
}

fn decided(records: Vec<Record>, known: &HashMap<u128, Known>, attempt: Attempt) -> Decision {
    let (meters, subscriptions) = (meters(), subscriptions());
    decide(
        read(records),
        &Circumstances {
            partition: PARTITION,
            attempt,
            known,
            meters: &meters,
            subscriptions: &subscriptions,
        },
    )
}

fn first(values: Vec<Vec<u8>>) -> Decision {
    decided(records(values, 100), &HashMap::new(), Attempt::First)
}

fn counted(decision: &Decision) -> Vec<(&str, &str, String)> {
    decision
        .processed
        .iter()
        .map(|row| (row.id.as_str(), row.meter.as_str(), row.quantity.to_string()))
        .collect()
}

fn reasons(decision: &Decision) -> Vec<(&str, &str)> {
    decision.quarantined.iter().map(|row| (row.reason.as_str(), row.meter.as_str())).collect()
}

#[test]
fn an_event_is_a_raw_row_and_one_row_for_each_meter_that_counts_it() {
    let decision = first(vec![event("a", "call", 5_000, json!({"bytes": "12.5", "zone": "z1"}))]);
    assert_eq!(decision.raw.len(), 1);
    assert_eq!(decision.raw[0].properties, r#"{"bytes":"12.5","zone":"z1"}"#);
    assert_eq!(counted(&decision), [("a", "api-calls", "1".to_owned()), ("a", "bytes", "12.5".to_owned())]);
    let bytes = &decision.processed[1];
    assert_eq!(
        (bytes.group_values.as_str(), bytes.meter_version, bytes.offset),
        (r#"{"zone":"z1"}"#, 3, 100)
    );
    assert_eq!(
        (bytes.subscription.as_str(), bytes.plan_version.as_str(), bytes.prices.as_slice()),
        ("sub_7", "pro@2", &["traffic".to_owned()][..])
    );
}

#[test]
fn an_event_that_a_filter_excludes_is_raw_only() {
    let decision = first(vec![event("a", "call", 5_000, json!({"bytes": 7, "billable": "no"}))]);
    assert_eq!((decision.raw.len(), counted(&decision).len(), decision.quarantined.len()), (1, 1, 0));
}

#[test]
fn the_same_id_and_payload_is_a_duplicate_even_when_it_was_received_later() {
    let mut again: Value = serde_json::from_slice(&event("a", "call", 5_000, json!({"bytes": 7}))).unwrap();
    again["received_at"] = json!(99);
    let decision =
        first(vec![event("a", "call", 5_000, json!({"bytes": 7})), again.to_string().into_bytes()]);
    assert_eq!((decision.raw.len(), decision.duplicates, decision.conflicts.len()), (1, 1, 0));
}

#[test]
fn the_same_id_with_another_time_or_value_is_a_conflict_and_never_billed() {
    let month = 31 * 86_400_000_000;
    let decision = first(vec![
        event("a", "call", 5_000, json!({"bytes": 7})),
        event("a", "call", 5_000 + month, json!({"bytes": 7})),
        event("a", "call", 5_000, json!({"bytes": 8})),
    ]);
    assert_eq!((decision.raw.len(), decision.duplicates), (1, 0));
    assert_eq!(counted(&decision).len(), 2);
    let places: Vec<_> =
        decision.conflicts.iter().map(|c| (c.first_partition, c.first_offset, c.offset)).collect();
    assert_eq!(places, [(PARTITION, 100, 101), (PARTITION, 100, 102)]);
}

#[test]
fn the_same_id_of_another_source_or_tenant_is_another_event() {
    let with = |tenant: &str, source: &str| {
        let mut value: Value =
            serde_json::from_slice(&event("a", "call", 5_000, json!({"bytes": 1}))).unwrap();
        (value["tenant"], value["source"]) = (json!(tenant), json!(source));
        value.to_string().into_bytes()
    };
    let decision = first(vec![with("acme", "k"), with("acme", "l"), with("globex", "k")]);
    assert_eq!(decision.raw.len(), 3);
}

#[test]
fn what_cannot_be_used_has_a_reason_and_never_blocks_what_follows() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let decision = first(vec![
        b"\xff\xfe".to_vec(),
        deep.into_bytes(),
        br#"{"tenant":"acme","id":1}"#.to_vec(),
        br#"{"tenant":"acme","project":"default","source":"s","id":"n","type":"call","customer":"","time":1,"received_at":1,"properties":{"bytes":1e400}}"#.to_vec(),
        event("b", "call", 5_000, json!({"bytes": "many"})),
        event("c", "call", 5_000, json!({"bytes": -1})),
        event("d", "call", 5_000, json!({})),
        event("e", "unheard-of", 5_000, json!({})),
        event("f", "call", -1, json!({"bytes": 1})),
        event("g", "login", 5_000, json!({"user": "u1"})),
    ]);
    let malformed = ("malformed", "");
    let expected = [
        malformed,
        malformed,
        malformed,
        malformed,
        ("not_a_number", "bytes"),
        ("negative_value", "bytes"),
        ("missing_property", "bytes"),
        ("unknown_meter", ""),
        ("time-out-of-range", ""),
    ];
    assert_eq!(reasons(&decision), expected);
    assert_eq!(decision.raw.len(), 6, "every event that can be read is kept raw");
    let last = decision.processed.last().unwrap();
    assert_eq!((last.meter.as_str(), last.unique_value.as_deref()), ("seats", Some("u1")));
    assert_eq!(decision.quarantined[0].payload, b"\xff\xfe");
}

#[test]
fn a_record_without_a_value_is_quarantined() {
    let decision = decided(vec![Record { offset: 3, value: None }], &HashMap::new(), Attempt::First);
    assert_eq!(reasons(&decision), [("malformed", "")]);
}

#[test]
fn a_tenants_own_meter_goes_before_a_shared_one_of_its_name() {
    let meters = Meters::new(vec![
        meter("m", None, json!({"eventType": "call", "aggregation": "Count"})),
        meter("m", Some("acme"), json!({"eventType": "call", "aggregation": "Sum", "valueProperty": "v"})),
    ]);
    let names = |tenant| meters.counting(tenant, "call").iter().map(|m| m.id.clone()).collect::<Vec<_>>();
    assert_eq!(names("acme"), ["mtr_m_acme"]);
    assert_eq!(names("globex"), ["mtr_m_"]);
}

#[test]
fn the_hash_of_meters_is_of_their_content_and_survives_being_kept() {
    let meters = meters();
    assert_eq!(Meters::from_json(&meters.to_json()).unwrap().hash(), meters.hash());
    assert_ne!(Meters::new(Vec::new()).hash(), meters.hash());
}

// ---- properties

/// A stream with ids that repeat, sometimes with another payload.
fn streams() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = (0..12u8, 0..3u8, prop::bool::weighted(0.1)).prop_map(|(id, payload, poison)| {
        if poison {
            b"poison".to_vec()
        } else {
            event(&format!("id-{id}"), "call", 5_000, json!({"bytes": payload}))
        }
    });
    prop::collection::vec(one, 0..60)
}

/// Carries batches out one after the other, as a partition's owner does: decide, then mark.
fn carry_out(batches: Vec<Vec<Record>>) -> Vec<Decision> {
    let mut index: HashMap<u128, Known> = HashMap::new();
    batches
        .into_iter()
        .map(|batch| {
            let decision = decided(batch, &index, Attempt::First);
            index.extend(decision.marks.iter().copied());
            decision
        })
        .collect()
}

fn joined(decisions: Vec<Decision>) -> Decision {
    decisions.into_iter().fold(Decision::default(), |mut all, one| {
        all.raw.extend(one.raw);
        all.processed.extend(one.processed);
        all.quarantined.extend(one.quarantined);
        all.conflicts.extend(one.conflicts);
        all.marks.extend(one.marks);
        all.duplicates += one.duplicates;
        all
    })
}

fn split(records: Vec<Record>, cuts: &[usize]) -> Vec<Vec<Record>> {
    let cuts: BTreeSet<usize> = cuts.iter().map(|cut| cut % (records.len() + 1)).collect();
    let mut batches = vec![Vec::new()];
    for (index, record) in records.into_iter().enumerate() {
        if cuts.contains(&index) {
            batches.push(Vec::new());
        }
        batches.last_mut().unwrap().push(record);
    }
    batches
}

proptest! {
    #[test]
    fn splitting_a_stream_into_batches_changes_no_row(stream in streams(), cuts in prop::collection::vec(0..60usize, 0..6)) {
        let whole = joined(carry_out(vec![records(stream.clone(), 0)]));
        let parts = joined(carry_out(split(records(stream, 0), &cuts)));
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn each_id_is_billed_once_and_nothing_is_lost(stream in streams()) {
        let records = records(stream, 0);
        let count = records.len();
        let decision = joined(carry_out(vec![records]));
        let ids: BTreeSet<&str> = decision.raw.iter().map(|row| row.id.as_str()).collect();
        prop_assert_eq!(ids.len(), decision.raw.len());
        prop_assert_eq!(decision.processed.len(), 2 * decision.raw.len());
        let accounted = decision.raw.len() + decision.conflicts.len() + decision.quarantined.len();
        prop_assert_eq!(accounted + decision.duplicates as usize, count);
    }

    #[test]
    fn shuffling_arrival_bills_the_same_ids_and_events(stream in streams(), seed in any::<u64>()) {
        let mut shuffled = stream.clone();
        // A fixed shuffle by the seed: sorted by a hash of place and seed.
        let keyed = |index: usize| xxhash_rust::xxh3::xxh3_64_with_seed(&index.to_le_bytes(), seed);
        let mut order: Vec<usize> = (0..stream.len()).collect();
        order.sort_by_key(|&index| keyed(index));
        for (to, from) in order.into_iter().enumerate() {
            shuffled[to] = stream[from].clone();
        }
        let ids = |stream: Vec<Vec<u8>>| -> BTreeSet<String> {
            joined(carry_out(vec![records(stream, 0)])).raw.into_iter().map(|row| row.id).collect()
        };
        prop_assert_eq!(ids(stream), ids(shuffled));
    }

    #[test]
    fn replaying_everything_under_later_offsets_adds_nothing_new(stream in streams()) {
        let twice = vec![records(stream.clone(), 0), records(stream, 1_000)];
        let decisions = carry_out(twice);
        prop_assert_eq!(decisions[1].raw.len(), 0);
        prop_assert_eq!(decisions[1].processed.len(), 0);
    }

    #[test]
    fn a_batch_made_again_after_its_marks_were_set_is_the_same_batch(stream in streams(), cut in 0..60usize) {
        let batches = split(records(stream, 0), &[cut]);
        let mut index: HashMap<u128, Known> = HashMap::new();
        for batch in batches {
            let once = decided(batch.clone(), &index, Attempt::First);
            let before_marks = decided(batch.clone(), &index, Attempt::Again);
            index.extend(once.marks.iter().copied());
            let after_marks = decided(batch, &index, Attempt::Again);
            prop_assert_eq!(&once, &before_marks);
            prop_assert_eq!(&once, &after_marks);
        }
    }

    #[test]
    fn a_batch_that_was_finished_is_all_duplicates_at_its_own_offsets(stream in streams()) {
        let mut index: HashMap<u128, Known> = HashMap::new();
        let once = decided(records(stream.clone(), 0), &index, Attempt::First);
        index.extend(once.marks.iter().copied());
        let offsets_set_back = decided(records(stream, 0), &index, Attempt::First);
        prop_assert_eq!(offsets_set_back.raw.len(), 0);
        prop_assert_eq!(offsets_set_back.processed.len(), 0);
    }
}
