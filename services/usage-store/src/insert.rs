//! Inserts that can be repeated: after a lost reply, a crash of ClickHouse, or by another consumer that takes over.
//!
//! What makes a repetition harmless, in order:
//! 1. The rows of a batch are a function of its token (the consumer's promise), and a batch is one block for each table.
//! 2. `insert_deduplication_token`: the table drops a block whose token it has seen within its window, and with
//!    `deduplicate_blocks_in_dependent_materialized_views` the roll-up drops it for itself, so that a crash between a table and
//!    its roll-up is completed by the repetition.
//! 3. The window counts blocks, so a repetition must not come after 10,000 others. A process that was frozen (SIGSTOP, a
//!    stalled virtual machine) could send its insert an hour late. Therefore every insert carries a [`Deadline`], and the
//!    *server* refuses it by its own clock when it is later. The deadline is taken before the consumer proves that it still
//!    owns the partition, never after.
//!
//! `async_insert` stays off: the server would make its own blocks, and the token would no longer name ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    error::{Doing, UsageStoreError},
    native::{Block, EncodedBlock},
    rows::{BackfillRow, ConflictRow, ProcessedEventRow, QuarantinedRow, RawEventRow, ReleaseRow},
    store::{UsageStore, answered},
};

/// How long after it was made ready an insert may still take effect.
const INSERT_WINDOW: Duration = Duration::from_secs(30);
/// Longest wait for one piece of the body to be taken.
const SEND_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the server to say that the rows are stored; the roll-up is part of it.
const STORED_WAIT_MAX: Duration = Duration::from_secs(60);
/// `throwIf` in the insert's own query.
const LATE_EXCEPTION: u32 = 395;

/// Names a batch for ever: where its records are and when it was first tried. `stored_at` tells two topics of the same name
/// apart, when Kafka's data was lost and its offsets began anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub topic: String,
    pub partition: i32,
    /// `FIRST-LAST` for records, `release` for quarantined rows that are decided again, `backfill` for a meter's past.
    pub range: String,
    pub stored_at_us: i64,
}

impl Token {
    fn for_table(&self, table: &str) -> String {
        format!("{}/{}/{}@{}/{table}", self.topic, self.partition, self.range, self.stored_at_us)
    }
}

/// All rows of a batch. Each table is one insert with a token of its own.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    pub token: Token,
    pub raw: Vec<RawEventRow>,
    pub processed: Vec<ProcessedEventRow>,
    pub quarantined: Vec<QuarantinedRow>,
    pub conflicts: Vec<ConflictRow>,
    pub releases: Vec<ReleaseRow>,
    pub backfills: Vec<BackfillRow>,
}

/// One insert, encoded once and sent as often as needed.
pub struct EncodedInsert {
    table: &'static str,
    token: String,
    sql: String,
    topic: String,
    rows: usize,
    body: Bytes,
}

/// What an insert did, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsertReport {
    pub table: &'static str,
    pub rows: usize,
    pub bytes: usize,
}

/// The latest moment, by the server's clock in seconds, at which an insert may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    server_seconds: i64,
}

impl Deadline {
    /// Always in the past, for tests of the refusal.
    #[cfg(test)]
    pub(crate) fn passed() -> Self {
        Self { server_seconds: 1 }
    }
}

/// What the server's clock shows, without asking each time: its reading at one moment plus our monotonic time since.
/// Wall clocks of the two machines are never compared.
#[derive(Clone)]
pub(crate) struct ServerClock {
    origin: Instant,
    /// Server seconds at `origin`; 0 while unknown.
    at_origin: Arc<AtomicI64>,
}

impl ServerClock {
    pub fn unknown() -> Self {
        Self { origin: Instant::now(), at_origin: Arc::new(AtomicI64::new(0)) }
    }

    fn set(&self, server_seconds: i64) {
        self.at_origin.store(server_seconds - self.elapsed_seconds(), Ordering::Relaxed);
    }

    fn now(&self) -> Option<i64> {
        let at_origin = self.at_origin.load(Ordering::Relaxed);
        (at_origin != 0).then(|| at_origin + self.elapsed_seconds())
    }

    fn elapsed_seconds(&self) -> i64 {
        self.origin.elapsed().as_secs() as i64
    }
}

impl StoredBatch {
    /// Without any rows.
    pub fn empty(token: Token) -> Self {
        Self {
            token,
            raw: Vec::new(),
            processed: Vec::new(),
            quarantined: Vec::new(),
            conflicts: Vec::new(),
            releases: Vec::new(),
            backfills: Vec::new(),
        }
    }

