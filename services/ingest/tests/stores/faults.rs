//! Stores and ingest itself killed under load.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    client::{Ledger, Load, send},
    kafka,
    world::{World, key, until},
};

/// Every acknowledged event is in Kafka; says how often events are there twice.
fn assert_nothing_lost(world: &World, ledger: &Ledger) {
    let there = kafka::ids(&world.environment);
    let lost: BTreeSet<_> = ledger.acknowledged.iter().filter(|id| !there.contains_key(*id)).collect();
    let twice = there.values().filter(|times| **times > 1).count();
    eprintln!(
        "{} acknowledged, {} in Kafka, {twice} of them more than once, {} lost; failures: {:?}",
        ledger.acknowledged.len(),
        there.len(),
        lost.len(),
        ledger.failures.iter().collect::<BTreeSet<_>>()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(ledger.acknowledged.len() > 500, "the load was too small to mean anything");
}

async fn outbox_is_empty(world: &World) {
    until("the outbox is empty", Duration::from_secs(60), async || world.outbox_entries().await == 0).await;
}

fn millis(mut took: Vec<Duration>, quantile: f64) -> u128 {
    took.sort();
    took[((took.len() - 1) as f64 * quantile) as usize].as_millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_killed_under_load_acks_go_on_and_nothing_is_lost() {
    let world = World::start("kafka-killed").await;
    let load = Load::start(world.url("/v1/events"), key('a'));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let killed = Instant::now();
    world.kill_store("kafka");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let back = Instant::now();
    world.start_store("kafka");
    let ledger = load.ledger.clone();
    until("answers are no longer degraded", Duration::from_secs(30), async || {
        ledger.lock().unwrap().answers.last().is_some_and(|answer| !answer.degraded && answer.at > back)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ledger = load.stop().await;
    outbox_is_empty(&world).await;

    let before: Vec<_> = ledger.answers.iter().filter(|a| a.at < killed).map(|a| a.took).collect();
    // The breaker needs three failures of 1.5 s; after that the ack time is the buffer's.
    let settled = killed + Duration::from_secs(5);
    let during: Vec<_> = ledger.answers.iter().filter(|a| a.at > settled && a.at < back).collect();
    assert!(!before.is_empty() && !during.is_empty());
    assert!(during.iter().all(|a| a.degraded && a.durability == "[\"dynamodb\"]"), "{:?}", during[0]);
    let p99 = millis(during.iter().map(|a| a.took).collect(), 0.99);
    eprintln!(
        "ack ms p50/p99: before {}/{}, Kafka away {}/{p99}",
        millis(before.clone(), 0.5),
        millis(before, 0.99),
        millis(during.iter().map(|a| a.took).collect(), 0.5),
    );
    assert!(p99 < 750, "acks wait for a store that is known to be away: p99 {p99} ms");
    assert!(ledger.failures.is_empty(), "every request is answered 202: {:?}", ledger.failures);
    assert_nothing_lost(&world, &ledger);

    // The gate of billing: each shard says how far it is drained.
    let sources: Vec<String> = (0..4).map(|shard| format!("outbox/{shard}")).collect();
    let drained_us = meridian_ingest::drain::now_us();
    until("the outbox's progress passes the outage", Duration::from_secs(40), async || {
        world.records.processed_through(&sources).await.unwrap().is_some_and(|through| through > drained_us)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_stopped_gently_under_load_is_found_again() {
    let world = World::start("kafka-stopped").await;
    let load = Load::start(world.url("/v1/events"), key('a'));
    tokio::time::sleep(Duration::from_secs(3)).await;
    // While it shuts down it still answers, with no broker and no leader: a client must not take that for the last word.
    world.stop_store("kafka");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let back = Instant::now();
    world.start_store("kafka");
    let ledger = load.ledger.clone();
    until("answers are no longer degraded", Duration::from_secs(60), async || {
        ledger.lock().unwrap().answers.last().is_some_and(|answer| !answer.degraded && answer.at > back)
    })
    .await;
    let ledger = load.stop().await;
    outbox_is_empty(&world).await;
    assert!(ledger.failures.is_empty(), "every request is answered 202: {:?}", ledger.failures);
    assert_nothing_lost(&world, &ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_buffer_kafka_acknowledges_and_without_both_nothing_is() {
    let world = World::start("stores-away").await;
    let http = reqwest::Client::new();
    let url = world.url("/v1/events");
    let event = |id: &str| json!({"id": id, "type": "api-calls"});

    // A broker that has just started gives out no producer ids for a while: until then the buffer alone acknowledges.
    until("both stores acknowledge", Duration::from_secs(30), async || {
        let (status, body) = send(&http, &url, &key('a'), &event("both")).await.unwrap();
        assert_eq!(status, 202, "{body}");
        body["durability"] == json!(["dynamodb", "kafka"]) && body["degraded"] == json!(false)
    })
    .await;

    world.kill_store("buffer");
    for n in 0..5 {
        let (status, body) = send(&http, &url, &key('a'), &event(&format!("kafka-{n}"))).await.unwrap();
        assert_eq!(
            (status, &body["durability"], &body["degraded"]),
            (202, &json!(["kafka"]), &json!(true)),
            "{body}"
        );
    }

    world.kill_store("kafka");
    let mut slowest = Duration::ZERO;
    for n in 0..5 {
        let started = Instant::now();
        let answer =
            http.post(&url).bearer_auth(key('a')).json(&event(&format!("none-{n}"))).send().await.unwrap();
        slowest = slowest.max(started.elapsed());
        assert_eq!(answer.status().as_u16(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["code"], "not_stored");
    }
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    let ready = format!("http://{}/readyz", world.environment["MERIDIAN_ADMIN_LISTEN"]);
    let not_ready = async || reqwest::get(&ready).await.unwrap().status() == 503;
    until("ingest is not ready without any store", Duration::from_secs(10), not_ready).await;

    world.start_store("buffer");
    until("the buffer alone is enough to be ready", Duration::from_secs(15), async || {
        reqwest::get(&ready).await.unwrap().status() == 200
    })
    .await;
    let (status, body) = send(&http, &url, &key('a'), &event("buffer-only")).await.unwrap();
    assert_eq!((status, &body["durability"], &body["degraded"]), (202, &json!(["dynamodb"]), &json!(true)));
    assert!(world.outbox_entries().await > 0);

    world.start_store("kafka");
    outbox_is_empty(&world).await;
    let there = kafka::ids(&world.environment);
    for id in ["both", "kafka-0", "kafka-4", "buffer-only"] {
        assert!(there.contains_key(id), "{id} was acknowledged and is not in Kafka: {there:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_killed_at_any_moment_loses_nothing_acknowledged() {
    let mut world = World::start("ingest-killed").await;
    let mut acknowledged = Ledger::default();
    for round in 0..4u64 {
        // Half of the rounds without Kafka: then the outbox is what carries the events over the kill.
        let without_kafka = round % 2 == 1;
        if without_kafka {
            world.kill_store("kafka");
        }
        let load = Load::start(world.url("/v1/events"), key('a'));
        tokio::time::sleep(Duration::from_millis(2_500 + 370 * round)).await;
        world.kill_ingest();
        let ledger = load.stop().await;
        eprintln!("round {round}: {} acknowledged", ledger.acknowledged.len());
        // Rounds send the same ids again: that is what retries do.
        acknowledged.acknowledged.extend(ledger.acknowledged);
        if without_kafka {
            assert!(world.outbox_entries().await > 0);
            world.start_store("kafka");
        }
        world.run_ingest().await;
    }
    outbox_is_empty(&world).await;
    assert_nothing_lost(&world, &acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_finishes_what_was_begun_and_fails_no_request() {
    let mut world = World::start("sigterm").await;
    let load = Load::start(world.url("/v1/events"), key('a'));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pid = world.ingest_pid();
    let ready = format!("http://{}/readyz", world.environment["MERIDIAN_ADMIN_LISTEN"]);
    // As a load balancer does: it stops sending as soon as the replica is not ready.
    let balancer = tokio::spawn(async move {
        while reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        load.stop().await
    });
    // This blocks the test's own thread; the load runs on the runtime's.
    let (status, took) = world.terminate_ingest();
    let ledger = balancer.await.unwrap();
    assert!(status.success(), "pid {pid}: {status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(ledger.failures.is_empty(), "{:?}", ledger.failures);
    assert_nothing_lost(&world, &ledger);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_needs_a_certificate_that_is_trusted() {
    let mut world = World::start("redis-tls").await;
    let front = crate::tls::Front::of(&format!(":{}", world.environment["MERIDIAN_REDIS_PORT"])).await;
    let set = |world: &mut World, name: &str, value: String| {
        world.environment.insert(name.to_owned(), value);
    };
    set(&mut world, "MERIDIAN_REDIS_TLS", "true".to_owned());
    set(&mut world, "MERIDIAN_REDIS_HOST", "localhost".to_owned());
    set(&mut world, "MERIDIAN_REDIS_PORT", front.port.to_string());
    world.kill_ingest();
    world.run_ingest().await;
    // Nobody vouches for it: Redis is away, and ingest goes on without.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!world.healthy("redis").await, "connected through a certificate that nobody vouches for");

    set(&mut world, "SSL_CERT_FILE", front.ca.display().to_string());
    world.kill_ingest();
    world.run_ingest().await;
    until("redis answers over TLS", Duration::from_secs(10), async || world.healthy("redis").await).await;
    let (status, _) = send(
        &reqwest::Client::new(),
        &world.url("/v1/events"),
        &key('a'),
        &json!({"id": "tls", "type": "api-calls"}),
    )
    .await
    .unwrap();
    assert_eq!(status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_keys_go_on_while_postgres_and_redis_are_away() {
    let world = World::start("keys-away").await;
    let http = reqwest::Client::new();
    let url = world.url("/v1/events");
    let event = json!({"id": "k", "type": "api-calls"});
    assert_eq!(send(&http, &url, &key('a'), &event).await.unwrap().0, 202);
    world.kill_store("redis");
    world.kill_store("postgres");
    // Longer than a grant is fresh.
    let until_stale = Instant::now() + Duration::from_secs(7);
    let mut took = Vec::new();
    while Instant::now() < until_stale {
        let started = Instant::now();
        let (status, body) = send(&http, &url, &key('a'), &event).await.unwrap();
        assert_eq!(status, 202, "{body}");
        took.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("ack ms p50/p99 over the loss of both: {}/{}", millis(took.clone(), 0.5), millis(took, 0.99));
    let (status, body) = send(&http, &url, &key('c'), &event).await.unwrap();
    assert_eq!((status, &body["code"]), (503, &json!("keys_unavailable")));
    assert!(world.metrics().await.contains("meridian_ingest_stale_grants_total"));

    world.start_store("postgres");
    world.start_store("redis");
    until("a stranger is a stranger again", Duration::from_secs(15), async || {
        send(&http, &url, &key('c'), &event).await.unwrap().0 == 401
    })
    .await;
}
