//! The dual write (requirement I5): buffer and Kafka at once, never one after the other.
//!
//! An event is acknowledged when Kafka has confirmed it, or when the buffer's *outbox* has: what is in the outbox
//! is produced to Kafka later by `drain`. The buffer's event item alone does not suffice, nobody would ever move it
//! to Kafka. Each store has a breaker: while it is open its store is not waited for, so that an acknowledgement
//! takes about as long as the healthy store does.
//!
//! What a crash costs between any two steps: nothing acknowledged. A late delivery, or an event both in Kafka and in
//! the outbox, is a duplicate with the same id, which the consumer drops.

pub mod breaker;
pub mod buffer;
pub mod kafka;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use meridian_buffer::EventRecord;
use tokio::time::Instant;

use crate::metrics::Metrics;
use breaker::Breaker;

/// A place that keeps events durably.
pub trait Store: Send + Sync + 'static {
    /// One answer for each record, in order. `Ok` is the store's own confirmation.
    fn put<'a>(
        &'a self,
        records: &'a [EventRecord],
        deadline: Instant,
    ) -> BoxFuture<'a, Vec<Result<(), StoreFault>>>;

    /// Whether it would take an event now; the reason when not.
    fn probe(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// Why a store did not confirm an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// It did not answer in time: the event may be there.
    Deadline,
    Unavailable,
    Throttled,
    /// Our own queue before it is full.
    QueueFull,
    /// It refuses this one event: says nothing about the store.
    Refused,
    /// It was not asked: its breaker is open.
    NotAsked,
}

impl StoreFault {
    pub fn as_str(self) -> &'static str {
        match self {
            StoreFault::Deadline => "deadline",
            StoreFault::Unavailable => "unavailable",
            StoreFault::Throttled => "throttled",
            StoreFault::QueueFull => "queue_full",
            StoreFault::Refused => "refused",
            StoreFault::NotAsked => "not_asked",
        }
    }

    fn is_the_stores(self) -> bool {
        match self {
            StoreFault::Deadline
            | StoreFault::Unavailable
            | StoreFault::Throttled
            | StoreFault::QueueFull => true,
            StoreFault::Refused | StoreFault::NotAsked => false,
        }
    }
}

/// Where one event is known to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub dynamodb: bool,
    pub outbox: bool,
    pub kafka: bool,
}

impl Kept {
    /// Whether it may be acknowledged: it is in Kafka, or on the way there by the outbox.
    pub fn durable(self) -> bool {
        self.kafka || self.outbox
    }

    pub fn stores(self) -> Vec<&'static str> {
        let mut stores = Vec::with_capacity(2);
        if self.dynamodb {
            stores.push(crate::reply::DYNAMODB);
        }
        if self.kafka {
            stores.push(crate::reply::KAFKA);
        }
        stores
    }
}

/// A store and its breaker.
#[derive(Clone)]
pub struct Guarded {
    pub name: &'static str,
    pub store: Arc<dyn Store>,
    pub breaker: Arc<Breaker>,
}

impl Guarded {
    pub fn new(name: &'static str, store: Arc<dyn Store>) -> Guarded {
        Guarded { name, store, breaker: Arc::new(Breaker::default()) }
    }

    pub fn usable(&self) -> bool {
        self.breaker.is_closed()
    }
}

/// The three destinations. The outbox lives in the buffer's table and shares its breaker.
#[derive(Clone)]
pub struct Stores {
    pub buffer: Guarded,
    pub outbox: Arc<dyn Store>,
    pub kafka: Guarded,
    pub patience: Duration,
    pub metrics: Arc<Metrics>,
}

impl Stores {
    /// Whether at least one store takes events.
    pub fn any_usable(&self) -> bool {
        self.buffer.usable() || self.kafka.usable()
    }

    /// Writes every record; returns within twice the patience.
    pub async fn write(&self, records: &[EventRecord]) -> Vec<Kept> {
        if records.is_empty() {
            return Vec::new();
        }
        if self.kafka.usable() { self.with_kafka(records).await } else { self.without_kafka(records).await }
    }

    /// Buffer and Kafka at once; then the outbox for what Kafka did not confirm.
    async fn with_kafka(&self, records: &[EventRecord]) -> Vec<Kept> {
        let deadline = Instant::now() + self.patience;
        let (buffered, produced) = tokio::join!(
            self.ask(&self.buffer, &*self.buffer.store, self.buffer.name, records, deadline),
            self.ask(&self.kafka, &*self.kafka.store, self.kafka.name, records, deadline),
        );
        let kept = buffered.iter().zip(&produced);
        let mut kept: Vec<Kept> = kept
            .map(|(buffered, produced)| Kept { dynamodb: *buffered, outbox: false, kafka: *produced })
            .collect();
        let missing: Vec<usize> = (0..kept.len()).filter(|at| !kept[*at].kafka).collect();
        if missing.is_empty() {
            return kept;
        }
        let late: Vec<EventRecord> = missing.iter().map(|at| records[*at].clone()).collect();
        let deadline = Instant::now() + self.patience;
        let outboxed = self.ask(&self.buffer, &*self.outbox, "outbox", &late, deadline).await;
        for (at, outboxed) in missing.into_iter().zip(outboxed) {
            kept[at].outbox = outboxed;
        }
        counted(kept)
    }

    /// Kafka is known to be away: buffer and outbox share the group commit, so this costs no second round trip.
    async fn without_kafka(&self, records: &[EventRecord]) -> Vec<Kept> {
        let deadline = Instant::now() + self.patience;
        let (buffered, outboxed) = tokio::join!(
            self.ask(&self.buffer, &*self.buffer.store, self.buffer.name, records, deadline),
            self.ask(&self.buffer, &*self.outbox, "outbox", records, deadline),
        );
        let kept = buffered.into_iter().zip(outboxed);
        counted(kept.map(|(dynamodb, outbox)| Kept { dynamodb, outbox, kafka: false }).collect())
    }

    /// Puts unless the breaker is open, and lets it know the outcome.
    async fn ask(
        &self,
        guarded: &Guarded,
        store: &dyn Store,
        name: &'static str,
        records: &[EventRecord],
        deadline: Instant,
    ) -> Vec<bool> {
        if !guarded.usable() {
            self.metrics.store_faults(name, StoreFault::NotAsked, records.len());
            return vec![false; records.len()];
        }
        let started = Instant::now();
        let answers = store.put(records, deadline).await;
        self.metrics.store_answered(name, started.elapsed());
        let mut fault = None;
        for answer in &answers {
            if let Err(reason) = answer {
                self.metrics.store_faults(name, *reason, 1);
                fault = fault.or(Some(*reason).filter(|reason| reason.is_the_stores()));
            }
        }
        match fault {
            None => guarded.breaker.succeeded(),
            Some(reason) => {
                if guarded.breaker.failed(Instant::now()) {
                    tracing::warn!(
                        store = guarded.name,
                        reason = reason.as_str(),
                        "store is not waited for until a probe succeeds"
                    );
                }
            }
        }
        answers.iter().map(Result::is_ok).collect()
    }
}

/// An outbox entry is an item of the same table: the store that holds it is the buffer's.
fn counted(mut kept: Vec<Kept>) -> Vec<Kept> {
    for kept in &mut kept {
        kept.dynamodb |= kept.outbox;
    }
    kept
}

#[cfg(test)]
mod tests;
