//! The ingest buffer: every usage event's second durable home, behind the DynamoDB API, and the object store
//! behind the S3 API.
//!
//! What it is for
//! - `Buffer::put_events` writes events before they are acknowledged (`group_commit`, `write`);
//! - the *outbox* keeps what was acknowledged while Kafka was away, until it has been produced (`outbox`);
//! - `Buffer::drain` reads a tenant's events of a time range back, for replay (`drain`);
//! - `create_table` and `ObjectStore::create_bucket` prepare both stores (`table`, `objects`).
//!
//! What it never does: decide whether an event is good (meridian-billing), speak to Kafka (meridian-ingest), or
//! bill. It uses BatchWriteItem, Query and, where the store has it, time to live: DynamoDB itself, ScyllaDB
//! Alternator and dynalite all serve.
//!
//! Keys (`key`). An event lies under `tenant#YYYYMMDDTHHMM#shard` / `source#id#payload`. The minute is that of
//! receipt and the shard one of sixteen, so that a time range is a handful of queries and no tenant is one hot
//! partition. The payload's hash ends the sort key because BatchWriteItem replaces silently: the same id sent
//! again with *another* payload must not destroy the copy that was acknowledged first. Sent again unchanged it
//! falls on the same item, which costs nothing.

mod client;
mod drain;
mod error;
mod group_commit;
mod key;
mod objects;
mod options;
mod outbox;
mod record;
mod table;
mod write;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use meridian_billing::event::UsageEvent;
use tokio::time::Instant;

pub use error::{BufferError, ObjectStoreError, PutError};
pub use key::{EVENT_SHARDS, MinuteRange, OUTBOX_SHARDS};
pub use objects::ObjectStore;
pub use options::{BufferOptions, ObjectStoreOptions, Tuning};
pub use outbox::OutboxEntry;
pub use record::{EventRecord, StoredEvent};
pub use table::{TableReport, TimeToLive, create_table};

use group_commit::GroupCommit;

/// A handle on the buffer's table. Cheap to clone; every clone shares one group commit.
#[derive(Clone)]
pub struct Buffer {
    client: Client,
    table: Arc<str>,
    commit: GroupCommit,
}

impl Buffer {
    /// Prepares the client and starts the group commit. Opens no connection, so it works while the store is
    /// away. Must be called inside a tokio runtime.
    pub fn connect(options: &BufferOptions) -> Buffer {
        Self::connect_tuned(options, Tuning::default())
    }

    pub fn connect_tuned(options: &BufferOptions, tuning: Tuning) -> Buffer {
        let client = client::dynamodb(options);
        let table: Arc<str> = options.table.as_str().into();
        let commit = GroupCommit::start(write::Writer::new(client.clone(), table.clone()), tuning);
        Buffer { client, table, commit }
    }

    /// Writes events under their event keys; one answer for each, in order. `Ok` means that the store has
    /// confirmed this very item. What is not confirmed by `deadline` is answered `PutError::Deadline`, though it
    /// may still land: the caller must treat it as unknown, never as absent.
    pub async fn put_events(&self, events: &[UsageEvent], deadline: Instant) -> Vec<Result<(), PutError>> {
        let records: Vec<EventRecord> = events.iter().map(EventRecord::of).collect();
        self.put_records(&records, deadline).await
    }

    /// As `put_events`, for a caller that has the canonical JSON already.
    pub async fn put_records(&self, records: &[EventRecord], deadline: Instant) -> Vec<Result<(), PutError>> {
        self.commit.put(records.iter().map(|r| r.event_item()).collect(), deadline).await
    }

    /// Writes an item that nobody reads and that expires: the proof that the table takes writes, throttling
    /// included. Reading proves less.
    pub async fn check_write(&self) -> Result<(), PutError> {
        self.commit.check(Instant::now() + write::PROBE_WITHIN).await
    }

    /// Asks for one item of a partition that never exists: the cheapest proof that the table answers with
    /// these credentials.
    pub async fn check(&self) -> Result<(), BufferError> {
        self.query_page("outbox#check", 1, None).await.map(drop)
    }
}
