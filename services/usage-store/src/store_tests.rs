//! Against a real ClickHouse: `e2e/stores/up clickhouse; eval "$(e2e/stores/env)"`, then
//! `cargo test -p meridian-usage-store --features stores-tests`. Each test has a database of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
};

use clickhouse::Row;
use meridian_billing::{
    catalogue::{AggregationKind, ResetPolicy},
    decimal::Decimal,
    ids::TenantId,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde::Deserialize;

use crate::{
    ClickHouseOptions, LateUsageKey, LineQuery, PeriodKey, PeriodQuery, ReleaseQuery, Scope, SeriesQuery,
    StoredBatch, Token, UsageStore, UsageStoreError, Window,
    insert::Deadline,
    metered_usage::plain_meter,
    rows::{ConflictRow, ProcessedEventRow, QuarantinedRow, RawEventRow, ReleaseRow},
};

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// 2026-03-01T00:00:00Z
pub(crate) const MARCH: i64 = 1_772_323_200_000_000;

pub(crate) struct Database {
    pub store: UsageStore,
    name: String,
}

impl Database {
    pub async fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let variable = |name: &str| {
            std::env::var(format!("MERIDIAN_CLICKHOUSE_{name}"))
                .expect(r#"run: eval "$(e2e/stores/env)" first"#)
        };
        let name = format!("usage_store_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let store = UsageStore::connect(&ClickHouseOptions {
            url: variable("URL"),
            database: name.clone(),
            user: variable("USER"),
            password: variable("PASSWORD"),
        });
        store.migrate().await.expect("a migrated database");
        Self { store, name }
    }

    pub async fn drop(self) {
        let sql = format!("DROP DATABASE {}", self.name);
        self.store.client.query(&sql).execute().await.expect("dropping the test's database");
    }

    async fn count(&self, table: &str) -> u64 {
        self.store.client.query(&format!("SELECT count() FROM {table}")).fetch_one().await.expect("a count")
    }

    pub async fn insert(&self, batch: &StoredBatch) {
        let deadline = self.store.deadline().await.expect("a deadline");
        for insert in batch.encode() {
            self.store.insert(&insert, deadline).await.expect("an insert");
        }
    }
}

pub(crate) fn batch(partition: i32, range: &str, stored_at_us: i64) -> StoredBatch {
    let token = Token { topic: "events".into(), partition, range: range.into(), stored_at_us };
    StoredBatch::empty(token)
}

pub(crate) fn processed(customer: &str, time_us: i64, units: i128, offset: i64) -> ProcessedEventRow {
    ProcessedEventRow {
        tenant: "acme".into(),
        project: "default".into(),
        customer: customer.into(),
        meter: "api-calls".into(),
        meter_version: 2,
        subscription: "sub_1".into(),
        plan_version: "pro@1".into(),
        prices: vec!["calls".into()],
        quantity: Decimal::from_units(units).expect("38 digits"),
        unique_value: None,
        group_values: String::new(),
        source: "key".into(),
        id: format!("id-{offset}"),
        time_us,
        received_at_us: time_us + 5,
        identity: offset as u128 + 1_000,
        offset,
    }
}

pub(crate) fn raw(id: &str, time_us: i64, offset: i64) -> RawEventRow {
    RawEventRow {
        tenant: "acme".into(),
        project: "default".into(),
        source: "key".into(),
        id: id.into(),
        event_type: "call".into(),
        customer: "c".into(),
        time_us,
        received_at_us: time_us + 5,
        properties: "{}".into(),
        identity: offset as u128 + 1_000,
        payload_hash: 7,
        offset,
    }
}

pub(crate) fn scope(tenant: &str) -> Scope {
    Scope::of(TenantId::new(tenant).expect("a tenant"))
}

#[tokio::test]
async fn migrating_twice_applies_everything_once() {
    let database = Database::make().await;
    assert_eq!(database.store.migrate().await.unwrap(), []);
    database.store.check_schema().await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn a_store_of_a_newer_release_is_not_migrated_by_an_older_one() {
    let database = Database::make().await;
    database
        .store
        .client
        .query("INSERT INTO schema_migrations (version, name) VALUES (900, 'later')")
        .execute()
        .await
        .unwrap();
    assert!(matches!(database.store.migrate().await, Err(UsageStoreError::SchemaVersion { found: 900, .. })));
    database.store.check_schema().await.unwrap();
    database.drop().await;
}

// ---- what goes in comes out

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", "\\PC{0,20}", Just("quote ' slash \\ tab \t line \n nul \0".to_owned())]
}

