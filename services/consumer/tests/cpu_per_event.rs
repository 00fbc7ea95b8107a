//! A figure: the consumer's CPU for an event against ClickHouse's for the same rows, over one backlog.
//!
//! `e2e/stores/up postgres clickhouse kafka; eval "$(e2e/stores/env)"`
//! `cargo test -p meridian-consumer --features stores-tests --test cpu_per_event -- --ignored --nocapture`
//! `EVENTS=200000` is the default. Both figures come from one run on one machine: compare their ratio, not their size.
#![cfg(feature = "stores-tests")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::{Duration, Instant};

use world::World;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure, not a check"]
async fn cpu_of_an_event() {
    let events: u32 = std::env::var("EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let world = World::make("figure").await;
    for from in (0..events).step_by(20_000) {
        world.produce(&world.calls(from..events.min(from + 20_000))).await;
    }
    let clickhouse_before = clickhouse_cpu(&world).await;
    let begun = Instant::now();
    let mut consumer = world.consumer().set("MERIDIAN_LOG", "warn").start(1);
    world.reaches("raw_events", u64::from(events), Duration::from_secs(300)).await;
    let took = begun.elapsed().as_secs_f64();
    let consumer_cpu = consumer.cpu_seconds();
    let memory = consumer.memory_kib() / 1_024;
    let clickhouse_cpu = clickhouse_cpu(&world).await - clickhouse_before;
    assert_eq!(consumer.terminate().await, Some(0));
    world.is_exact(u64::from(events)).await;
    let index = world.index_bytes(1) / u64::from(events);
    let per_event = |seconds: f64| seconds * 1e6 / f64::from(events);
    println!("{events} events, 3 rows each (raw, 2 processed) and their roll-ups, in {took:.1} s");
    println!(
        "consumer    {:6.2} µs of CPU an event, {memory} MiB resident at the end",
        per_event(consumer_cpu)
    );
    println!(
        "ClickHouse  {:6.2} µs of CPU an event (inserts, roll-up, merges meanwhile)",
        per_event(clickhouse_cpu)
    );
    println!("dedupe index {index} bytes on disk an id");
    println!("ratio       {:6.2}", consumer_cpu / clickhouse_cpu);
    world.drop().await;
}

/// CPU that ClickHouse's threads used so far, in seconds.
async fn clickhouse_cpu(world: &World) -> f64 {
    let sql = "SELECT toUInt64(sum(value)) FROM system.events WHERE event IN ('UserTimeMicroseconds', 'SystemTimeMicroseconds')";
    world.ask::<u64>(sql).await as f64 / 1e6
}
