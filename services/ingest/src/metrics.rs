//! What the receive path counts. Registered once; every name begins with `meridian_ingest_`.

use std::time::Duration;

use meridian_daemon::MetricsRegistry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use crate::{judge::Judged, judge::Verdict, refusal::Refusal, reply::Tally, stores::StoreFault};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabel {
    store: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreReason {
    store: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shard {
    shard: u8,
}

const ANSWER_SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0];

pub struct Metrics {
    accepted: Counter,
    rejected: Family<Code, Counter>,
    not_stored: Counter,
    degraded: Family<StoreLabel, Counter>,
    refused: Family<Code, Counter>,
    request_seconds: Histogram,
    store_seconds: Family<StoreLabel, Histogram>,
    store_faults: Family<StoreReason, Counter>,
    breaker_open: Family<StoreLabel, Gauge>,
    outbox_entries: Family<Shard, Gauge>,
    outbox_drained: Counter,
    stale_grants: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(ANSWER_SECONDS);
        Metrics {
            accepted: Counter::default(),
            rejected: Family::default(),
            not_stored: Counter::default(),
            degraded: Family::default(),
            refused: Family::default(),
            request_seconds: histogram(),
            store_seconds: Family::new_with_constructor(histogram),
            store_faults: Family::default(),
            breaker_open: Family::default(),
            outbox_entries: Family::default(),
            outbox_drained: Counter::default(),
            stale_grants: Counter::default(),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &MetricsRegistry) {
        let mut registry = registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let registry = registry.sub_registry_with_prefix("ingest");
        registry.register("events_accepted", "Events acknowledged as durable", self.accepted.clone());
        registry.register(
            "events_rejected",
            "Events refused for what they are, by code",
            self.rejected.clone(),
        );
        registry.register(
            "events_not_stored",
            "Good events that no store confirmed",
            self.not_stored.clone(),
        );
        registry.register(
            "events_degraded",
            "Events acknowledged without the named store",
            self.degraded.clone(),
        );
        registry.register("requests_refused", "Requests refused as a whole, by code", self.refused.clone());
        registry.register(
            "request_seconds",
            "From a request's head to its answer",
            self.request_seconds.clone(),
        );
        registry.register(
            "store_seconds",
            "From handing events to a store to its last answer",
            self.store_seconds.clone(),
        );
        registry.register("store_faults", "Events that a store did not confirm", self.store_faults.clone());
        registry.register("breaker_open", "1 while the store is not waited for", self.breaker_open.clone());
        registry.register(
            "outbox_entries",
            "Entries last seen in an outbox shard (at least)",
            self.outbox_entries.clone(),
        );
        registry.register(
            "outbox_drained",
            "Outbox entries that Kafka has confirmed since",
            self.outbox_drained.clone(),
        );
        registry.register(
            "stale_grants",
            "Requests admitted by a remembered grant while keys could not be checked",
            self.stale_grants.clone(),
        );
    }

    pub fn request_answered(&self, took: Duration) {
        self.request_seconds.observe(took.as_secs_f64());
    }

    pub fn request_refused(&self, refusal: &Refusal) {
        self.refused.get_or_create(&Code { code: refusal.code() }).inc();
    }

    pub fn events(&self, judged: &Judged, tally: &Tally) {
        self.accepted.inc_by(tally.accepted as u64);
        self.not_stored.inc_by(tally.not_stored as u64);
        for (store, missing) in
            [(crate::reply::KAFKA, tally.without_kafka), (crate::reply::DYNAMODB, tally.without_dynamodb)]
        {
            if missing > 0 {
                self.degraded.get_or_create(&StoreLabel { store }).inc_by(missing as u64);
            }
        }
        if tally.rejected > 0 {
            for verdict in &judged.verdicts {
                if let Verdict::Bad { refusal, .. } = verdict {
                    self.rejected.get_or_create(&Code { code: refusal.code }).inc();
                }
            }
        }
    }

    pub fn store_answered(&self, store: &'static str, took: Duration) {
        self.store_seconds.get_or_create(&StoreLabel { store }).observe(took.as_secs_f64());
    }

    pub fn store_faults(&self, store: &'static str, reason: StoreFault, events: usize) {
        self.store_faults
            .get_or_create(&StoreReason { store, reason: reason.as_str() })
            .inc_by(events as u64);
    }

    pub fn breaker(&self, store: &'static str, open: bool) {
        self.breaker_open.get_or_create(&StoreLabel { store }).set(i64::from(open));
    }

    pub fn outbox_seen(&self, shard: u8, entries: usize) {
        self.outbox_entries.get_or_create(&Shard { shard }).set(entries as i64);
    }

    pub fn outbox_drained(&self, entries: usize) {
        self.outbox_drained.inc_by(entries as u64);
    }

    pub fn stale_grant(&self) {
        self.stale_grants.inc();
    }
}
