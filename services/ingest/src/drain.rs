//! The drainer: what was acknowledged without Kafka goes from the outbox to Kafka.
//!
//! Every replica drains every shard; two of them may produce the same entry, which the consumer drops by its id. In
//! order, with what a crash costs beside each step: 1 read entries (nothing), 2 produce and wait for delivery
//! (entries are produced again), 3 delete what was delivered (the same). Nothing is deleted that Kafka has not
//! confirmed.
//!
//! A shard seen empty is progress: everything received until `ACK_LONGEST` before that moment is in Kafka. The
//! margin is there because an event is stamped first and written to the outbox up to that much later.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use meridian_buffer::{Buffer, BufferError, OUTBOX_SHARDS, OutboxEntry};
use meridian_records::Records;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::stores::{
    Stores,
    kafka::{KafkaLog, KeyedRecord},
};

/// No event is acknowledged later than this after its receipt: `receive` answers 503 instead.
pub const ACK_LONGEST: Duration = Duration::from_secs(10);

const BATCH_ENTRIES: usize = 1_000;
const DELIVER_WITHIN: Duration = Duration::from_secs(10);
/// Between looks at shards that were empty.
const IDLE_PAUSE: Duration = Duration::from_millis(1_000);
/// After a failure, or while a store is away.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);
/// Progress is written this often at most.
const REPORT_EVERY: Duration = Duration::from_secs(3);

pub struct Drainer {
    pub buffer: Buffer,
    pub kafka: Arc<KafkaLog>,
    pub stores: Stores,
    pub records: Records,
}

/// What one look at a shard found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Empty {
        seen_at_us: i64,
    },
    Drained {
        entries: usize,
    },
    /// Kafka did not confirm everything: what is left stays.
    Stuck {
        delivered: usize,
        left: usize,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    #[error(transparent)]
    Buffer(#[from] BufferError),
}

impl Drainer {
    /// One task for each shard, until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let drainer = Arc::new(self);
        let shards = (0..OUTBOX_SHARDS).map(|shard| drainer.clone().tend(shard, shutdown.clone()));
        futures::future::join_all(shards).await;
    }

    async fn tend(self: Arc<Self>, shard: u8, shutdown: CancellationToken) {
        let mut reported: Option<Instant> = None;
        let mut in_trouble = false;
        let mut moved = 0;
        loop {
            let pause = match self.look(shard).await {
                Ok(Look::Drained { entries }) => {
                    moved += entries;
                    Duration::ZERO
                }
                Ok(Look::Empty { seen_at_us }) => {
                    in_trouble = false;
                    if moved > 0 {
                        tracing::info!(
                            shard,
                            entries = moved,
                            "the outbox is empty: its entries are in Kafka"
                        );
                        moved = 0;
                    }
                    if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY)
                        && self.report(shard, seen_at_us).await
                    {
                        reported = Some(Instant::now());
                    }
                    IDLE_PAUSE
                }
                Ok(Look::Stuck { delivered, .. }) => {
                    moved += delivered;
                    TROUBLE_PAUSE
                }
                Err(error) => {
                    // Once for each outage; the breaker's metric tells how long it lasts.
                    if !std::mem::replace(&mut in_trouble, true) {
                        tracing::warn!(shard, %error, "the outbox cannot be drained at this moment");
                    }
                    TROUBLE_PAUSE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads a shard once and moves what it finds.
    pub async fn look(&self, shard: u8) -> Result<Look, DrainError> {
        let seen_at_us = now_us();
        let entries = self.buffer.outbox(shard, BATCH_ENTRIES).await?;
        self.stores.metrics.outbox_seen(shard, entries.len());
        if entries.is_empty() {
            return Ok(Look::Empty { seen_at_us });
        }
        if !self.stores.kafka.usable() {
            return Ok(Look::Stuck { delivered: 0, left: entries.len() });
        }
        let records = entries.iter().map(|e| KeyedRecord { key: &e.identity_hex, value: &e.json });
        let answers = self.kafka.produce(records, Instant::now() + DELIVER_WITHIN).await;
        let (delivered, left): (Vec<_>, Vec<_>) =
            entries.into_iter().zip(answers).partition(|(_, answer)| answer.is_ok());
        let delivered: Vec<OutboxEntry> = delivered.into_iter().map(|(entry, _)| entry).collect();
        self.buffer.delete_outbox(&delivered).await?;
        self.stores.metrics.outbox_drained(delivered.len());
        match left.len() {
            0 => Ok(Look::Drained { entries: delivered.len() }),
            left => Ok(Look::Stuck { delivered: delivered.len(), left }),
        }
    }

    async fn report(&self, shard: u8, seen_at_us: i64) -> bool {
        let through_us = seen_at_us - ACK_LONGEST.as_micros() as i64;
        match self.records.report_progress(&format!("outbox/{shard}"), through_us).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(shard, %error, "progress of the outbox could not be written");
                false
            }
        }
    }
}

pub fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
