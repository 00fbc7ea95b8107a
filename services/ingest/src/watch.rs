//! Looks after the stores between requests: probes those whose breaker is open, and keeps readiness.
//!
//! Ready means: at least one durable store takes events, and keys can be checked. No single store gates.

use std::{sync::Arc, time::Duration};

use meridian_daemon::{Health, HealthFlag};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    keys::{Keys, RedisThenPostgres},
    receive::Receiver,
    stores::{Guarded, Stores},
};

const PROBE_TICK: Duration = Duration::from_millis(100);
/// A store that needs longer for a probe is not yet well.
const PROBE_WITHIN: Duration = Duration::from_millis(2_500);
const KEYS_TICK: Duration = Duration::from_secs(2);
const FORGET_TICK: Duration = Duration::from_secs(60);

/// Probes both durable stores until shutdown.
pub async fn stores(stores: Stores, health: Health, shutdown: CancellationToken) {
    let gate = health.check("durable-store");
    let watched = [&stores.buffer, &stores.kafka].map(|guarded| {
        let flag = health.report_only(guarded.name);
        watch_one(guarded.clone(), stores.clone(), flag, gate.clone())
    });
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = futures::future::join_all(watched) => {}
    }
}

async fn watch_one(guarded: Guarded, stores: Stores, flag: HealthFlag, gate: HealthFlag) {
    let mut tick = tokio::time::interval(PROBE_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if guarded.breaker.probe_is_due(Instant::now()) {
            probe(&guarded, &flag).await;
        }
        stores.metrics.breaker(guarded.name, !guarded.usable());
        if guarded.usable() {
            flag.set_ok();
        }
        if stores.any_usable() {
            gate.set_ok();
        } else {
            gate.set_failing("neither the buffer nor Kafka takes events");
        }
    }
}

async fn probe(guarded: &Guarded, flag: &HealthFlag) {
    let answer = tokio::time::timeout(PROBE_WITHIN, guarded.store.probe()).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", PROBE_WITHIN.as_millis())));
    if guarded.breaker.probed(answer.is_ok(), Instant::now()) {
        tracing::info!(store = guarded.name, "store takes events");
    }
    if let Err(reason) = answer {
        flag.set_failing(reason);
    }
}

/// Watches what keys are checked against.
pub async fn keys(keys: Keys, lookup: Arc<RedisThenPostgres>, health: Health, shutdown: CancellationToken) {
    let gate = health.check("api-keys");
    let (redis, postgres) = (health.report_only("redis"), health.report_only("postgres"));
    let mut tick = tokio::time::interval(KEYS_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let (of_redis, of_postgres) = tokio::join!(lookup.check_redis(), lookup.check_postgres());
        let answers = of_postgres.is_ok();
        show(&redis, of_redis);
        show(&postgres, of_postgres);
        // Redis alone knows only keys of the last seconds: it is no directory.
        if answers || keys.has_good_grants() {
            gate.set_ok();
        } else {
            gate.set_failing("Postgres cannot be asked about API keys, and no grant is remembered");
        }
    }
}

fn show(flag: &HealthFlag, answer: Result<(), String>) {
    match answer {
        Ok(()) => flag.set_ok(),
        Err(reason) => flag.set_failing(reason),
    }
}

/// Keeps the memory of the rate limiter at what active tenants need.
pub async fn throttle(receiver: Arc<Receiver>, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(FORGET_TICK);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => receiver.throttle.forget_idle(),
        }
    }
}
