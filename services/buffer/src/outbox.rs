//! The outbox: events that were acknowledged without Kafka. Written before the acknowledgement, read by every
//! ingest replica, deleted only when Kafka has confirmed. Two replicas may produce the same entry: the consumer
//! knows an id that it has seen.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, WriteRequest};
use tokio::time::Instant;

use crate::{
    Buffer, BufferError, EventRecord, OUTBOX_SHARDS, PutError,
    drain::take_text,
    key,
    write::{BATCH_ITEMS_MAX, Backoff},
};

const DELETE_WITHIN: Duration = Duration::from_secs(10);

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

    /// The next entries of a shard, `limit` at most. Fewer than `limit` means that the shard holds no more.
    pub async fn outbox(&self, shard: u8, limit: usize) -> Result<Vec<OutboxEntry>, BufferError> {
        debug_assert!(shard < OUTBOX_SHARDS);
        let partition = key::outbox_partition(shard);
        let mut entries = Vec::new();
        let mut from = None;
        // A page ends at 1 MB whatever the limit says; only a missing continuation means the end.
        loop {
            let wanted = (limit - entries.len()).min(1000) as i32;
            let page = self.query_page(&partition, wanted, from).await?;
            for mut item in page.items {
                entries.push(OutboxEntry {
                    shard,
                    sort_key: take_text(&mut item, &partition, "sk")?,
                    identity_hex: take_text(&mut item, &partition, "identity")?,
                    json: take_text(&mut item, &partition, "event")?,
                });
            }
            from = page.next;
            if from.is_none() || entries.len() >= limit {
                return Ok(entries);
            }
        }
    }

    /// Deletes entries that Kafka has confirmed. The sort key holds the payload's hash, so an entry written
    /// since with another payload is not touched.
    pub async fn delete_outbox(&self, entries: &[OutboxEntry]) -> Result<(), BufferError> {
        let deadline = Instant::now() + DELETE_WITHIN;
        for batch in entries.chunks(BATCH_ITEMS_MAX) {
            self.delete_batch(batch.iter().map(delete_request).collect(), deadline).await?;
        }
        Ok(())
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
