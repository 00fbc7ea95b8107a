//! What the worker counts.

use meridian_daemon::MetricsRegistry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabel {
    pub step: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FailureLabel {
    pub step: &'static str,
    /// The permanent failure's code, or `Retried`.
    pub code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// Of a saved invoice: created, refreshed, kept or issued; of one that was computed again: identical, other_engine or differing
    pub outcome: &'static str,
}

#[derive(Clone)]
pub struct Metrics {
    pub step_failures: Family<FailureLabel, Counter>,
    pub step_seconds: Family<StepLabel, Histogram, fn() -> Histogram>,
    pub invoices: Family<OutcomeLabel, Counter>,
    pub due_periods: Counter,
    /// identical, other_engine or differing
    pub verified: Family<OutcomeLabel, Counter>,
}

impl Metrics {
    pub fn register(registry: &MetricsRegistry) -> Self {
        let metrics = Self::unregistered();
        let mut registry = registry.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let registry = registry.sub_registry_with_prefix("worker");
        registry.register(
            "step_failures",
            "Steps of workflows that failed, by reason",
            metrics.step_failures.clone(),
        );
        registry.register("step_seconds", "How long steps took", metrics.step_seconds.clone());
        registry.register("invoices", "Invoices saved and issued", metrics.invoices.clone());
        registry.register("due_periods", "Due periods that sweeps found", metrics.due_periods.clone());
        registry.register(
            "verified_invoices",
            "Invoices that were computed again; any that differs is a defect",
            metrics.verified.clone(),
        );
        metrics
    }

    pub fn unregistered() -> Self {
        Self {
            step_failures: Family::default(),
            step_seconds: Family::new_with_constructor(|| {
                Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0])
            }),
            invoices: Family::default(),
            due_periods: Counter::default(),
            verified: Family::default(),
        }
    }

    pub fn invoice(&self, outcome: &'static str) {
        self.invoices.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
