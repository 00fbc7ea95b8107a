//! One BatchWriteItem call carried to its end: unprocessed items are tried again, and one bad item does not take
//! its twenty-four neighbours with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use tokio::time::Instant;

use crate::{
    error::PutError,
    key::{ItemKey, PARTITION_KEY_BYTES_MAX, SORT_KEY_BYTES_MAX},
};

/// BatchWriteItem's own bound. 25 items of at most 400 KiB stay below its other bound, 16 MB, so that bytes
/// need no counting.
pub(crate) const BATCH_ITEMS_MAX: usize = 25;
pub(crate) const ITEM_BYTES_MAX: usize = 400 * 1024;
const _: () = assert!(BATCH_ITEMS_MAX * ITEM_BYTES_MAX < 16 * 1000 * 1000);

/// Attribute names and the expiry number, rounded up.
const ITEM_OVERHEAD_BYTES: usize = 96;

pub(crate) const PROBE_WITHIN: Duration = Duration::from_secs(2);
const PROBE_EXPIRES_AT: i64 = 1;

const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// One item to write.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub key: ItemKey,
    pub json: Arc<str>,
    /// Outbox items carry their Kafka key, so that draining parses nothing.
    pub identity: Option<String>,
    pub expires_at: Option<i64>,
}

impl Item {
    /// The one item of a partition of its own, the same every time, expired since 1970.
    pub fn probe() -> Item {
        let key = ItemKey { partition: "probe".to_owned(), sort: "probe".to_owned() };
        Item { key, json: "{}".into(), identity: None, expires_at: Some(PROBE_EXPIRES_AT) }
    }

    /// Refuses what the store would refuse: in a batch its refusal hits everybody.
    pub fn check(&self) -> Result<(), PutError> {
        let bytes = self.key.partition.len() + self.key.sort.len() + self.json.len() + ITEM_OVERHEAD_BYTES;
        if bytes > ITEM_BYTES_MAX {
            return Err(PutError::TooLarge { bytes, max: ITEM_BYTES_MAX });
        }
        if self.key.partition.len() > PARTITION_KEY_BYTES_MAX {
            return Err(PutError::TooLarge { bytes: self.key.partition.len(), max: PARTITION_KEY_BYTES_MAX });
        }
        if self.key.sort.len() > SORT_KEY_BYTES_MAX {
            return Err(PutError::TooLarge { bytes: self.key.sort.len(), max: SORT_KEY_BYTES_MAX });
        }
        Ok(())
    }

    fn request(&self) -> WriteRequest {
        let mut item = HashMap::with_capacity(5);
        item.insert("pk".to_owned(), AttributeValue::S(self.key.partition.clone()));
        item.insert("sk".to_owned(), AttributeValue::S(self.key.sort.clone()));
        item.insert("event".to_owned(), AttributeValue::S(self.json.to_string()));
        if let Some(identity) = &self.identity {
            item.insert("identity".to_owned(), AttributeValue::S(identity.clone()));
        }
        if let Some(at) = self.expires_at {
            item.insert("expires_at".to_owned(), AttributeValue::N(at.to_string()));
        }
        let put = PutRequest::builder().set_item(Some(item)).build().expect("the item is set");
        WriteRequest::builder().put_request(put).build()
    }
}

/// An item, and how to answer those who wait for it.
pub(crate) struct Pending<S> {
    pub item: Item,
    pub settle: S,
}

#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    table: Arc<str>,
}

impl Writer {
    pub fn new(client: Client, table: Arc<str>) -> Writer {
        Writer { client, table }
    }

    /// Writes the items, which must have distinct keys, and settles each as soon as its fate is known. Nothing
    /// is left unsettled: at `deadline` what remains is settled as unknown.
    pub async fn write<S: FnMut(Result<(), PutError>)>(&self, items: Vec<Pending<S>>, deadline: Instant) {
        let mut work = vec![items];
        let mut backoff = Backoff::default();
        while let Some(mut items) = work.pop() {
            let Ok(called) = tokio::time::timeout_at(deadline, self.call(&items)).await else {
                work.push(items);
                break;
            };
            match called {
                Ok(unprocessed) if unprocessed.is_empty() => settle_all(items, Ok(())),
                Ok(unprocessed) => {
                    let (left, done) = items.into_iter().partition(|p| unprocessed.contains(&p.item.key));
                    settle_all(done, Ok(()));
                    work.push(left);
                    if !backoff.wait(deadline).await {
                        break;
                    }
                }
                // The refusal names no item: halve until it stands alone.
                Err(PutError::Refused(_)) if items.len() > 1 => {
                    let half = items.split_off(items.len() / 2);
                    work.push(items);
                    work.push(half);
                }
                Err(PutError::Throttled) => {
                    work.push(items);
                    if !backoff.wait(deadline).await {
                        break;
                    }
                }
                Err(error) => settle_all(items, Err(error)),
            }
        }
        let rest = if backoff.waited { PutError::Throttled } else { PutError::Deadline };
        for items in work {
            settle_all(items, Err(rest.clone()));
        }
    }

    /// One call; the keys that the store did not get to.
    async fn call<S>(&self, items: &[Pending<S>]) -> Result<Vec<ItemKey>, PutError> {
        let requests = items.iter().map(|p| p.item.request()).collect();
        let answer = self
            .client
            .batch_write_item()
            .request_items(self.table.as_ref(), requests)
            .send()
            .await
            .map_err(PutError::of)?;
        let mut unprocessed = answer.unprocessed_items.unwrap_or_default();
        Ok(unprocessed
            .remove(self.table.as_ref())
            .unwrap_or_default()
            .into_iter()
            .filter_map(key_of)
            .collect())
    }
}

fn settle_all<S: FnMut(Result<(), PutError>)>(items: Vec<Pending<S>>, outcome: Result<(), PutError>) {
    for mut pending in items {
        (pending.settle)(outcome.clone());
    }
}

fn key_of(request: WriteRequest) -> Option<ItemKey> {
    let mut item = request.put_request?.item;
    let mut take = |name| match item.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    Some(ItemKey { partition: take("pk")?, sort: take("sk")? })
}

/// Doubling waits with jitter, so that replicas throttled together do not return together.
#[derive(Default)]
pub(crate) struct Backoff {
    step: u32,
    pub waited: bool,
}

impl Backoff {
    /// False when the deadline comes first.
    pub async fn wait(&mut self, deadline: Instant) -> bool {
        self.waited = true;
        let full = (BACKOFF_FIRST * 2u32.saturating_pow(self.step)).min(BACKOFF_MAX);
        self.step = (self.step + 1).min(10);
        let pause = full.mul_f64(0.5 + jitter() / 2.0);
        if Instant::now() + pause >= deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// In [0, 1). The clock's last digits are random enough to spread retries.
fn jitter() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    f64::from(now.subsec_nanos() % 9973) / 9973.0
}