    /// The inserts of this batch in the order in which they are to be sent; tables without rows are left out.
    ///
    /// Exceptions first and raw last: a row in `raw_events` then says that everything else of its event is stored.
    pub fn encode(&self) -> Vec<EncodedInsert> {
        let inserts = [
            self.encoded("quarantined_events", self.quarantined.len(), quarantined_block(&self.quarantined)),
            self.encoded("event_conflicts", self.conflicts.len(), conflict_block(&self.conflicts)),
            self.encoded("processed_events", self.processed.len(), processed_block(&self.processed)),
            self.encoded("quarantine_releases", self.releases.len(), release_block(&self.releases)),
            self.encoded("meter_backfills", self.backfills.len(), backfill_block(&self.backfills)),
            self.encoded("raw_events", self.raw.len(), raw_block(&self.raw)),
        ];
        inserts.into_iter().flatten().collect()
    }

    fn encoded(&self, table: &'static str, rows: usize, block: EncodedBlock) -> Option<EncodedInsert> {
        if rows == 0 {
            return None;
        }
        let columns = block.columns.join(", ");
        // What is the same in all rows is said once, in the query. The deadline is constant for the query, so that it is
        // decided when the query begins and costs nothing for the rows.
        let sql = format!(
            "INSERT INTO {table} ({columns}, stored_at, kafka_topic, kafka_partition) \
             SELECT {columns}, fromUnixTimestamp64Micro(toInt64({stored_at}), 'UTC'), {{topic:String}}, toInt32({partition}) \
             FROM input('{structure}') \
             WHERE throwIf(toUnixTimestamp(now()) > {{deadline:Int64}}, 'the insert is late') = 0 FORMAT Native",
            stored_at = self.token.stored_at_us,
            partition = self.token.partition,
            structure = block.structure.replace('\'', "\\'"),
        );
        let token = self.token.for_table(table);
        Some(EncodedInsert {
            table,
            token,
            sql,
            topic: self.token.topic.clone(),
            rows: block.rows,
            body: block.body,
        })
    }
}

impl EncodedInsert {
    pub fn table(&self) -> &'static str {
        self.table
    }

    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl UsageStore {
    /// A deadline for inserts that are sent from now on. Take it *before* proving that the partition is still owned.
    pub async fn deadline(&self) -> Result<Deadline, UsageStoreError> {
        let now = match self.clock.now() {
            Some(now) => now,
            None => self.read_server_clock().await?,
        };
        Ok(Deadline { server_seconds: now + INSERT_WINDOW.as_secs() as i64 })
    }

    /// Stores the rows, or finds that they are stored already. After an error nothing is known, and the same call is right
    /// again; it may take effect until its deadline.
    pub async fn insert(
        &self,
        insert: &EncodedInsert,
        deadline: Deadline,
    ) -> Result<InsertReport, UsageStoreError> {
        let mut request = self
            .client
            .insert_formatted_with(insert.sql.clone())
            .with_setting("param_topic", parameter(&insert.topic))
            .with_setting("param_deadline", deadline.server_seconds.to_string())
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", insert.token.clone())
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            .with_setting("async_insert", "0")
            .with_setting("wait_end_of_query", "1")
            // One block in, one block out: the token then names exactly these rows.
            .with_setting("max_threads", "1")
            .with_setting("max_insert_threads", "1")
            .with_timeouts(Some(SEND_WAIT_MAX), Some(STORED_WAIT_MAX));
        let sent = async {
            request.send(insert.body.clone()).await?;
            request.end().await
        };
        match sent.await.doing("an insert") {
            Ok(()) => Ok(InsertReport { table: insert.table, rows: insert.rows, bytes: insert.body.len() }),
            Err(UsageStoreError::Refused { code: Some(LATE_EXCEPTION), .. }) => {
                self.clock.at_origin.store(0, Ordering::Relaxed);
                Err(UsageStoreError::TooLate { table: insert.table })
            }
            Err(error) => Err(error),
        }
    }

    async fn read_server_clock(&self) -> Result<i64, UsageStoreError> {
        let question = self.client.query("SELECT toInt64(toUnixTimestamp(now()))").fetch_one::<i64>();
        let seconds = answered("reading the server's clock", question).await?;
        self.clock.set(seconds);
        Ok(seconds)
    }
}

