//! What a consumer asks when it takes over a partition: which ids are stored, and which quarantined rows may be decided again.
//! These questions span tenants, as a Kafka partition does; only the consumer asks them.

use clickhouse::Row;
use serde::Deserialize;

use crate::{
    error::UsageStoreError,
    insert::Token,
    period_usage::instant,
    quarantine::byte_string,
    store::{UsageStore, answered},
};

/// An id that is stored, and where its first record was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
pub struct KnownEvent {
    pub identity: u128,
    pub payload_hash: u64,
    pub partition: i32,
    pub offset: i64,
    pub stored_at_us: i64,
}

/// The last thing that is stored of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionStored {
    pub stored_at_us: i64,
}

/// Which quarantined rows of a partition: stored in `(after, through]`, not released before `released_before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseQuery {
    pub topic: String,
    pub partition: i32,
    /// Event types that some meter counts: rows of other types cannot be decided, however many there are.
    pub event_types: Vec<String>,
    /// (stored_at, offset, meter), exclusive.
    pub after: (i64, i64, String),
    /// (stored_at, offset, meter), inclusive; `None` on a first look.
    pub through: Option<(i64, i64, String)>,
    /// Releases stored at or after this do not count: they are of the very batch that is made again.
    pub released_before_us: i64,
    pub limit: u32,
}

/// A quarantined row that may be decided again.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct ReleaseCandidate {
    pub stored_at_us: i64,
    pub offset: i64,
    pub meter: String,
    pub reason: String,
    #[serde(with = "byte_string")]
    pub payload: Vec<u8>,
}

impl UsageStore {
    /// The ids of a partition stored after `stored_after` and before `stored_before`, in pieces; `partition: None` asks for
    /// all partitions (when a topic got more of them, an id may be stored under another one).
    pub async fn known_events(
        &self,
        topic: &str,
        partition: Option<i32>,
        stored_after_us: i64,
        stored_before_us: i64,
        mut each: impl FnMut(&[KnownEvent]) -> Result<(), UsageStoreError>,
    ) -> Result<u64, UsageStoreError> {
        const PIECE: usize = 20_000;
        let doing = "reading the stored ids of a partition";
        let partition = partition.map(|p| format!("AND kafka_partition = {p}")).unwrap_or_default();
        let sql = format!(
            "SELECT identity, payload_hash, kafka_partition AS partition, kafka_offset AS offset,
                    toUnixTimestamp64Micro(stored_at) AS stored_at_us
             FROM raw_events
             WHERE kafka_topic = ? {partition} AND stored_at > {} AND stored_at < {}",
            instant(stored_after_us.clamp(0, FAR_US)),
            instant(stored_before_us.clamp(0, FAR_US))
        );
        // A rebuild may be long: bounded by the wait for each row rather than for all of them.
        let client = self.client.clone().with_setting("max_execution_time", "0");
        let mut cursor = client.query(&sql).bind(topic).fetch::<KnownEvent>().map_err(|e| away(doing, e))?;
        let (mut piece, mut total) = (Vec::with_capacity(PIECE), 0u64);
        loop {
            let next = answered(doing, cursor.next()).await?;
            let ended = next.is_none();
            piece.extend(next);
            if piece.len() == PIECE || (ended && !piece.is_empty()) {
                each(&piece)?;
                total += piece.len() as u64;
                piece.clear();
            }
            if ended {
                return Ok(total);
            }
        }
    }

