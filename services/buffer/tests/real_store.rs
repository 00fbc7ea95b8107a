//! Against a real server of the DynamoDB API and one of S3:
//! `e2e/stores/up buffer objectstore; eval "$(e2e/stores/env)"; cargo test -p meridian-buffer --features stores-tests`
#![cfg(feature = "stores-tests")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, time::Duration};

use futures::TryStreamExt;
use meridian_billing::{
    event::{EventDraft, EventLimits, EventOrigin},
    ids::{ProjectId, TenantId},
};
use meridian_buffer::{
    Buffer, BufferError, BufferOptions, EventRecord, MinuteRange, ObjectStore, ObjectStoreOptions,
    create_table,
};
use tokio::time::Instant;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: eval \"$(e2e/stores/env)\""))
}

/// A table of each test's own, in a store that may hold others.
fn options(test: &str) -> BufferOptions {
    BufferOptions {
        endpoint: Some(variable("MERIDIAN_BUFFER_ENDPOINT")),
        aws_region: variable("MERIDIAN_BUFFER_AWS_REGION"),
        access_key_id: variable("MERIDIAN_BUFFER_ACCESS_KEY_ID"),
        secret_access_key: variable("MERIDIAN_BUFFER_SECRET_ACCESS_KEY").into(),
        table: format!("buffer-test-{test}-{}", std::process::id()),
    }
}

fn record(tenant: &str, id: &str, received_at_us: i64, filler: usize) -> EventRecord {
    let origin = EventOrigin {
        tenant: TenantId::new(tenant).unwrap(),
        project: ProjectId::default_project(),
        default_source: "key".to_owned(),
    };
    let draft = EventDraft {
        id: Some(id.to_owned()),
        event_type: "calls".to_owned(),
        time_us: Some(received_at_us),
        properties: [("filler".to_owned(), "x".repeat(filler).into())].into(),
        ..EventDraft::default()
    };
    EventRecord::of(&draft.validate(&origin, &EventLimits::default(), received_at_us).unwrap())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

const MINUTE_US: i64 = 60_000_000;
/// 2026-11-20T23:58:00Z
const START_US: i64 = 1_795_219_080_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_made_once_and_another_shape_is_not_ours() {
    let options = options("made");
    assert!(create_table(&options).await.unwrap().created);
    assert!(!create_table(&options).await.unwrap().created);
    let buffer = Buffer::connect(&options);
    buffer.check().await.unwrap();
    buffer.check_write().await.unwrap();

    let missing = BufferOptions { table: "buffer-test-missing".to_owned(), ..options };
    assert!(matches!(Buffer::connect(&missing).check().await, Err(BufferError::Refused { .. })));
    assert!(Buffer::connect(&missing).check_write().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_minutes_gives_back_what_was_received_in_it_and_nothing_else() {
    let options = options("drain");
    create_table(&options).await.unwrap();
    let buffer = Buffer::connect(&options);
    // Four minutes across midnight, two tenants; 20 KB each, so that a partition has several pages.
    let mut wanted = BTreeMap::new();
    let mut all = Vec::new();
    for n in 0..2_000 {
        let at = START_US + i64::from(n) * 4 * MINUTE_US / 2_000;
        let filler = if n % 4 == 0 { 20_000 } else { 10 };
        let record = record(if n % 7 == 0 { "globex" } else { "acme" }, &format!("e-{n}"), at, filler);
        let inside = (START_US + MINUTE_US..START_US + 3 * MINUTE_US).contains(&at);
        if inside && n % 7 != 0 {
            wanted.insert(record.id.to_string(), record.json.to_string());
        }
        all.push(record);
    }
    for answer in buffer.put_records(&all, soon()).await {
        answer.unwrap();
    }
    let range = MinuteRange::covering(START_US + MINUTE_US, START_US + 3 * MINUTE_US);
    let found: Vec<_> = buffer.drain("acme", range).try_collect().await.unwrap();
    let found: BTreeMap<String, String> =
        found.into_iter().map(|e| (e.sort_key.split('#').nth(1).unwrap().to_owned(), e.json)).collect();
    assert_eq!(found.len(), wanted.len());
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_gives_back_everything_and_forgets_only_what_it_is_told_to() {
    let options = options("outbox");
    create_table(&options).await.unwrap();
    let buffer = Buffer::connect(&options);
    let all: Vec<EventRecord> =
        (0..300).map(|n| record("acme", &format!("e-{n}"), START_US, 9_000)).collect();
    for answer in buffer.put_outbox(&all, soon()).await {
        answer.unwrap();
    }
    let mut seen = 0;
    for shard in 0..meridian_buffer::OUTBOX_SHARDS {
        let entries = buffer.outbox(shard, 1_000).await.unwrap();
        assert!(!entries.is_empty(), "shard {shard} has its part");
        for entry in &entries {
            let original = all.iter().find(|r| *r.json == *entry.json).expect("an event that was put");
            assert_eq!(entry.identity_hex, original.identity_hex());
        }
        seen += entries.len();
        assert_eq!(buffer.outbox(shard, 3).await.unwrap().len(), 3);

        // The same id with another payload is written between reading and deleting: it must stay.
        let mut other = record("acme", "e-other", START_US, 5);
        other.identity = u128::from(shard);
        buffer.put_outbox(&[other.clone()], soon()).await.remove(0).unwrap();
        let late = EventRecord { payload: other.payload ^ 1, ..other };
        let first = buffer.outbox(shard, 1_000).await.unwrap();
        buffer.put_outbox(std::slice::from_ref(&late), soon()).await.remove(0).unwrap();
        buffer.delete_outbox(&first).await.unwrap();
        let left = buffer.outbox(shard, 1_000).await.unwrap();
        assert_eq!(left.len(), 1);
        assert!(left[0].sort_key.ends_with(&format!("{:016x}", late.payload)));
    }
    assert_eq!(seen, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_made_once_and_holds_objects() {
    let store = ObjectStore::connect(&ObjectStoreOptions {
        endpoint: Some(variable("MERIDIAN_OBJECT_STORE_ENDPOINT")),
        aws_region: variable("MERIDIAN_OBJECT_STORE_AWS_REGION"),
        access_key_id: variable("MERIDIAN_OBJECT_STORE_ACCESS_KEY_ID"),
        secret_access_key: variable("MERIDIAN_OBJECT_STORE_SECRET_ACCESS_KEY").into(),
        bucket: format!("buffer-test-{}", std::process::id()),
    });
    assert!(store.check().await.is_err());
    assert!(store.create_bucket().await.unwrap());
    assert!(!store.create_bucket().await.unwrap());
    store.check().await.unwrap();
    assert_eq!(store.get("a/b.json").await.unwrap(), None);
    store.put("a/b.json", "{\"n\":7}".into(), "application/json").await.unwrap();
    assert_eq!(store.get("a/b.json").await.unwrap().as_deref(), Some(&b"{\"n\":7}"[..]));
}
