//! The outbox: events that were acknowledged without Kafka. Written before the acknowledgement, read by every
//! ingest replica, deleted only when Kafka has confirmed. Two replicas may produce the same entry: the consumer
//! knows an id that it has seen.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use crate::{
    Buffer, BufferError, EventRecord, OUTBOX_SHARDS, PutError,
    drain::take_text,
    key,
    write::{BATCH_ITEMS_MAX, Backoff},
};

const DELETE_WITHIN: Duration = Duration::from_secs(10);
const DELETES_IN_FLIGHT: usize = 4;
const PAGE_ITEMS_MAX: usize = 1_000;
/// Reading stops after the page that passes this.
const READ_BYTES_MAX: usize = 4 << 20;

/// One event that waits for Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    pub shard: u8,
    pub sort_key: String,
    /// The Kafka key.
    pub identity_hex: String,
    /// The Kafka value: canonical JSON.
    pub json: String,
}

impl Buffer {
    /// Writes events to the outbox; answers as `put_events` does.
    pub async fn put_outbox(&self, records: &[EventRecord], deadline: Instant) -> Vec<Result<(), PutError>> {
        self.commit.put(records.iter().map(|r| r.outbox_item()).collect(), deadline).await
    }

    /// The next entries of a shard: `limit` at most, and a few MiB at most whatever their sizes. None means that the
    /// shard is empty.
    pub async fn outbox(&self, shard: u8, limit: usize) -> Result<Vec<OutboxEntry>, BufferError> {
        debug_assert!(shard < OUTBOX_SHARDS);
        let partition = key::outbox_partition(shard);
        let mut entries: Vec<OutboxEntry> = Vec::new();
        let mut bytes = 0;
        let mut from = None;
        loop {
            let wanted = (limit - entries.len()).min(PAGE_ITEMS_MAX) as i32;
            let page = self.query_page(&partition, wanted, from).await?;
            for mut item in page.items {
                let entry = OutboxEntry {
                    shard,
                    sort_key: take_text(&mut item, &partition, "sk")?,
                    identity_hex: take_text(&mut item, &partition, "identity")?,
                    json: take_text(&mut item, &partition, "event")?,
                };
                bytes += entry.json.len();
                entries.push(entry);
            }
            // A page ends at 1 MB whatever the limit says; only a missing continuation is the end.
            from = page.next;
            if from.is_none() || entries.len() >= limit || bytes >= READ_BYTES_MAX {
                return Ok(entries);
            }
        }
    }

    /// Deletes entries that Kafka has confirmed. The sort key holds the payload's hash, so an entry written
    /// since with another payload is not touched.
    pub async fn delete_outbox(&self, entries: &[OutboxEntry]) -> Result<(), BufferError> {
        let deadline = Instant::now() + DELETE_WITHIN;
        let batches: Vec<Vec<WriteRequest>> =
            entries.chunks(BATCH_ITEMS_MAX).map(|batch| batch.iter().map(delete_request).collect()).collect();
        stream::iter(batches)
            .map(|batch| self.delete_batch(batch, deadline))
            .buffer_unordered(DELETES_IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn delete_batch(
        &self,
        mut requests: Vec<WriteRequest>,
        deadline: Instant,
    ) -> Result<(), BufferError> {
        let mut backoff = Backoff::default();
        loop {
            let answer = self
                .client
                .batch_write_item()
                .request_items(self.table.as_ref(), requests)
                .send()
                .await
                .map_err(|error| BufferError::of("deleting from the outbox", error))?;
            let mut unprocessed = answer.unprocessed_items.unwrap_or_default();
            requests = unprocessed.remove(self.table.as_ref()).unwrap_or_default();
            if requests.is_empty() {
                return Ok(());
            }
            if !backoff.wait(deadline).await {
                return Err(BufferError::NotDeleted(requests.len()));
            }
        }
    }
}

fn delete_request(entry: &OutboxEntry) -> WriteRequest {
    let delete = DeleteRequest::builder()
        .key("pk", AttributeValue::S(key::outbox_partition(entry.shard)))
        .key("sk", AttributeValue::S(entry.sort_key.clone()))
        .build()
        .expect("the key is set");
    WriteRequest::builder().delete_request(delete).build()
}
