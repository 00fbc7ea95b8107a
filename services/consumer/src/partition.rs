//! The life of one assigned partition: preparing → live → gone.
//!
//! - *Preparing*: read the position and the intent, learn what is stored, bring the dedupe index up to it, and finish the batch
//!   that somebody began and did not end. Nothing is decided before all of that is known.
//! - *Live*: batches in the partition's rhythm; between them, what is stored is brought up to a new catalogue (`settle`).
//! - *Gone*: revoked, lost, or draining. Whatever was under way is dropped where it stands: its intent is in Kafka, and
//!   the next owner finishes it. After a revocation nothing is begun, whatever state it was in.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use meridian_daemon::HealthFlag;
use meridian_records::Records;
use meridian_usage_store::{Backfill, UsageStore};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    catalogue::{Catalogue, CatalogueWatch, Meters},
    decide::{Attempt, Circumstances, Known, ReadRecord, Record, decide, read},
    dedupe::{DedupeIndex, IndexError},
    flush::{Pause, Prepared, Stopped, chain, prepare},
    intent::{Intent, Place, Work},
    kafka::{Assignment, Kafka},
    metrics::Metrics,
    pace::Pace,
    progress::PartitionProgress,
};

/// What all partitions share.
#[derive(Clone)]
pub struct Shared {
    pub topic: String,
    pub kafka: Kafka,
    pub store: UsageStore,
    pub records: Records,
    pub catalogue: CatalogueWatch,
    pub metrics: Metrics,
    pub clickhouse_health: HealthFlag,
    /// Cancelled when the program drains: batches under way may end, none is begun.
    pub draining: CancellationToken,
    /// One for each batch that may be in the making at a time.
    pub permits: Arc<Semaphore>,
    pub index_directory: PathBuf,
    pub index_cache_bytes: usize,
    /// Hashes of meters that are known to be kept in ClickHouse.
    pub kept_meters: Arc<Mutex<HashSet<String>>>,
}

pub struct Worker {
    pub(crate) shared: Shared,
    pub(crate) assignment: Assignment,
    pub(crate) progress: Arc<PartitionProgress>,
    /// Present except while a blocking task uses it.
    pub(crate) index: Option<DedupeIndex>,
    /// The next offset to be committed; `None` in a partition that nobody has read yet.
    pub(crate) position: Option<i64>,
    /// The latest instant under which a batch of this partition was stored, or which was reported as processed.
    pub(crate) stored_floor_us: i64,
    pace: Pace,
    /// Hash of the meters that what is stored was brought up to.
    pub(crate) settled: Option<String>,
    pub(crate) sweeping: Option<Sweep>,
    /// The meters that this partition's batches count, by their ids.
    pub(crate) backfills: HashMap<String, Backfill>,
}

/// A look through the quarantine: by which meters, and how far; `None` is all of it.
pub(crate) struct Sweep {
    /// Their hash.
    pub meters: String,
    pub through: Option<Place>,
}

impl std::ops::Deref for Worker {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Worker {
    pub fn new(shared: Shared, assignment: Assignment, progress: Arc<PartitionProgress>) -> Self {
        Self {
            shared,
            assignment,
            progress,
            index: None,
            position: None,
            stored_floor_us: 0,
            pace: Pace::default(),
            settled: None,
            sweeping: None,
            backfills: HashMap::new(),
        }
    }

    /// Until the partition is gone. An error is one of this machine (its disk, a bug): the program must end, because the
    /// partition is still ours and nobody would work on it.
    pub async fn run(mut self) -> Result<(), Stopped> {
        let (partition, epoch) = (self.assignment.partition, self.assignment.epoch);
        let lost = self.assignment.lost.clone();
        let outcome = tokio::select! {
            biased;
            () = lost.cancelled() => Err(Stopped::NotOwned),
            outcome = self.live() => outcome,
        };
        self.progress.gone();
        match outcome {
            Ok(()) | Err(Stopped::Draining) => tracing::info!(partition, epoch, "partition drained"),
            Err(Stopped::NotOwned) => {
                self.metrics.abandoned_batches.inc();
                tracing::info!(partition, epoch, "partition gone");
            }
            Err(fatal @ (Stopped::Index(_) | Stopped::Panicked(_))) => return Err(fatal),
        }
        Ok(())
    }

    async fn live(&mut self) -> Result<(), Stopped> {
        if let Some(intent) = self.prepare().await? {
            self.finish(intent).await?;
        }
        self.progress.live(self.position);
        tracing::info!(partition = self.assignment.partition, position = self.position, "partition live");
        loop {
            // Fair on purpose: a backlog must not keep the quarantine and the past waiting for ever.
            tokio::select! {
                () = self.shared.draining.cancelled() => return Ok(()),
                () = self.due() => self.next_batch().await?,
                catalogue = self.unsettled() => self.settle(&catalogue).await?,
            }
        }
    }

    /// Returns when a batch is due.
    async fn due(&self) {
        loop {
            let Some(waiting) = self.assignment.buffer.waiting() else {
                self.assignment.buffer.arrived().await;
                continue;
            };
            let due = self.pace.due(waiting.oldest, waiting.records, waiting.bytes);
            if due <= Instant::now() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = self.assignment.buffer.arrived() => {}
            }
        }
    }

