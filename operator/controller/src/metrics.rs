//! What the operator counts. Names are prefixed `meridian_` by the process' registry.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Pass {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Of {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    verb: String,
    code: u16,
}

/// The operator's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    reconciles: Family<Pass, Counter>,
    duration: Family<Of, Histogram, fn() -> Histogram>,
    in_backoff: Family<Of, Gauge>,
    applies: Family<Pass, Counter>,
    api: Family<Call, Histogram, fn() -> Histogram>,
    catalogue: Family<Pass, Counter>,
    leader: Gauge,
    last_pass: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.5, 12));
        Metrics {
            reconciles: Family::default(),
            duration: Family::new_with_constructor(seconds),
            in_backoff: Family::default(),
            applies: Family::default(),
            api: Family::new_with_constructor(seconds),
            catalogue: Family::default(),
            leader: Gauge::default(),
            last_pass: Gauge::default(),
        }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("operator");
        registry.register("reconciles", "Passes by kind and outcome", self.reconciles.clone());
        registry.register("reconcile_duration_seconds", "How long a pass takes", self.duration.clone());
        registry.register("in_backoff", "Objects whose last pass failed", self.in_backoff.clone());
        registry.register("applies", "Objects applied by kind and outcome", self.applies.clone());
        registry.register(
            "api_request_duration_seconds",
            "Requests to the API server, watches excluded",
            self.api.clone(),
        );
        registry.register("catalogue_writes", "Entries sent to a region's api", self.catalogue.clone());
        registry.register("leader", "1 while this process is the leader", self.leader.clone());
        registry.register("last_pass_timestamp_seconds", "When the last pass ended", self.last_pass.clone());
    }

    pub fn pass(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Pass { kind, outcome }).inc();
        self.duration.get_or_create(&Of { kind }).observe(took.as_secs_f64());
        self.last_pass.set(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
    }

    pub fn in_backoff(&self, kind: &'static str, objects: usize) {
        self.in_backoff.get_or_create(&Of { kind }).set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    pub fn applied(&self, kind: &'static str, outcome: &'static str) {
        self.applies.get_or_create(&Pass { kind, outcome }).inc();
    }

    pub fn catalogue(&self, kind: &'static str, outcome: &'static str) {
        self.catalogue.get_or_create(&Pass { kind, outcome }).inc();
    }

    /// `code` is 0 where there was no answer.
    pub fn api_request(&self, verb: &str, code: u16, took: Duration) {
        self.api.get_or_create(&Call { verb: verb.to_owned(), code }).observe(took.as_secs_f64());
    }

    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}
