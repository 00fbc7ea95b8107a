//! Which raw events are a meter's past, asked of the real store.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::{
    BackfillQuery, StoredBatch,
    rows::{BackfillRow, QuarantinedRow, RawEventRow, RawPlace, ReleaseRow},
    store_tests::{Database, batch, processed, raw},
};

const MARCH: i64 = 1_772_323_200_000_000;
const BEGUN: i64 = MARCH + 1_000;

fn of(tenant: &str, offset: i64) -> RawEventRow {
    // Later offsets are of earlier times: places are not offsets.
    RawEventRow { tenant: tenant.into(), ..raw(&format!("id-{offset}"), MARCH - offset, offset) }
}

fn quarantined(offset: i64, meter: &str) -> QuarantinedRow {
    QuarantinedRow {
        tenant: "acme".into(),
        reason: if meter.is_empty() { "unknown_meter" } else { "missing-property" }.into(),
        detail: String::new(),
        meter: meter.into(),
        event_type: "call".into(),
        source: "key".into(),
        id: format!("id-{offset}"),
        payload: b"{}".to_vec(),
        offset,
    }
}

fn query() -> BackfillQuery {
    BackfillQuery {
        topic: "events".into(),
        partition: 1,
        meter: "api-calls".into(),
        tenant: None,
        event_type: "call".into(),
        begun_at_us: BEGUN,
        after: RawPlace::default(),
        through: None,
        limit: None,
    }
}

async fn found(database: &Database, query: &BackfillQuery) -> Vec<(String, i64)> {
    let events = database.store.backfill_candidates(query).await.unwrap();
    events.into_iter().map(|event| (event.tenant, event.offset)).collect()
}

fn acme(offsets: &[i64]) -> Vec<(String, i64)> {
    offsets.iter().map(|&offset| ("acme".to_owned(), offset)).collect()
}

#[tokio::test]
async fn the_past_is_what_nothing_else_decides() {
    let database = Database::make().await;
    let unlike = |offset, kind: &str| RawEventRow { event_type: kind.into(), ..of("acme", offset) };
    let first = StoredBatch {
        raw: vec![
            of("acme", 1),
            of("acme", 2),
            of("acme", 3),
            of("acme", 4),
            of("acme", 5),
            of("acme", 6),
            unlike(7, "other"),
        ],
        // An earlier meter of the name counted 2, and could not use 3.
        processed: vec![processed("c", MARCH - 2, 1, 2)],
        quarantined: vec![
            quarantined(3, "api-calls"),
            quarantined(4, ""),
            quarantined(5, ""),
            quarantined(6, "x"),
        ],
        ..batch(1, "1-7", MARCH)
    };
    database.insert(&first).await;
    // 5 was released before the meter began: to others. 4 is released later: its release counts it.
    let released = |offset| ReleaseRow {
        quarantined_at_us: MARCH,
        meter: String::new(),
        outcome: "processed".into(),
        offset,
    };
    database.insert(&StoredBatch { releases: vec![released(5)], ..batch(1, "r1", BEGUN - 1) }).await;
    database.insert(&StoredBatch { releases: vec![released(4)], ..batch(1, "r2", BEGUN) }).await;
    // From the beginning on the batches count it; another partition has its own past.
    database.insert(&StoredBatch { raw: vec![of("acme", 8)], ..batch(1, "8-8", BEGUN) }).await;
    database.insert(&StoredBatch { raw: vec![of("acme", 9)], ..batch(2, "9-9", MARCH) }).await;
    assert_eq!(found(&database, &query()).await, acme(&[6, 5, 1]));
    // What the past itself stores changes nothing of it.
    database
        .insert(&StoredBatch {
            processed: vec![processed("c", MARCH - 5, 1, 5)],
            quarantined: vec![quarantined(6, "api-calls")],
            ..batch(1, "backfill", BEGUN + 5)
        })
        .await;
    assert_eq!(found(&database, &query()).await, acme(&[6, 5, 1]));
    assert!(database.store.has_raw_events("events", 1, MARCH + 1).await.unwrap());
    assert!(!database.store.has_raw_events("events", 1, MARCH).await.unwrap());
    assert!(!database.store.has_raw_events("events", 7, BEGUN).await.unwrap());
    database.drop().await;
}

#[tokio::test]
async fn pieces_tile_the_past_of_all_tenants_or_of_one() {
    let database = Database::make().await;
    // Two of the same time.
    let twin = RawEventRow { time_us: MARCH - 3, ..of("acme", 4) };
    let raw = vec![of("beta", 1), of("acme", 2), of("acme", 3), twin, of("beta", 5), of("zeta", 6)];
    database.insert(&StoredBatch { raw, ..batch(1, "1-6", MARCH) }).await;
    let whole = found(&database, &query()).await;
    assert_eq!(whole.iter().map(|(_, offset)| *offset).collect::<Vec<_>>(), [3, 4, 2, 5, 1, 6]);
    for size in 1..=6 {
        let (mut after, mut pieces) = (RawPlace::default(), Vec::new());
        loop {
            let piece = BackfillQuery { after: after.clone(), limit: Some(size), ..query() };
            let events = database.store.backfill_candidates(&piece).await.unwrap();
            let Some(last) = events.last() else { break };
            // Asked again by its two ends it is the same.
            let again = BackfillQuery { through: Some(last.place()), limit: None, ..piece.clone() };
            assert_eq!(database.store.backfill_candidates(&again).await.unwrap(), events);
            after = last.place();
            pieces.extend(events.into_iter().map(|event| (event.tenant, event.offset)));
        }
        assert_eq!(pieces, whole, "pieces of {size}");
    }
    let one = BackfillQuery { tenant: Some("beta".into()), ..query() };
    assert_eq!(found(&database, &one).await, [("beta".to_owned(), 5), ("beta".to_owned(), 1)]);
    database.drop().await;
}

#[tokio::test]
async fn the_newest_row_of_a_meter_says_how_far_it_is() {
    let database = Database::make().await;
    let row = |meter: &str, time_us, done| BackfillRow {
        meter_id: format!("mtr_{meter}"),
        meter: meter.into(),
        begun_at_us: BEGUN,
        through: RawPlace { tenant: "acme".into(), time_us, identity: u128::MAX - 3 },
        events: 5,
        done,
    };
    let begun = vec![row("a", 0, false), row("b", 0, true)];
    database.insert(&StoredBatch { backfills: begun, ..batch(1, "backfill", BEGUN) }).await;
    database
        .insert(&StoredBatch { backfills: vec![row("a", 7, true)], ..batch(1, "backfill", BEGUN + 1) })
        .await;
    let known = async |partition, before| {
        let all = database.store.backfills("events", partition, before).await.unwrap();
        all.into_iter().map(|b| (b.meter_id, b.through.time_us, b.done)).collect::<Vec<_>>()
    };
    let (a, b) = ("mtr_a".to_owned(), "mtr_b".to_owned());
    assert_eq!(known(1, None).await, [(a.clone(), 7, true), (b.clone(), 0, true)]);
    assert_eq!(known(1, Some(BEGUN + 1)).await, [(a, 0, false), (b, 0, true)]);
    assert_eq!(known(1, Some(BEGUN)).await, []);
    assert_eq!(known(2, None).await, []);
    let all = database.store.backfills("events", 1, None).await.unwrap();
    assert_eq!((all[0].begun_at_us, all[0].through.identity), (BEGUN, u128::MAX - 3));
    assert_eq!(database.store.partition_stored("events", 1).await.unwrap().stored_at_us, BEGUN + 1);
    database.drop().await;
}