prop_compose! {
    fn raw_rows()(texts in prop::collection::vec(texts(), 6), times in (0..4_000_000_000_000_000i64, 0..4_000_000_000_000_000i64),
        identity: u128, payload_hash: u64, offset: i64) -> RawEventRow {
        let [tenant, source, id, event_type, customer, properties] = <[String; 6]>::try_from(texts).expect("as many as asked for");
        RawEventRow { tenant, project: "p".into(), source, id, event_type, customer, time_us: times.0, received_at_us: times.1,
            properties, identity, payload_hash, offset }
    }
}

prop_compose! {
    fn processed_rows()(texts in prop::collection::vec(texts(), 4), units in -99_999_999_999_999_999_999_999_999_999_999_999_999i128..=99_999_999_999_999_999_999_999_999_999_999_999_999,
        unique_value in prop::option::of(texts()), prices in prop::collection::vec(texts(), 0..3), time_us in 0..4_000_000_000_000_000i64,
        identity: u128, offset: i64) -> ProcessedEventRow {
        let [customer, meter, group_values, id] = <[String; 4]>::try_from(texts).expect("as many as asked for");
        ProcessedEventRow { customer, meter, group_values, id, prices, unique_value, identity, offset, time_us,
            quantity: Decimal::from_units(units).expect("38 digits"), ..processed("", 0, 0, 0) }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
struct ReadRaw {
    tenant: String,
    source: String,
    id: String,
    event_type: String,
    customer: String,
    time_us: i64,
    received_at_us: i64,
    properties: String,
    identity: u128,
    payload_hash: u64,
    offset: i64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Row, Deserialize)]
struct ReadProcessed {
    customer: String,
    meter: String,
    units: i128,
    unique_value: Option<String>,
    prices: Vec<String>,
    group_values: String,
    id: String,
    time_us: i64,
    identity: u128,
    offset: i64,
}

#[test]
fn every_row_comes_out_as_it_went_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::make());
    let rows = (prop::collection::vec(raw_rows(), 1..40), prop::collection::vec(processed_rows(), 1..40));
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let stored_at = AtomicU32::new(1);
    let outcome = runner.run(&rows, |(raw, processed)| {
        let at = i64::from(stored_at.fetch_add(1, Ordering::Relaxed)) + MARCH;
        let batch = StoredBatch { raw: raw.clone(), processed: processed.clone(), ..batch(3, "1-2", at) };
        runtime.block_on(database.insert(&batch));
        let sql = "SELECT toString(tenant) AS tenant, toString(source) AS source, id, toString(type) AS event_type, customer,
                toUnixTimestamp64Micro(time) AS time_us, toUnixTimestamp64Micro(received_at) AS received_at_us, properties,
                identity, payload_hash, kafka_offset AS offset FROM raw_events
            WHERE toUnixTimestamp64Micro(stored_at) = ? AND kafka_topic = 'events' AND kafka_partition = 3";
        let read: Vec<ReadRaw> = runtime.block_on(database.store.client.query(sql).bind(at).fetch_all()).unwrap();
        let expected = raw.into_iter().map(|row| {
            let RawEventRow { tenant, project: _, source, id, event_type, customer, .. } = row;
            let RawEventRow { time_us, received_at_us, properties, identity, payload_hash, offset, .. } = row;
            ReadRaw { tenant, source, id, event_type, customer, time_us, received_at_us, properties, identity, payload_hash, offset }
        });
        prop_assert_eq!(sorted(read), sorted(expected.collect()));
        let sql = "SELECT customer, toString(meter) AS meter, reinterpretAsInt128(quantity) AS units, unique_value, prices,
                group_values, id, toUnixTimestamp64Micro(time) AS time_us, identity, kafka_offset AS offset
            FROM processed_events WHERE toUnixTimestamp64Micro(stored_at) = ?";
        let read: Vec<ReadProcessed> = runtime.block_on(database.store.client.query(sql).bind(at).fetch_all()).unwrap();
        let expected = processed.into_iter().map(|row| {
            let ProcessedEventRow { customer, meter, unique_value, prices, group_values, id, .. } = row;
            let (units, time_us, identity, offset) = (row.quantity.units(), row.time_us, row.identity, row.offset);
            ReadProcessed { customer, meter, units, unique_value, prices, group_values, id, time_us, identity, offset }
        });
        prop_assert_eq!(sorted(read), sorted(expected.collect()));
        Ok(())
    });
    runtime.block_on(database.drop());
    outcome.unwrap();
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

