//! Reading back: what was received for a tenant in a range of minutes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::{Buffer, BufferError, EVENT_SHARDS, MinuteRange, StoredEvent, key};

/// Partitions read at once.
const QUERIES_IN_FLIGHT: usize = 8;
/// The store itself ends a page at 1 MB.
const PAGE_ITEMS: i32 = 500;

pub(crate) type Attributes = HashMap<String, AttributeValue>;

/// One page of a partition and where the next one starts.
pub(crate) struct Page {
    pub items: Vec<Attributes>,
    pub next: Option<Attributes>,
}

impl Buffer {
    /// Every event of `tenant` received in `range`, in no order within a minute. An id sent again with another
    /// payload appears once for each payload: `received_at` in the JSON says which came first.
    pub fn drain(
        &self,
        tenant: &str,
        range: MinuteRange,
    ) -> impl Stream<Item = Result<StoredEvent, BufferError>> + Send + use<> {
        let (buffer, tenant) = (self.clone(), tenant.to_owned());
        let partitions = range.minutes().flat_map(move |minute| {
            let tenant = tenant.clone();
            (0..EVENT_SHARDS).map(move |shard| key::event_partition(&tenant, minute, shard))
        });
        stream::iter(partitions)
            .map(move |partition| buffer.clone().partition(partition).boxed())
            .flatten_unordered(QUERIES_IN_FLIGHT)
    }

    fn partition(self, partition: String) -> impl Stream<Item = Result<StoredEvent, BufferError>> + Send {
        let first: Option<Option<Attributes>> = Some(None);
        let name = partition.clone();
        stream::try_unfold(first, move |from| {
            let (buffer, partition) = (self.clone(), partition.clone());
            async move {
                let Some(from) = from else { return Ok(None) };
                let page = buffer.query_page(&partition, PAGE_ITEMS, from).await?;
                Ok(Some((page.items, page.next.map(Some))))
            }
        })
        .map_ok(move |items| {
            let name = name.clone();
            stream::iter(items.into_iter().map(move |mut item| {
                Ok(StoredEvent {
                    sort_key: take_text(&mut item, &name, "sk")?,
                    json: take_text(&mut item, &name, "event")?,
                })
            }))
        })
        .try_flatten()
    }

    pub(crate) async fn query_page(
        &self,
        partition: &str,
        items_max: i32,
        from: Option<Attributes>,
    ) -> Result<Page, BufferError> {
        let answer = self
            .client
            .query()
            .table_name(self.table.as_ref())
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(partition.to_owned()))
            // An acknowledged event must be seen; the default read may miss the latest writes.
            .consistent_read(true)
            .limit(items_max)
            .set_exclusive_start_key(from)
            .send()
            .await
            .map_err(|error| BufferError::of("reading a partition", error))?;
        Ok(Page { items: answer.items.unwrap_or_default(), next: answer.last_evaluated_key })
    }
}

pub(crate) fn take_text(
    item: &mut Attributes,
    partition: &str,
    attribute: &'static str,
) -> Result<String, BufferError> {
    match item.remove(attribute) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(BufferError::Damaged { partition: partition.to_owned(), attribute }),
    }
}
