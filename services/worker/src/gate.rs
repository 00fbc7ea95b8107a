//! The pipeline gate: when everything that was acknowledged before an instant is stored, and from which cutoff on.
//!
//! `kafka/<partition> = t` says: every record that was in the partition before t is stored, and no row will ever be stored
//! under an instant before t. `outbox/<shard> = t` says: every event that was put aside before t was moved into Kafka. From
//! these claims, in three stages that cannot be merged:
//!
//! 1. every outbox ≥ the instant asked about: what was acknowledged without Kafka is in Kafka now, at the latest *now*;
//! 2. every partition ≥ that now: those events are stored now, with all that was acknowledged to Kafka directly;
//! 3. a cutoff just after this now, and every partition ≥ the cutoff: no row will appear below it any more.
//!
//! Usage read as of that cutoff holds every event asked about and stays the same for ever. A source that never reported, or
//! stopped, holds the gate: incomplete data is never billed. "Now" is this machine's clock and the claims are by the
//! consumers' clocks, so each now is taken ahead by the allowed skew. This module decides; activities/ waits.

use serde::{Deserialize, Serialize};

/// Shards of ingest's outbox (`meridian_buffer::OUTBOX_SHARDS`; the worker links no buffer).
const OUTBOX_SHARDS: u32 = 4;

/// Every source that reports progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    pub kafka_partitions: u32,
}

impl Sources {
    pub fn kafka(self) -> Vec<String> {
        (0..self.kafka_partitions).map(|partition| format!("kafka/{partition}")).collect()
    }

    pub fn outbox(self) -> Vec<String> {
        (0..OUTBOX_SHARDS).map(|shard| format!("outbox/{shard}")).collect()
    }
}

/// How far a wait has come. It travels as the activity's heartbeat, so that a retry goes on where the last attempt was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Gate {
    Outbox { acknowledged_before_us: i64 },
    Moved { in_kafka_before_us: i64 },
    Cutoff { stored_before_us: i64 },
}

/// What one look at the progress gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Look again later, at this stage.
    Wait(Gate),
    /// Look again at once, at the next stage.
    Next(Gate),
    Passed {
        stored_before_us: i64,
    },
}

impl Gate {
    pub fn new(acknowledged_before_us: i64) -> Self {
        Self::Outbox { acknowledged_before_us }
    }

    /// Which sources this stage waits for.
    pub fn awaited(self, sources: Sources) -> Vec<String> {
        match self {
            Self::Outbox { .. } => sources.outbox(),
            Self::Moved { .. } | Self::Cutoff { .. } => sources.kafka(),
        }
    }

    /// Until when they have to be through.
    pub fn until_us(self) -> i64 {
        match self {
            Self::Outbox { acknowledged_before_us: until_us }
            | Self::Moved { in_kafka_before_us: until_us }
            | Self::Cutoff { stored_before_us: until_us } => until_us,
        }
    }

    /// `through_us` is the least of the awaited sources, None while one never reported; `now_us` was taken after it was read.
    pub fn look(self, through_us: Option<i64>, now_us: i64, skew_us: i64) -> Look {
        if through_us.is_none_or(|through_us| through_us < self.until_us()) {
            return Look::Wait(self);
        }
        let ahead_us = now_us.saturating_add(skew_us);
        match self {
            Self::Outbox { acknowledged_before_us } => {
                Look::Next(Self::Moved { in_kafka_before_us: ahead_us.max(acknowledged_before_us) })
            }
            Self::Moved { in_kafka_before_us } => {
                Look::Next(Self::Cutoff { stored_before_us: ahead_us.max(in_kafka_before_us) })
            }
            Self::Cutoff { stored_before_us } => Look::Passed { stored_before_us },
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