#[tokio::test]
async fn quarantine_conflicts_and_releases_are_stored_and_read_back() {
    let database = Database::make().await;
    let quarantined = |meter: &str, offset| QuarantinedRow {
        tenant: "acme".into(),
        reason: "unknown_meter".into(),
        detail: "no meter".into(),
        meter: meter.into(),
        event_type: "call".into(),
        source: "key".into(),
        id: "x".into(),
        payload: b"\xff\x00raw".to_vec(),
        offset,
    };
    let conflict = ConflictRow {
        tenant: "acme".into(),
        source: "key".into(),
        id: "x".into(),
        payload: b"{}".to_vec(),
        payload_hash: 1,
        first_payload_hash: 2,
        first_partition: 3,
        first_offset: 4,
        offset: 9,
    };
    let rows = vec![quarantined("", 7), quarantined("", 8), quarantined("m", 9)];
    database
        .insert(&StoredBatch { quarantined: rows, conflicts: vec![conflict], ..batch(3, "7-9", MARCH) })
        .await;
    assert_eq!(database.count("event_conflicts").await, 1);

    let page = database.store.quarantine(&scope("acme"), None, 2).await.unwrap();
    assert_eq!(page.events.iter().map(|e| e.kafka_offset).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(page.events[0].payload, b"\xff\x00raw");
    let rest = database.store.quarantine(&scope("acme"), page.next.as_ref(), 2).await.unwrap();
    assert_eq!((rest.events.len(), rest.next), (1, None));
    assert_eq!(database.store.quarantine(&scope("globex"), None, 9).await.unwrap().events, []);

    let query = |types: &[&str], through| ReleaseQuery {
        topic: "events".into(),
        partition: 3,
        event_types: types.iter().map(|t| t.to_string()).collect(),
        after: (0, 0, String::new()),
        through,
        released_before_us: MARCH + 10,
        limit: 9,
    };
    assert_eq!(database.store.release_candidates(&query(&["it's", "call"], None)).await.unwrap().len(), 3);
    assert_eq!(database.store.release_candidates(&query(&["other"], None)).await.unwrap().len(), 0);
    let through = Some((MARCH, 8, String::new()));
    assert_eq!(database.store.release_candidates(&query(&["call"], through.clone())).await.unwrap().len(), 2);

    let release =
        ReleaseRow { quarantined_at_us: MARCH, meter: String::new(), outcome: "processed".into(), offset: 7 };
    database.insert(&StoredBatch { releases: vec![release], ..batch(3, "release", MARCH + 10) }).await;
    let again = database.store.release_candidates(&query(&["call"], through)).await.unwrap();
    assert_eq!(again.len(), 2, "the release itself, made again, sees what it saw the first time");
    let mut later = query(&["call"], None);
    later.released_before_us = MARCH + 11;
    assert_eq!(database.store.release_candidates(&later).await.unwrap().len(), 2);
    let outstanding = database.store.quarantine(&scope("acme"), None, 9).await.unwrap();
    assert_eq!(outstanding.events.iter().map(|e| e.kafka_offset).collect::<Vec<_>>(), [8, 9]);
    database.drop().await;
}

// ---- repetition

#[tokio::test]
async fn a_repeated_insert_changes_neither_tables_nor_roll_ups() {
    let database = Database::make().await;
    let rows = (0..500).map(|n| processed("c", MARCH + n * 1_000, 3, n)).collect();
    let first = StoredBatch { processed: rows, raw: vec![raw("a", MARCH, 1)], ..batch(3, "0-499", MARCH) };
    database.insert(&first).await;
    database.insert(&first).await;
    // Other rows under the same token are the same batch all the same: the token decides.
    let other = StoredBatch { processed: vec![processed("c", MARCH, 9, 7)], ..batch(3, "0-499", MARCH) };
    database.insert(&other).await;
    assert_eq!((database.count("processed_events").await, database.count("raw_events").await), (500, 1));
    let events: u64 =
        database.store.client.query("SELECT sum(events) FROM usage_by_minute").fetch_one().await.unwrap();
    assert_eq!(events, 500);
    // The same range stored at another instant is of another log: it is not dropped.
    database
        .insert(&StoredBatch { token: Token { stored_at_us: MARCH + 1, ..other.token.clone() }, ..other })
        .await;
    assert_eq!(database.count("processed_events").await, 501);
    database.drop().await;
}

#[tokio::test]
async fn an_insert_after_its_deadline_is_refused_and_stores_nothing() {
    let database = Database::make().await;
    let rows = StoredBatch { raw: vec![raw("a", MARCH, 1)], ..batch(3, "1-1", MARCH) };
    let insert = &rows.encode()[0];
    let outcome = database.store.insert(insert, Deadline::passed()).await;
    assert!(matches!(outcome, Err(UsageStoreError::TooLate { table: "raw_events" })), "{outcome:?}");
    assert_eq!(database.count("raw_events").await, 0);
    database.insert(&rows).await;
    assert_eq!(database.count("raw_events").await, 1);
    database.drop().await;
}

// ---- questions

#[derive(Debug, Clone)]
struct Fact {
    customer: u8,
    time_us: i64,
    stored_us: i64,
    units: i128,
    unique: Option<u8>,
}

prop_compose! {
    fn facts()(customer in 0..3u8, second in 0..7_200i64, micro in 0..3i64, stored in (0..4i64, 0..4i64).prop_map(|(hour, part)| hour * 3_600 + part * 1_111), units in 0..10i128.pow(24),
        unique in prop::option::of(0..4u8)) -> Fact {
        Fact { customer, time_us: MARCH + second * 1_000_000 + micro, stored_us: MARCH + stored * 1_000_000, units, unique }
    }
}

prop_compose! {
    fn keys()(customer in 0..4u8, start in -60..7_300i64, length in 0..7_300i64, aligned: bool) -> PeriodKey {
        let unit = if aligned { MINUTE } else { 1_000_000 };
        let start_us = MARCH + start * 1_000_000 / unit * unit;
        PeriodKey { tenant: "acme".into(), customer: format!("it's {customer}"), meter: "api-calls".into(), start_us,
            end_us: start_us + length * 1_000_000 / unit * unit }
    }
}

fn expected(
    facts: &[Fact],
    key: &PeriodKey,
    cutoff: Option<i64>,
) -> (u64, i128, Option<i128>, Option<i128>, u64) {
    let inside: Vec<&Fact> = facts
        .iter()
        .filter(|f| format!("it's {}", f.customer) == key.customer)
        .filter(|f| {
            key.start_us <= f.time_us && f.time_us < key.end_us && cutoff.is_none_or(|at| f.stored_us < at)
        })
        .collect();
    let unique: BTreeSet<u8> = inside.iter().filter_map(|f| f.unique).collect();
    let max = inside.iter().map(|f| f.units).max();
    let min = inside.iter().map(|f| f.units).min();
    (inside.len() as u64, inside.iter().map(|f| f.units).sum(), max, min, unique.len() as u64)
}

#[test]
fn usage_of_periods_is_what_the_events_say_live_and_as_of_any_cutoff() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cutoff = prop::option::of((0..10_900i64).prop_map(|second| MARCH + second * 1_000_000));
    let input = (prop::collection::vec(facts(), 1..60), prop::collection::vec(keys(), 1..8), cutoff);
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let (database, case) = (runtime.block_on(Database::make()), AtomicU32::new(0));
    let outcome = runner.run(&input, |(facts, keys, cutoff)| {
        // A tenant for each case: its usage is its own, and the cases before it are there to be kept apart.
        let tenant = format!("case-{}", case.fetch_add(1, Ordering::Relaxed));
        let keys: Vec<PeriodKey> =
            keys.into_iter().map(|key| PeriodKey { tenant: tenant.clone(), ..key }).collect();
        runtime.block_on(async {
            let mut by_stored: BTreeMap<i64, Vec<ProcessedEventRow>> = BTreeMap::new();
            for (offset, fact) in facts.iter().enumerate() {
                let row =
                    processed(&format!("it's {}", fact.customer), fact.time_us, fact.units, offset as i64);
                let unique_value = fact.unique.map(|u| u.to_string());
                let row = ProcessedEventRow { tenant: tenant.clone(), unique_value, ..row };
                by_stored.entry(fact.stored_us).or_default().push(row);
            }
            for (stored_us, rows) in by_stored {
                database.insert(&StoredBatch { processed: rows, ..batch(1, &tenant, stored_us) }).await;
            }
            let query = PeriodQuery { keys: keys.clone(), stored_before_us: cutoff };
            let totals = database.store.period_usage(&query).await.unwrap();
            for (key, total) in keys.iter().zip(totals) {
                let figures = total.figures;
                let found = (
                    figures.events,
                    figures.sum.unwrap().units(),
                    figures.max.map(Decimal::units),
                    figures.min.map(Decimal::units),
                    figures.unique,
                );
                prop_assert_eq!(found, expected(&facts, key, cutoff), "{:?} cutoff {:?}", key, cutoff);
            }
            Ok(())
        })
    });
    runtime.block_on(database.drop());
    outcome.unwrap();
}

