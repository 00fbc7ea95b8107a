//! What the consumer tells about itself. Names carry the registry's prefix `meridian_`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PartitionLabel {
    pub partition: i32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StepLabel {
    pub step: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TableLabel {
    pub table: &'static str,
}

#[derive(Clone)]
pub struct Metrics {
    pub lag: Family<PartitionLabel, Gauge>,
    pub processed_through_seconds: Family<PartitionLabel, Gauge>,
    pub batch_records: Histogram,
    pub step_seconds: Family<StepLabel, Histogram, fn() -> Histogram>,
    pub failures: Family<StepLabel, Counter>,
    pub records: Counter,
    pub rows: Family<TableLabel, Counter>,
    pub duplicates: Counter,
    pub conflicts: Counter,
    pub quarantined: Family<ReasonLabel, Counter>,
    pub released: Counter,
    pub backfilled: Counter,
    pub buffered_bytes: Gauge,
    pub paused_partitions: Gauge,
    pub assigned_partitions: Gauge,
    pub abandoned_batches: Counter,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            lag: Family::default(),
            processed_through_seconds: Family::default(),
            batch_records: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            step_seconds: Family::new_with_constructor(step_histogram),
            failures: Family::default(),
            records: Counter::default(),
            rows: Family::default(),
            duplicates: Counter::default(),
            conflicts: Counter::default(),
            quarantined: Family::default(),
            released: Counter::default(),
            backfilled: Counter::default(),
            buffered_bytes: Gauge::default(),
            paused_partitions: Gauge::default(),
            assigned_partitions: Gauge::default(),
            abandoned_batches: Counter::default(),
        };
        let m = &metrics;
        registry.register(
            "consumer_lag_records",
            "Records that are not stored yet, by partition",
            m.lag.clone(),
        );
        registry.register(
            "consumer_processed_through_seconds",
            "Every event acknowledged before this time is stored, seconds since 1970, by partition",
            m.processed_through_seconds.clone(),
        );
        registry.register("consumer_batch_records", "Records of a batch", m.batch_records.clone());
        registry.register(
            "consumer_flush_step_seconds",
            "Duration of each step of a flush: decide, intent, insert, mark, commit",
            m.step_seconds.clone(),
        );
        registry.register(
            "consumer_flush_failures",
            "Steps that failed and were tried again",
            m.failures.clone(),
        );
        registry.register("consumer_records", "Records taken from Kafka and stored", m.records.clone());
        registry.register("consumer_rows", "Rows inserted, by table", m.rows.clone());
        registry.register(
            "consumer_duplicates",
            "Events whose id and payload were known",
            m.duplicates.clone(),
        );
        registry.register(
            "consumer_conflicts",
            "Known ids that came with another payload",
            m.conflicts.clone(),
        );
        registry.register(
            "consumer_quarantined",
            "Events that could not be processed, by reason",
            m.quarantined.clone(),
        );
        registry.register(
            "consumer_released",
            "Quarantined events that were processed later",
            m.released.clone(),
        );
        registry.register(
            "consumer_backfilled",
            "Events of before a meter that were counted for it",
            m.backfilled.clone(),
        );
        registry.register("consumer_buffered_bytes", "Values waiting in memory", m.buffered_bytes.clone());
        registry.register(
            "consumer_paused_partitions",
            "Partitions not fetched: buffers are full",
            m.paused_partitions.clone(),
        );
        registry.register(
            "consumer_assigned_partitions",
            "Partitions of this member",
            m.assigned_partitions.clone(),
        );
        registry.register(
            "consumer_abandoned_batches",
            "Batches left to the next owner because the partition went away",
            m.abandoned_batches.clone(),
        );
        metrics
    }

    pub fn observe_step(&self, step: &'static str, since: std::time::Instant) {
        self.step_seconds.get_or_create(&StepLabel { step }).observe(since.elapsed().as_secs_f64());
    }

    pub fn step_failed(&self, step: &'static str) {
        self.failures.get_or_create(&StepLabel { step }).inc();
    }
}

fn step_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 3.0, 10))
}