/// A text as an HTTP query parameter is read: tab-separated escapes.
fn parameter(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

fn raw_block(rows: &[RawEventRow]) -> EncodedBlock {
    let mut block = Block::new(rows.len(), 220);
    block.low_cardinality("tenant", rows.iter().map(|r| r.tenant.as_str()));
    block.low_cardinality("project", rows.iter().map(|r| r.project.as_str()));
    block.low_cardinality("source", rows.iter().map(|r| r.source.as_str()));
    block.string("id", rows.iter().map(|r| r.id.as_bytes()));
    block.low_cardinality("type", rows.iter().map(|r| r.event_type.as_str()));
    block.string("customer", rows.iter().map(|r| r.customer.as_bytes()));
    block.instant("time", rows.iter().map(|r| r.time_us));
    block.instant("received_at", rows.iter().map(|r| r.received_at_us));
    block.string("properties", rows.iter().map(|r| r.properties.as_bytes()));
    block.u128("identity", rows.iter().map(|r| r.identity));
    block.u64("payload_hash", rows.iter().map(|r| r.payload_hash));
    block.i64("kafka_offset", rows.iter().map(|r| r.offset));
    block.finish()
}

fn processed_block(rows: &[ProcessedEventRow]) -> EncodedBlock {
    let mut block = Block::new(rows.len(), 200);
    block.low_cardinality("tenant", rows.iter().map(|r| r.tenant.as_str()));
    block.low_cardinality("project", rows.iter().map(|r| r.project.as_str()));
    block.string("customer", rows.iter().map(|r| r.customer.as_bytes()));
    block.low_cardinality("meter", rows.iter().map(|r| r.meter.as_str()));
    block.i64("meter_version", rows.iter().map(|r| r.meter_version));
    block.string("subscription", rows.iter().map(|r| r.subscription.as_bytes()));
    block.string("plan_version", rows.iter().map(|r| r.plan_version.as_bytes()));
    block.strings("prices", rows.iter().map(|r| r.prices.as_slice()));
    block.decimal("quantity", rows.iter().map(|r| r.quantity.units()));
    block.nullable_string("unique_value", rows.iter().map(|r| r.unique_value.as_deref()));
    block.string("group_values", rows.iter().map(|r| r.group_values.as_bytes()));
    block.low_cardinality("source", rows.iter().map(|r| r.source.as_str()));
    block.string("id", rows.iter().map(|r| r.id.as_bytes()));
    block.instant("time", rows.iter().map(|r| r.time_us));
    block.instant("received_at", rows.iter().map(|r| r.received_at_us));
    block.u128("identity", rows.iter().map(|r| r.identity));
    block.i64("kafka_offset", rows.iter().map(|r| r.offset));
    block.finish()
}

fn quarantined_block(rows: &[QuarantinedRow]) -> EncodedBlock {
    let mut block = Block::new(rows.len(), 300);
    block.low_cardinality("tenant", rows.iter().map(|r| r.tenant.as_str()));
    block.low_cardinality("reason", rows.iter().map(|r| r.reason.as_str()));
    block.string("detail", rows.iter().map(|r| r.detail.as_bytes()));
    block.low_cardinality("meter", rows.iter().map(|r| r.meter.as_str()));
    block.low_cardinality("type", rows.iter().map(|r| r.event_type.as_str()));
    block.low_cardinality("source", rows.iter().map(|r| r.source.as_str()));
    block.string("id", rows.iter().map(|r| r.id.as_bytes()));
    block.string("payload", rows.iter().map(|r| r.payload.as_slice()));
    block.i64("kafka_offset", rows.iter().map(|r| r.offset));
    block.finish()
}

fn release_block(rows: &[ReleaseRow]) -> EncodedBlock {
    let mut block = Block::new(rows.len(), 40);
    block.instant("quarantined_at", rows.iter().map(|r| r.quarantined_at_us));
    block.low_cardinality("meter", rows.iter().map(|r| r.meter.as_str()));
    block.low_cardinality("outcome", rows.iter().map(|r| r.outcome.as_str()));
    block.i64("kafka_offset", rows.iter().map(|r| r.offset));
    block.finish()
}

fn backfill_block(rows: &[BackfillRow]) -> EncodedBlock {
    let mut block = Block::new(rows.len(), 120);
    block.string("meter_id", rows.iter().map(|r| r.meter_id.as_bytes()));
    block.low_cardinality("meter", rows.iter().map(|r| r.meter.as_str()));
    block.instant("begun_at", rows.iter().map(|r| r.begun_at_us));
    block.low_cardinality("through_tenant", rows.iter().map(|r| r.through.tenant.as_str()));
    block.instant("through_time", rows.iter().map(|r| r.through.time_us));
    block.u128("through_identity", rows.iter().map(|r| r.through.identity));
    block.u64("events", rows.iter().map(|r| r.events));
    block.bool("done", rows.iter().map(|r| r.done));
    block.finish()
}

fn conflict_block(rows: &[ConflictRow]) -> EncodedBlock {
    let mut block = Block::new(rows.len(), 300);
    block.low_cardinality("tenant", rows.iter().map(|r| r.tenant.as_str()));
    block.low_cardinality("source", rows.iter().map(|r| r.source.as_str()));
    block.string("id", rows.iter().map(|r| r.id.as_bytes()));
    block.string("payload", rows.iter().map(|r| r.payload.as_slice()));
    block.u64("payload_hash", rows.iter().map(|r| r.payload_hash));
    block.u64("first_payload_hash", rows.iter().map(|r| r.first_payload_hash));
    block.i32("first_partition", rows.iter().map(|r| r.first_partition));
    block.i64("first_offset", rows.iter().map(|r| r.first_offset));
    block.i64("kafka_offset", rows.iter().map(|r| r.offset));
    block.finish()
}