    /// The latest `stored_at` of each table that a partition's batches write, so that a new owner continues above it.
    pub async fn partition_stored(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<PartitionStored, UsageStoreError> {
        let tables = [
            "raw_events",
            "processed_events",
            "quarantined_events",
            "event_conflicts",
            "quarantine_releases",
            "meter_backfills",
        ];
        let newest: Vec<String> = tables
            .iter()
            .map(|table| {
                format!(
                    "SELECT toInt64(ifNull(max(toUnixTimestamp64Micro(stored_at)), 0)) AS at FROM {table}
                     WHERE kafka_topic = {{topic:String}} AND kafka_partition = {partition}"
                )
            })
            .collect();
        let sql = format!("SELECT toInt64(max(at)) FROM ({})", newest.join(" UNION ALL "));
        let question = self.client.query_raw(&sql).param("topic", topic).fetch_one::<i64>();
        let stored_at_us = answered("reading what is stored of a partition", question).await?;
        Ok(PartitionStored { stored_at_us })
    }

    /// Quarantined rows of a partition that are not released, in the order of (stored_at, offset, meter).
    pub async fn release_candidates(
        &self,
        query: &ReleaseQuery,
    ) -> Result<Vec<ReleaseCandidate>, UsageStoreError> {
        let through = match &query.through {
            Some((stored, offset, _)) => {
                format!(
                    "AND (q.stored_at, q.kafka_offset, q.meter) <= ({}, {offset}, {{through_meter:String}})",
                    instant(*stored)
                )
            }
            None => String::new(),
        };
        let sql = format!(
            "SELECT toUnixTimestamp64Micro(q.stored_at) AS stored_at_us, q.kafka_offset AS offset, toString(q.meter) AS meter,
                    toString(q.reason) AS reason, q.payload AS payload
             FROM quarantined_events AS q
             LEFT ANTI JOIN (SELECT * FROM quarantine_releases WHERE stored_at < {released}) AS r
               ON q.kafka_topic = r.kafka_topic AND q.kafka_partition = r.kafka_partition
              AND q.stored_at = r.quarantined_at AND q.kafka_offset = r.kafka_offset AND q.meter = r.meter
             WHERE q.kafka_topic = {{topic:String}} AND q.kafka_partition = {partition} AND q.reason != 'malformed'
               AND has({{event_types:Array(String)}}, q.type)
               AND (q.stored_at, q.kafka_offset, q.meter) > ({after}, {after_offset}, {{after_meter:String}}) {through}
               AND q.stored_at < {released}
             ORDER BY q.stored_at, q.kafka_offset, q.meter LIMIT {limit}",
            released = instant(query.released_before_us),
            partition = query.partition,
            after = instant(query.after.0),
            after_offset = query.after.1,
            limit = query.limit,
        );
        let mut question =
            self.client.query_raw(&sql).param("topic", &query.topic).param("after_meter", &query.after.2);
        question = question.param("event_types", &query.event_types);
        if let Some((_, _, meter)) = &query.through {
            question = question.param("through_meter", meter);
        }
        answered("reading quarantined events", question.fetch_all()).await
    }

    /// Keeps the meters by which batches are decided, under the hash of their content. Repeating it changes nothing.
    pub async fn keep_meters(&self, hash: &str, meters: &str) -> Result<(), UsageStoreError> {
        if self.kept_meters(hash).await?.is_some() {
            return Ok(());
        }
        let insert = self
            .client
            .query("INSERT INTO meter_snapshots (hash, meters, stored_at) SELECT ?, ?, now64(6)")
            .bind(hash)
            .bind(meters)
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", format!("meters/{hash}"))
            .execute();
        answered("keeping a snapshot of the meters", insert).await
    }

    pub async fn kept_meters(&self, hash: &str) -> Result<Option<String>, UsageStoreError> {
        let question =
            self.client.query("SELECT meters FROM meter_snapshots WHERE hash = ? LIMIT 1").bind(hash);
        answered("reading a snapshot of the meters", question.fetch_optional::<String>()).await
    }
}

/// Beyond every instant that is stored.
const FAR_US: i64 = 4_102_444_800_000_000;

fn away(doing: &'static str, source: clickhouse::error::Error) -> UsageStoreError {
    UsageStoreError::Away { doing, source }
}

impl Token {
    /// The token of a batch of records.
    pub fn of_records(topic: &str, partition: i32, first: i64, last: i64, stored_at_us: i64) -> Self {
        Self { topic: topic.to_owned(), partition, range: format!("{first}-{last}"), stored_at_us }
    }

    /// The token of a batch of quarantined rows.
    pub fn of_release(topic: &str, partition: i32, stored_at_us: i64) -> Self {
        Self { topic: topic.to_owned(), partition, range: "release".to_owned(), stored_at_us }
    }

    /// The token of a piece of a meter's past.
    pub fn of_backfill(topic: &str, partition: i32, stored_at_us: i64) -> Self {
        Self { topic: topic.to_owned(), partition, range: "backfill".to_owned(), stored_at_us }
    }
}