#[tokio::test]
async fn a_sum_beyond_38_digits_is_named_and_never_wraps() {
    let database = Database::make().await;
    let most = Decimal::MAX.units();
    let rows = (0..3).map(|n| processed("c", MARCH, most, n)).collect();
    database.insert(&StoredBatch { processed: rows, ..batch(1, "0-2", MARCH) }).await;
    let key = PeriodKey {
        tenant: "acme".into(),
        customer: "c".into(),
        meter: "api-calls".into(),
        start_us: MARCH,
        end_us: MARCH + HOUR,
    };
    for cutoff in [None, Some(MARCH + 1)] {
        let query = PeriodQuery { keys: vec![key.clone()], stored_before_us: cutoff };
        let total = database.store.period_usage(&query).await.unwrap().remove(0).figures;
        assert_eq!((total.events, total.sum, total.max), (3, None, Some(Decimal::MAX)));
    }
    database.drop().await;
}

#[tokio::test]
async fn a_tenant_sees_its_own_usage_only_even_when_a_query_forgets_to_say_so() {
    let database = Database::make().await;
    let other = ProcessedEventRow { tenant: "globex".into(), ..processed("c", MARCH, 5, 2) };
    let rows = StoredBatch {
        processed: vec![processed("c", MARCH, 3, 1), other],
        raw: vec![raw("a", MARCH, 1)],
        ..batch(1, "1-2", MARCH)
    };
    database.insert(&rows).await;
    for (tenant, count) in [("acme", 1u64), ("globex", 1), ("initech", 0)] {
        for table in ["processed_events", "usage_by_minute"] {
            let forgetful = format!("SELECT count() FROM {table}");
            let seen: u64 =
                scope(tenant).client(&database.store.client).query(&forgetful).fetch_one().await.unwrap();
            assert_eq!(seen, count, "{tenant} {table}");
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn a_series_has_a_point_for_each_window_with_usage() {
    let database = Database::make().await;
    let rows = [0, 10, MINUTE, HOUR, 26 * HOUR]
        .iter()
        .zip(0..)
        .map(|(&at, n)| processed("c", MARCH + at, 10i128.pow(18), n));
    database.insert(&StoredBatch { processed: rows.collect(), ..batch(1, "0-4", MARCH) }).await;
    let series = async |window, customer: &str| {
        let query = SeriesQuery {
            meter: "api-calls".into(),
            spec: plain_meter(AggregationKind::Count, ResetPolicy::EachPeriod),
            customer: customer.to_owned(),
            window,
            start_us: MARCH,
            end_us: MARCH + 48 * HOUR,
        };
        let points = database.store.usage_series(&scope("acme"), &query).await.unwrap();
        points.into_iter().map(|p| ((p.start_us - MARCH) / MINUTE, p.events)).collect::<Vec<_>>()
    };
    assert_eq!(series(Window::Minute, "c").await, [(0, 2), (1, 1), (60, 1), (26 * 60, 1)]);
    assert_eq!(series(Window::Hour, "c").await, [(0, 3), (60, 1), (26 * 60, 1)]);
    assert_eq!(series(Window::Day, "c").await, [(0, 4), (24 * 60, 1)]);
    assert_eq!(series(Window::Month, "c").await, [(0, 5)]);
    assert_eq!(series(Window::Day, "nobody").await, []);
    database.drop().await;
}

#[tokio::test]
async fn the_events_of_a_line_come_page_by_page_and_as_of_its_cutoff() {
    let database = Database::make().await;
    let rows = (0..25).map(|n| processed("c", MARCH + n / 3, 7, n)).collect();
    let raws = (0..25)
        .map(|n| RawEventRow { properties: format!("{{\"n\":{n}}}"), ..raw("x", MARCH + n / 3, n) })
        .collect();
    database.insert(&StoredBatch { processed: rows, raw: raws, ..batch(1, "0-24", MARCH + 9) }).await;
    database
        .insert(&StoredBatch {
            processed: vec![processed("c", MARCH, 7, 99)],
            ..batch(1, "99-99", MARCH + 10)
        })
        .await;
    let query = LineQuery {
        meter: "api-calls".into(),
        customer: "c".into(),
        start_us: MARCH,
        end_us: MARCH + 8,
        stored_from_us: None,
        stored_before_us: Some(MARCH + 10),
    };
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = database.store.line_events(&scope("acme"), &query, after, 10).await.unwrap();
        assert!(page.events.iter().all(|e| e.properties == format!("{{\"n\":{}}}", e.kafka_offset)));
        seen.extend(page.events.into_iter().map(|e| e.kafka_offset));
        pages += 1;
        after = page.next.map(|cursor| cursor.to_string().parse().unwrap());
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), ((0..24).collect(), 3));
    // What was stored from the cutoff on is another line's.
    let later = LineQuery { stored_from_us: query.stored_before_us, stored_before_us: None, ..query.clone() };
    let page = database.store.line_events(&scope("acme"), &later, None, 10).await.unwrap();
    assert_eq!(page.events.iter().map(|e| e.kafka_offset).collect::<Vec<_>>(), [99]);
    assert_eq!(database.store.line_events(&scope("globex"), &query, None, 10).await.unwrap().events, []);
    database.drop().await;
}

#[tokio::test]
async fn roll_ups_prove_themselves_and_a_doubled_row_is_seen() {
    let database = Database::make().await;
    let rows: Vec<_> = (0..40).map(|n| processed("c", MARCH + n * MINUTE, 10i128.pow(18) * 2, n)).collect();
    let raws = (0..40).map(|n| raw(&format!("id-{n}"), MARCH + n * MINUTE, n)).collect();
    database.insert(&StoredBatch { processed: rows.clone(), raw: raws, ..batch(1, "0-39", MARCH) }).await;
    let prove =
        async || database.store.prove(&scope("acme"), "api-calls", "c", MARCH, MARCH + HOUR).await.unwrap();
    let proof = prove().await;
    assert!(proof.agrees(), "{proof:?}");
    assert_eq!((proof.raw.events, proof.raw.sum.as_str()), (40, "80"));
    database.insert(&StoredBatch { processed: vec![rows[0].clone()], ..batch(1, "again", MARCH) }).await;
    let proof = prove().await;
    assert!(!proof.agrees() && proof.doubled == 1, "{proof:?}");
    let unbacked = processed("other", MARCH, 7, 99);
    database.insert(&StoredBatch { processed: vec![unbacked], ..batch(1, "unbacked", MARCH) }).await;
    let proof =
        database.store.prove(&scope("acme"), "api-calls", "other", MARCH, MARCH + HOUR).await.unwrap();
    assert!(!proof.agrees() && proof.orphaned == 1, "{proof:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_consumer_finds_the_ids_that_are_stored() {
    let database = Database::make().await;
    database
        .insert(&StoredBatch { raw: vec![raw("a", MARCH, 1), raw("b", MARCH, 2)], ..batch(3, "1-2", MARCH) })
        .await;
    database.insert(&StoredBatch { raw: vec![raw("c", MARCH, 3)], ..batch(3, "3-3", MARCH + 7) }).await;
    database.insert(&StoredBatch { raw: vec![raw("d", MARCH, 1)], ..batch(4, "1-1", MARCH + 8) }).await;
    let known = async |partition, after, before| {
        let mut offsets = Vec::new();
        let each = |piece: &[crate::KnownEvent]| {
            offsets.extend(piece.iter().map(|k| (k.partition, k.offset)));
            Ok(())
        };
        database.store.known_events("events", partition, after, before, each).await.unwrap();
        sorted(offsets)
    };
    assert_eq!(known(Some(3), 0, MARCH + 100).await, [(3, 1), (3, 2), (3, 3)]);
    assert_eq!(known(Some(3), MARCH, MARCH + 100).await, [(3, 3)]);
    assert_eq!(known(Some(3), 0, MARCH + 7).await, [(3, 1), (3, 2)]);
    assert_eq!(known(None, 0, i64::MAX).await, [(3, 1), (3, 2), (3, 3), (4, 1)]);
    assert_eq!(database.store.partition_stored("events", 3).await.unwrap().stored_at_us, MARCH + 7);
    assert_eq!(database.store.partition_stored("events", 9).await.unwrap().stored_at_us, 0);

    database.store.keep_meters("h1", "[\"it's\"]").await.unwrap();
    database.store.keep_meters("h1", "[\"it's\"]").await.unwrap();
    assert_eq!(database.store.kept_meters("h1").await.unwrap().as_deref(), Some("[\"it's\"]"));
    assert_eq!(database.store.kept_meters("h2").await.unwrap(), None);
    assert_eq!(database.count("meter_snapshots").await, 1);
    database.drop().await;
}

#[tokio::test]
async fn late_usage_is_what_was_stored_since_and_is_of_before() {
    let database = Database::make().await;
    let early =
        |customer: &str, minutes: i64, offset| processed(customer, MARCH + minutes * MINUTE, 1, offset);
    // Looked at until within an hour; the next period begins 30 minutes after March.
    let (looked, start) = (MARCH + HOUR + 7 * MINUTE + 11, MARCH + 30 * MINUTE);
    let rows = vec![early("seen", 5, 1), early("late", 6, 2)];
    database.insert(&StoredBatch { processed: rows, ..batch(1, "1-2", looked - 1) }).await;
    let rows = vec![early("at-once", 4, 7)];
    database.insert(&StoredBatch { processed: rows, ..batch(1, "7-7", looked) }).await;
    let rows = vec![early("late", 9, 3), early("late", 7, 4), early("in-time", 31, 5)];
    database.insert(&StoredBatch { processed: rows, ..batch(1, "3-5", looked + HOUR) }).await;
    let rows = vec![early("later", 9, 6)];
    database.insert(&StoredBatch { processed: rows, ..batch(1, "6-6", looked + 3 * HOUR) }).await;
    let key = |tenant: &str, customer: &str| LateUsageKey {
        tenant: tenant.into(),
        customer: customer.into(),
        period_start_us: start,
        stored_from_us: looked,
    };
    let keys = [
        key("acme", "seen"),
        key("acme", "late"),
        key("acme", "in-time"),
        key("acme", "later"),
        key("globex", "late"),
        // This one's earlier periods end before.
        LateUsageKey { period_start_us: MARCH + 7 * MINUTE, ..key("acme", "late") },
        key("acme", "at-once"),
        LateUsageKey { stored_from_us: looked + 1, ..key("acme", "at-once") },
    ];
    let found = database.store.late_usage(&keys, looked + 2 * HOUR).await.unwrap();
    let at_once = Some(MARCH + 4 * MINUTE);
    assert_eq!(found, [None, Some(MARCH + 7 * MINUTE), None, None, None, None, at_once, None]);
    let found = database.store.late_usage(&keys, looked + 4 * HOUR).await.unwrap();
    assert_eq!(found[3], Some(MARCH + 9 * MINUTE));
    assert_eq!(database.store.late_usage(&[], MARCH).await.unwrap(), []);
    database.drop().await;
}
