//! From events to a quantity: what one event contributes to a meter, and how contributions become one number.
//!
//! | aggregation | contribution | merge law of partial results | of no events |
//! |---|---|---|---|
//! | Count | 1 | add | 0 |
//! | Sum | the value | add; the multiplier applies once, at the end | 0, or the level carried in |
//! | Max | the value | the larger | 0 |
//! | Min | the value | the smaller; nothing yet is above every value | 0 |
//! | Average | the value | add sums, add counts; one division at the end | 0 |
//! | Latest | the value at a time | the later by (time, source, id) | 0, or the level carried in |
//! | UniqueCount | the value's text | union of the sets | 0 |
//! | WeightedSum | the level from a time on | union of the readings, in order of (time, source, id) | 0, or the level carried in |
//! | Percentile | the value | union of the multisets: add the counts of each value | 0 |
//!
//! Each law is associative and commutative and starts from [`Partial::empty`], so that splitting events over batches,
//! partitions or minutes, in any order, changes nothing. Not all are idempotent (adding an event twice counts it twice):
//! that an event comes once is the consumer's guarantee.
//!
//! A partial result knows nothing of windows; [`Partial::finish`] closes one. Of a meter that is never reset,
//! [`Partial::carry`] says what a window leaves to the next, and [`Partial::finish_from`] begins with it.
//!
//! An event that a meter counts but cannot use is quarantined with a reason; it is never taken as zero.
//!
//! Reading order: this file (event → contribution), with filter.rs and value.rs below it; partial.rs (contributions → one
//! number), with readings.rs and percentile.rs below it.

mod filter;
mod partial;
mod percentile;
mod readings;
mod value;

use std::collections::BTreeMap;

pub use partial::{FinishError, MergeError, Partial};
pub use readings::Reading;
pub use value::QuarantineReason;

use self::value::{Sign, distinct_text, number, text};
use crate::{
    catalogue::{AggregationKind, MeterSpec},
    decimal::Quantity,
    event::UsageEvent,
};

/// What one event adds to one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// Count: 1. UniqueCount: 1, of which equal `unique_value`s count once. Every other aggregation: the value.
    pub quantity: Quantity,
    /// For UniqueCount only: the text that is counted once.
    pub unique_value: Option<String>,
    /// The meter's group-by properties that the event has, as text.
    pub group: BTreeMap<String, String>,
    /// When the usage happened, in UTC microseconds.
    pub time_us: i64,
    /// The event's identity in its tenant; it orders events of one time.
    pub source: String,
    pub id: String,
}

impl Contribution {
    /// The group as canonical JSON; empty for a meter without group-by.
    pub fn group_json(&self, meter: &MeterSpec) -> String {
        if meter.group_by.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.group).expect("a map of strings always serializes")
    }
}

/// What `event` adds to `meter`; None when the meter does not count it (another type, or a filter says no).
pub fn quantity_of(meter: &MeterSpec, event: &UsageEvent) -> Result<Option<Contribution>, QuarantineReason> {
    if event.event_type != meter.event_type || !filter::all_hold(&meter.filters, event)? {
        return Ok(None);
    }
    let property = meter.value_property.as_deref().unwrap_or_default();
    let (quantity, unique_value) = match meter.aggregation {
        AggregationKind::Count => (Quantity::ONE, None),
        AggregationKind::Sum => (number(event, property, Sign::of_sum(meter.reset))?, None),
        AggregationKind::Max
        | AggregationKind::Min
        | AggregationKind::Average
        | AggregationKind::Latest
        | AggregationKind::WeightedSum
        | AggregationKind::Percentile => (number(event, property, Sign::NotNegative)?, None),
        AggregationKind::UniqueCount => (Quantity::ONE, Some(distinct_text(event, property)?)),
    };
    let group = meter.group_by.iter().filter_map(|name| Some((name.clone(), text(event, name)?))).collect();
    let (time_us, source, id) = (event.time_us, event.source.clone(), event.id.clone());
    Ok(Some(Contribution { quantity, unique_value, group, time_us, source, id }))
}

#[cfg(test)]
mod tests;
