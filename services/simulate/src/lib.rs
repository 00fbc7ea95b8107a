//! What a catalogue would bill for some usage: no cluster, no store, the same rating as in a region.
//!
//! Documents (a Plan, its Meters, perhaps a Subscription, as they are applied to Kubernetes) and usage go in; invoices come
//! out, as [`meridian_billing::invoice::compute`] makes them. Reading order: [`catalogue_file`] (and [`references`] in it) →
//! [`usage_file`] → [`periods`] → [`charged_usage`] → [`run`] → [`report`]. Only `main.rs` reads files and the clock.

pub mod catalogue_file;
pub mod charged_usage;
pub mod periods;
pub mod references;
pub mod report;
pub mod run;
pub mod usage_file;

/// What is wrong with the input, and where: the path of a field, such as `Plan starter: spec.prices[0].included`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SimulateError {
    pub field: String,
    pub problem: String,
}

impl SimulateError {
    pub fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}