    async fn next_batch(&mut self) -> Result<(), Stopped> {
        let _permit = self.permit().await;
        let mut catalogue = self.fresh_catalogue().await?;
        self.pace.begun(Instant::now());
        let records = self.assignment.buffer.take(Pace::RECORDS_MAX, Pace::BYTES_MAX);
        let (Some(first), Some(last)) = (records.first().map(|r| r.offset), records.last().map(|r| r.offset))
        else {
            return Ok(());
        };
        let taken = Instant::now();
        let read = read_aside(records).await?;
        if !all_counted(&read, &catalogue.meters) {
            // A meter may have been made a moment ago: ask once, before anything is called unknown.
            if let Err(error) = self.catalogue.refresh_since(taken).await {
                tracing::warn!(error = %chain(&error), "unknown event types, and the catalogue cannot be asked");
            }
            catalogue = self.fresh_catalogue().await?;
        }
        let meters = catalogue.meters.clone();
        self.begin_meters(self.position.unwrap_or(first), &meters).await?;
        self.keep_meters(&meters).await?;
        let intent = Intent {
            stored_at_us: self.next_stored_at(),
            meters: meters.hash().to_owned(),
            work: Work::Records { last },
        };
        let prepared = self.decide(read, Attempt::First, first, intent, meters, &catalogue).await?;
        self.carry_out(prepared).await
    }

    /// Step 0 of a flush, beside the runtime: reading and encoding 50,000 events takes a while.
    pub(crate) async fn decide(
        &mut self,
        records: Vec<ReadRecord>,
        attempt: Attempt,
        begin: i64,
        intent: Intent,
        meters: Arc<Meters>,
        catalogue: &Catalogue,
    ) -> Result<Prepared, Stopped> {
        let begun = Instant::now();
        let (partition, topic) = (self.assignment.partition, self.topic.clone());
        let subscriptions = catalogue.subscriptions.clone();
        let count = records.len();
        let prepared = self
            .with_index(move |index| {
                let identities: Vec<u128> =
                    records.iter().filter_map(|r| r.outcome.as_ref().ok()).map(|r| r.identity).collect();
                let known: HashMap<u128, Known> = index.look_up(&identities)?;
                let circumstances = Circumstances {
                    partition,
                    attempt,
                    known: &known,
                    meters: &meters,
                    subscriptions: &subscriptions,
                };
                let decision = decide(records, &circumstances);
                let mut prepared = prepare(&topic, partition, begin, intent, decision);
                prepared.counts.records = count as u64;
                Ok(prepared)
            })
            .await?;
        self.metrics.observe_step("decide", begun);
        self.metrics.batch_records.observe(count as f64);
        Ok(prepared)
    }

    /// An instant later than any under which this partition stored before, and not before one that was reported.
    pub(crate) fn next_stored_at(&mut self) -> i64 {
        let now_us = now_us();
        self.stored_floor_us = now_us.max(self.stored_floor_us + 1).max(self.progress.reported_us());
        self.stored_floor_us
    }

    /// Meters must be in ClickHouse before an intent names them.
    pub(crate) async fn keep_meters(&self, meters: &Meters) -> Result<(), Stopped> {
        let kept = || self.kept_meters.lock().unwrap_or_else(PoisonError::into_inner).contains(meters.hash());
        let mut pause = Pause::default();
        while !kept() {
            match self.store.keep_meters(meters.hash(), &meters.to_json()).await {
                Ok(()) => {
                    let mut all = self.kept_meters.lock().unwrap_or_else(PoisonError::into_inner);
                    all.insert(meters.hash().to_owned());
                }
                Err(error) => {
                    self.clickhouse_health.set_failing(chain(&error));
                    tracing::warn!(error = %chain(&error), "the meters cannot be kept in ClickHouse; trying again");
                    self.wait(&mut pause).await?;
                }
            }
        }
        Ok(())
    }

    /// A catalogue that Postgres confirmed lately; partitions wait for it, unless the program drains.
    pub(crate) async fn fresh_catalogue(&self) -> Result<Arc<Catalogue>, Stopped> {
        tokio::select! {
            () = self.shared.draining.cancelled() => Err(Stopped::Draining),
            catalogue = self.catalogue.fresh() => Ok(catalogue),
        }
    }

    /// Lets a blocking task use the index. When the worker is dropped meanwhile, the task ends and closes the index.
    pub(crate) async fn with_index<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut DedupeIndex) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Stopped> {
        let mut index = self.index.take().expect("the index is there once the partition is prepared");
        let (index, result) = tokio::task::spawn_blocking(move || {
            let result = work(&mut index);
            (index, result)
        })
        .await?;
        self.index = Some(index);
        Ok(result?)
    }

    pub(crate) async fn permit(&self) -> tokio::sync::OwnedSemaphorePermit {
        let permits = self.permits.clone();
        permits.acquire_owned().await.expect("the permits are never closed")
    }
}

async fn read_aside(records: Vec<Record>) -> Result<Vec<ReadRecord>, Stopped> {
    Ok(tokio::task::spawn_blocking(move || read(records)).await?)
}

fn all_counted(records: &[ReadRecord], meters: &Meters) -> bool {
    let events = records.iter().filter_map(|record| record.outcome.as_ref().ok());
    events.map(|read| &read.event).all(|event| meters.is_counted(event.tenant.as_str(), &event.event_type))
}

/// Now, in microseconds since 1970.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
