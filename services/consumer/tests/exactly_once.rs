//! Real Kafka, ClickHouse and Postgres; the consumer dies, is frozen, loses stores and replies, and every event counts once.
//!
//! `e2e/stores/up postgres clickhouse kafka; eval "$(e2e/stores/env)"`
//! `cargo test -p meridian-consumer --features stores-tests`
#![cfg(feature = "stores-tests")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy;
#[path = "../../../e2e/stores/tls_front.rs"]
mod tls;
mod world;

use std::{process::Command, time::Duration};

use serde_json::json;
use world::{MARCH, MONTH, World, variable};

const SOON: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn events_are_stored_counted_and_seen_within_two_seconds() {
    let world = World::make("visible").await;
    let mut consumer = world.consumer().start(1);
    world.produce(&world.calls(0..2_000)).await;
    world.reaches("raw_events", 2_000, SOON).await;
    world.is_exact(2_000).await;
    // Idle now: a single event is there at once.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    world.produce(&world.calls(2_000..2_001)).await;
    world.reaches("raw_events", 2_001, Duration::from_secs(2)).await;
    world.is_exact(2_001).await;
    // And the pipeline says so: progress passes now.
    world.is_processed_through_now(Duration::from_secs(5)).await;
    assert_eq!(consumer.terminate().await, Some(0), "a clean stop");
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_conflicts_and_poison_are_told_apart_and_block_nothing() {
    let world = World::make("mixed").await;
    let _consumer = world.consumer().start(1);
    let calls = world.calls(0..300);
    world.produce(&calls).await;
    world.produce(&calls[..100]).await;
    let other_time: Vec<_> = (0..50)
        .map(|id| world.event(format!("id-{id}"), "call", MARCH + MONTH + i64::from(id), json!({"bytes": 3})))
        .collect();
    world.produce(&other_time).await;
    let poison = [
        b"\xff\xfe".to_vec(),
        b"{}".to_vec(),
        b"null".to_vec(),
        world.event("p1", "call", MARCH, json!({"bytes": "many"})),
        world.event("p2", "nobody-counts-this", MARCH, json!({})),
        world.event("p3", "call", -5, json!({"bytes": 1})),
    ];
    world.produce(&poison).await;
    world.reaches("event_conflicts", 50, SOON).await;
    world.reaches("quarantined_events", 6, SOON).await;
    world.reaches("raw_events", 303, SOON).await;
    let calls: u64 =
        world.ask("SELECT sum(events) FROM usage_by_minute WHERE endsWith(meter, '.calls')").await;
    assert_eq!(calls, 301, "p1 is a call all the same; only its bytes cannot be summed");
    let bytes: String = world
        .ask("SELECT toString(sum(quantity_sum)) FROM usage_by_minute WHERE endsWith(meter, '.bytes')")
        .await;
    assert_eq!(bytes, "900");
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_step_ends_in_the_same_rows() {
    let world = World::make("crash").await;
    let points = [
        "after-intent",
        "after-insert-quarantined_events",
        "after-insert-event_conflicts",
        "after-insert-processed_events",
        "after-insert-raw_events",
        "after-mark",
        "after-commit",
    ];
    for (round, point) in (1u32..).zip(points) {
        let from = (round - 1) * 200;
        let mut crashing = world.consumer().crashing_at(point).start(1);
        world.produce(&world.calls(from..from + 200)).await;
        // Some of the last round again, some of this round with another time, and some poison.
        world.produce(&world.calls(from.saturating_sub(50)..from + 20)).await;
        let conflicts: Vec<_> = (from..from + 10)
            .map(|id| world.event(format!("id-{id}"), "call", MARCH + MONTH, json!({"bytes": 3})))
            .collect();
        world.produce(&conflicts).await;
        world.produce(&[format!("poison {round}").into_bytes()]).await;
        assert_eq!(crashing.ended(SOON).await, None, "{point}: killed by the signal of the crash");
        assert!(crashing.said(&format!("crash point {point}")), "{point}");
        let mut consumer = world.consumer().start(1);
        world.reaches("raw_events", u64::from(from) + 200, SOON).await;
        world.reaches("event_conflicts", u64::from(round) * 10, SOON).await;
        world.reaches("quarantined_events", u64::from(round), SOON).await;
        world.is_exact(u64::from(from) + 200).await;
        consumer.kill();
        println!("{point}: exact");
    }
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_under_load_it_counts_every_event_once() {
    let world = World::make("kills").await;
    let total = 6_000u32;
    let load = async {
        for from in (0..total).step_by(200) {
            world.produce(&world.calls(from..from + 200)).await;
            // A third again, as clients that time out do.
            world.produce(&world.calls(from.saturating_sub(100)..from)).await;
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    };
    let kills = async {
        for round in 0..4u64 {
            let mut consumer = world.consumer().start(1);
            tokio::time::sleep(Duration::from_millis(7_300 + 413 * round)).await;
            consumer.kill();
        }
    };
    tokio::join!(load, kills);
    let _consumer = world.consumer().start(1);
    world.reaches("raw_events", u64::from(total), SOON).await;
    world.is_exact(u64::from(total)).await;
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_join_and_leave_double_and_lose_nothing() {
    let world = World::make("members").await;
    let mut produced = 0;
    let mut produce = async || {
        world.produce(&world.calls(produced..produced + 300)).await;
        produced += 300;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    };
    let mut first = world.consumer().start(1);
    produce().await;
    let mut second = world.consumer().start(2);
    produce().await;
    produce().await;
    assert_eq!(first.terminate().await, Some(0));
    produce().await;
    let _third = world.consumer().start(3);
    let _first_again = world.consumer().start(1);
    produce().await;
    produce().await;
    second.kill();
    produce().await;
    world.reaches("raw_events", 2_100, SOON).await;
    world.is_exact(2_100).await;
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_member_that_wakes_up_writes_nothing_twice() {
    let world = World::make("zombie").await;
    let frozen = world.consumer().start(1);
    world.produce(&world.calls(0..500)).await;
    world.reaches("raw_events", 500, SOON).await;
    // Frozen with a batch before it.
    frozen.signal(libc::SIGSTOP);
    world.produce(&world.calls(500..1_500)).await;
    let _other = world.consumer().start(2);
    world.reaches("raw_events", 1_500, SOON).await;
    frozen.signal(libc::SIGCONT);
    world.produce(&world.calls(1_500..2_500)).await;
    world.reaches("raw_events", 2_500, SOON).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.is_exact(2_500).await;
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_stores_nothing_twice() {
    let world = World::make("reply").await;
    let proxy = proxy::Proxy::start(&variable("MERIDIAN_CLICKHOUSE_URL")).await;
    let _consumer = world.consumer().set("MERIDIAN_CLICKHOUSE_URL", proxy.url()).start(1);
    for round in 0..4 {
        proxy.lose_replies_to_inserts(3);
        world.produce(&world.calls(round * 300..(round + 1) * 300)).await;
        world.reaches("raw_events", u64::from(round + 1) * 300, SOON).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.is_exact(1_200).await;
    assert!(proxy.lost() >= 9, "only {} replies were lost", proxy.lost());
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_over_https_needs_a_certificate_that_is_trusted() {
    let world = World::make("https").await;
    let front = tls::Front::of(&variable("MERIDIAN_CLICKHOUSE_URL")).await;
    let url = format!("https://localhost:{}", front.port);
    let stranger = world.consumer().set("MERIDIAN_CLICKHOUSE_URL", &url).start(1);
    world.produce(&world.calls(0..500)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.count("raw_events").await, 0, "stored through a certificate that nobody vouches for");
    assert!(stranger.said("UnknownIssuer"), "the log names the reason");
    drop(stranger);
    let _consumer = world
        .consumer()
        .set("MERIDIAN_CLICKHOUSE_URL", &url)
        .set("SSL_CERT_FILE", front.ca.display())
        .start(1);
    world.reaches("raw_events", 500, SOON).await;
    world.is_exact(500).await;
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_killed_and_away_is_waited_for_in_bounded_memory() {
    let world = World::make("away").await;
    let consumer = world.consumer().set("MERIDIAN_CONSUMER_BUFFER_MIB", 4).start(1);
    world.produce(&world.calls(0..1_000)).await;
    world.reaches("raw_events", 1_000, SOON).await;
    stores("stop", &["-9", "clickhouse"]);
    // 60,000 events of some 250 bytes: several times the buffer.
    world.produce(&world.calls(1_000..30_000)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before = consumer.memory_kib();
    world.produce(&world.calls(30_000..60_000)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = consumer.memory_kib();
    stores("start", &["clickhouse"]);
    assert!(
        after < before + 24 * 1_024,
        "memory grew from {before} to {after} KiB while ClickHouse was away"
    );
    world.reaches("raw_events", 60_000, 2 * SOON).await;
    world.is_exact(60_000).await;
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_killed_and_away_is_waited_for_and_nothing_counts_twice() {
    let world = World::make("nokafka").await;
    let mut consumer = world.consumer().start(1);
    world.produce(&world.calls(0..1_000)).await;
    world.reaches("raw_events", 1_000, SOON).await;
    world.produce(&world.calls(1_000..3_000)).await;
    stores("stop", &["-9", "kafka"]);
    tokio::time::sleep(Duration::from_secs(8)).await;
    stores("start", &["kafka"]);
    world.produce(&world.calls(2_500..4_000)).await;
    world.reaches("raw_events", 4_000, 2 * SOON).await;
    world.is_exact(4_000).await;
    assert_eq!(consumer.terminate().await, Some(0));
    world.drop().await;
}

fn stores(command: &str, arguments: &[&str]) {
    let script = format!("{}/../../e2e/stores/{command}", env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(&script).args(arguments).status().expect("the script of the stores");
    assert!(status.success(), "{script} {arguments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_filled_again_and_knows_every_id() {
    let world = World::make("index").await;
    let mut consumer = world.consumer().start(1);
    world.produce(&world.calls(0..1_000)).await;
    world.reaches("raw_events", 1_000, SOON).await;
    assert_eq!(consumer.terminate().await, Some(0));
    std::fs::remove_dir_all(world.index_directory(1)).unwrap();
    let consumer = world.consumer().start(1);
    world.produce(&world.calls(0..1_001)).await;
    world.reaches("raw_events", 1_001, SOON).await;
    world.is_exact(1_001).await;
    assert!(consumer.said("dedupe index filled from ClickHouse"));
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantined_events_count_once_when_their_meter_is_made() {
    let world = World::make("release").await;
    let logins = |ids: std::ops::Range<u32>| -> Vec<Vec<u8>> {
        ids.map(|id| {
            world.event(format!("login-{id}"), "login", MARCH + i64::from(id), json!({"user": id % 7}))
        })
        .collect()
    };
    let mut consumer = world.consumer().start(1);
    world.produce(&logins(0..500)).await;
    world.reaches("quarantined_events", 500, SOON).await;
    assert_eq!(consumer.terminate().await, Some(0));
    // The release itself dies in its middle, and is finished by the next.
    for point in ["after-intent", "after-insert-processed_events", "after-insert-quarantine_releases"] {
        let mut crashing = world.consumer().crashing_at(point).start(1);
        let meter = format!("seats-{}", point.len());
        if point == "after-intent" {
            world
                .put_meter(
                    &meter,
                    json!({"eventType": "login", "aggregation": "UniqueCount", "valueProperty": "user"}),
                )
                .await;
        }
        crashing.ended(SOON).await;
    }
    let _consumer = world.consumer().start(1);
    world.reaches("quarantine_releases", 500, SOON).await;
    world.reaches("processed_events", 500, SOON).await;
    world.produce(&logins(0..510)).await;
    world.reaches("processed_events", 510, SOON).await;
    // Raw rows are the last of a batch: once they are there, so are the roll-ups.
    world.reaches("raw_events", 510, SOON).await;
    let (events, users): (u64, u64) =
        world.ask("SELECT sum(events), uniqExactMerge(unique_values) FROM usage_by_minute").await;
    assert_eq!((events, users), (510, 7));
    world.drop().await;
}

/// The second meter's past is 33,000 events: two pieces in each partition. It is begun, and each piece is counted, by
/// processes that die at every step of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_meter_made_later_counts_its_past_once() {
    let world = World::make("past").await;
    let mut consumer = world.consumer().start(1);
    world.produce(&world.calls(0..33_000)).await;
    world.reaches("raw_events", 33_000, SOON).await;
    assert_eq!(consumer.terminate().await, Some(0));
    let spec = json!({"eventType": "call", "aggregation": "Max", "valueProperty": "bytes"});
    world.put_meter("largest", spec.clone()).await;
    let points = [
        "after-intent",
        "after-insert-meter_backfills",
        "after-commit",
        "after-insert-processed_events",
        "after-insert-meter_backfills",
        "after-mark",
    ];
    for point in points {
        let mut crashing = world.consumer().crashing_at(point).start(1);
        assert_eq!(crashing.ended(SOON).await, None, "{point}: killed by the signal of the crash");
        assert!(crashing.said(&format!("crash point {point}")), "{point}");
    }
    let _consumer = world.consumer().start(1);
    // Events that come meanwhile are counted by their own batches, and copies of old ones by nothing.
    world.produce(&world.calls(32_900..33_100)).await;
    world.reaches("processed_events", 3 * 33_100, SOON).await;
    world.reaches("raw_events", 33_100, SOON).await;
    world.is_exact(33_100).await;
    world.counts_all_that_was_sent("largest", &spec, 33_100).await;
    assert_eq!(world.count("quarantined_events").await, 0);
    world.drop().await;
}

/// The gate of the month's end: what is called processed has the past of every meter that was made before.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_called_processed_before_a_new_meters_past_is_counted() {
    let world = World::make("gate").await;
    let _consumer = world.consumer().start(1);
    world.produce(&world.calls(0..40_000)).await;
    world.reaches("raw_events", 40_000, SOON).await;
    for round in 1..=3 {
        let (name, spec) = (format!("late-{round}"), json!({"eventType": "call", "aggregation": "Count"}));
        world.put_meter(&name, spec.clone()).await;
        world.is_processed_through_now(SOON).await;
        world.counts_all_that_was_sent(&name, &spec, 40_000).await;
    }
    world.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meters_past_and_a_release_from_quarantine_meet_in_no_event() {
    let world = World::make("meet").await;
    let logins = |ids: std::ops::Range<u32>| -> Vec<Vec<u8>> {
        ids.map(|id| {
            world.event(format!("login-{id}"), "login", MARCH + i64::from(id), json!({"user": id % 7}))
        })
        .collect()
    };
    let count = json!({"eventType": "login", "aggregation": "Count"});
    let mut consumer = world.consumer().start(1);
    // No meter: quarantined. The first one: released. The second: the released ones are its past.
    world.produce(&logins(0..300)).await;
    world.reaches("quarantined_events", 300, SOON).await;
    world.put_meter("first", count.clone()).await;
    world.is_processed_through_now(SOON).await;
    world.counts_all_that_was_sent("first", &count, 300).await;
    // Killed right after both, the next two are made while nobody looks.
    consumer.kill();
    world.put_meter("second", count.clone()).await;
    let users = json!({"eventType": "login", "aggregation": "UniqueCount", "valueProperty": "user",
        "filters": [{"property": "user", "operator": "NotEq", "values": ["3"]}]});
    world.put_meter("third", users.clone()).await;
    world.produce(&logins(200..500)).await;
    let mut consumer = world.consumer().start(2);
    world.is_processed_through_now(SOON).await;
    for (meter, spec) in [("first", &count), ("second", &count)] {
        world.counts_all_that_was_sent(meter, spec, 500).await;
    }
    let but_one_in_seven = (0..500).filter(|id| id % 7 != 3).count() as u64;
    world.counts_all_that_was_sent("third", &users, but_one_in_seven).await;
    // An event that the new meter cannot use is quarantined for it alone.
    world
        .put_meter("sizes", json!({"eventType": "login", "aggregation": "Sum", "valueProperty": "size"}))
        .await;
    world.is_processed_through_now(SOON).await;
    let unusable: u64 =
        world.ask("SELECT count() FROM quarantined_events WHERE meter LIKE '%.sizes' AND reason != ''").await;
    assert_eq!(unusable, 500);
    assert_eq!(consumer.terminate().await, Some(0));
    world.drop().await;
}
