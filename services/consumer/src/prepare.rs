//! A partition that was just assigned: what must be known before anything is decided, and the batch that somebody began.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use meridian_usage_store::UsageStoreError;

use crate::{
    catalogue::Meters,
    decide::{Attempt, Known, ReadRecord, read},
    dedupe::{DedupeIndex, IndexError},
    flush::{Pause, Stopped, chain},
    intent::{Intent, Work},
    kafka::KafkaFailure,
    partition::Worker,
    progress::source,
};

impl Worker {
    /// Learns everything that deciding needs. Returns the batch that was begun and not ended.
    pub(crate) async fn prepare(&mut self) -> Result<Option<Intent>, Stopped> {
        let mut pause = Pause::default();
        loop {
            match self.try_prepare().await {
                Ok(intent) => return Ok(intent),
                Err(PrepareFailure::Stopped(stopped)) => return Err(stopped),
                Err(PrepareFailure::Wait(reason)) => {
                    tracing::warn!(
                        partition = self.assignment.partition,
                        reason,
                        "a partition cannot be prepared; trying again"
                    );
                }
            }
            self.wait(&mut pause).await?;
        }
    }

    async fn try_prepare(&mut self) -> Result<Option<Intent>, PrepareFailure> {
        let partition = self.assignment.partition;
        // Never by a catalogue that is older than what the owner before us began meters by.
        self.catalogue.refresh_since(Instant::now()).await.map_err(PrepareFailure::wait)?;
        let committed = self.kafka.committed(partition).await?;
        let intent = Intent::read(&committed.metadata).map_err(PrepareFailure::wait)?;
        let stored_us = self
            .store
            .partition_stored(&self.topic, partition)
            .await
            .map_err(PrepareFailure::store)?
            .stored_at_us;
        let reported_us = self
            .records
            .processed_through(&[source(partition)])
            .await
            .map_err(PrepareFailure::wait)?
            .unwrap_or(0);
        self.position = committed.offset;
        self.stored_floor_us = stored_us.max(reported_us);
        // Rows later than the intent exist, so its batch was finished: the position was set back behind our back.
        let unfinished = intent.filter(|intent| {
            let current = intent.stored_at_us >= stored_us;
            if !current {
                tracing::warn!(
                    partition,
                    "the committed position is older than what is stored; ids decide what is new"
                );
            }
            current
        });
        if let Some(intent) = &unfinished {
            self.stored_floor_us = self.stored_floor_us.max(intent.stored_at_us);
        }
        let begun_before_us = unfinished.as_ref().map(|intent| intent.stored_at_us);
        let backfills = self.store.backfills(&self.topic, partition, begun_before_us).await;
        let backfills = backfills.map_err(PrepareFailure::store)?;
        self.backfills = backfills.into_iter().map(|b| (b.meter_id.clone(), b)).collect();
        let before_us = unfinished.as_ref().map_or(stored_us + 1, |intent| intent.stored_at_us);
        self.fill_index(stored_us, before_us, committed.partitions).await?;
        Ok(unfinished)
    }

    /// Brings the index up to what was stored before an instant, from ClickHouse.
    async fn fill_index(
        &mut self,
        stored_us: i64,
        before_us: i64,
        partitions: i64,
    ) -> Result<(), PrepareFailure> {
        let partition = self.assignment.partition;
        let (directory, topic, cache) =
            (self.index_directory.clone(), self.topic.clone(), self.index_cache_bytes);
        let opened = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&directory)
                .map(|()| DedupeIndex::open(&directory, &topic, partition, cache))
        });
        // The worker of an earlier assignment may be just about to close it.
        let mut index = opened
            .await
            .map_err(Stopped::from)?
            .map_err(PrepareFailure::wait)?
            .map_err(PrepareFailure::wait)?;
        let moved = index.partitions().map_err(Stopped::from)?.is_some_and(|before| before != partitions);
        if index.stored_through().map_err(Stopped::from)? > stored_us.max(before_us) {
            // ClickHouse was put back to an earlier state: what it lost must not be taken for known when it is replayed.
            tracing::error!(
                partition,
                "the dedupe index knows rows that ClickHouse has lost; it is made anew"
            );
            index.clear().map_err(Stopped::from)?;
        }
        let through_us = if moved { 0 } else { index.stored_through().map_err(Stopped::from)? };
        // With another number of partitions an id may be stored under any of them.
        let only = (!moved).then_some(partition);
        let begun = Instant::now();
        let index = Mutex::new(index);
        let filled = self
            .store
            .known_events(&self.topic, only, through_us, before_us, |events| {
                let marks: Vec<(u128, Known)> = events
                    .iter()
                    .map(|e| {
                        (
                            e.identity,
                            Known { partition: e.partition, offset: e.offset, payload_hash: e.payload_hash },
                        )
                    })
                    .collect();
                let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
                // No instant yet: pieces come in no order, and a torn look must begin again.
                tokio::task::block_in_place(|| index.mark(&marks, None)).map_err(|error| unreadable(&error))
            })
            .await
            .map_err(PrepareFailure::store)?;
        let mut index = index.into_inner().unwrap_or_else(PoisonError::into_inner);
        index.mark(&[], Some(before_us - 1)).map_err(Stopped::from)?;
        index.set_partitions(partitions).map_err(Stopped::from)?;
        if filled > 0 {
            tracing::info!(
                partition,
                ids = filled,
                seconds = begun.elapsed().as_secs_f64(),
                "dedupe index filled from ClickHouse"
            );
        }
        self.index = Some(index);
        Ok(())
    }

    /// Makes the batch again that somebody began.
    pub(crate) async fn finish(&mut self, intent: Intent) -> Result<(), Stopped> {
        tracing::info!(partition = self.assignment.partition, %intent, "finishing a batch that was begun");
        let meters = self.meters_of(&intent).await?;
        let Some(begin) = self.position else { return Ok(()) };
        let last = match &intent.work {
            Work::Records { last } => *last,
            Work::Release { .. } => return self.release_again(begin, intent, &meters).await,
            Work::Begin => return self.carry_out_beginning(begin, intent, &meters).await,
            Work::Backfill { .. } => return self.backfill_again(begin, intent, &meters).await,
        };
        let records = self.records_through(begin, last).await?;
        let _permit = self.permit().await;
        let catalogue = self.fresh_catalogue().await?;
        let prepared = self.decide(records, Attempt::Again, begin, intent, meters, &catalogue).await?;
        self.carry_out(prepared).await
    }

    /// The records of an intent's range, as far as Kafka still has them.
    async fn records_through(&mut self, begin: i64, last: i64) -> Result<Vec<ReadRecord>, Stopped> {
        let buffer = self.assignment.buffer.clone();
        buffer.need_through(last);
        let mut looked = Instant::now();
        loop {
            let waiting = buffer.waiting();
            if waiting.is_some_and(|w| w.newest_offset >= last || w.first_offset < begin) {
                break;
            }
            tokio::select! {
                () = self.shared.draining.cancelled() => return Err(Stopped::Draining),
                () = buffer.arrived() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            // A log that ends before the range does, or was made anew, never brings it.
            if looked.elapsed() > Duration::from_secs(5) {
                looked = Instant::now();
                let partition = self.assignment.partition;
                if let Ok(marks) = self.kafka.watermarks(vec![partition]).await
                    && marks.iter().any(|m| m.high <= last || m.low > last)
                {
                    break;
                }
            }
        }
        let first = buffer.waiting().map(|w| w.first_offset);
        if first != Some(begin) {
            tracing::error!(
                partition = self.assignment.partition,
                begin,
                last,
                first,
                "records of a batch that was begun are gone from Kafka; what is left of it is made, replay the rest from the buffer"
            );
        }
        if first.is_some_and(|first| first < begin) {
            return Ok(Vec::new()); // Another log under the same name: nothing of it belongs to the range.
        }
        Ok(read(buffer.take_through(last)))
    }

    /// The meters by which an intent's batch was decided the first time.
    pub(crate) async fn meters_of(&self, intent: &Intent) -> Result<Arc<Meters>, Stopped> {
        let mut pause = Pause::default();
        loop {
            if let Some(current) = self.catalogue.current()
                && current.meters.hash() == intent.meters
            {
                return Ok(current.meters.clone());
            }
            match self.store.kept_meters(&intent.meters).await {
                Ok(Some(json)) => match Meters::from_json(&json) {
                    Ok(meters) => return Ok(Arc::new(meters)),
                    Err(error) => {
                        tracing::error!(%error, hash = intent.meters, "kept meters cannot be read by this release")
                    }
                },
                // They are kept before any intent names them: only a ClickHouse that lost data does not have them.
                Ok(None) => tracing::error!(
                    hash = intent.meters,
                    "the meters of a batch that was begun are not in ClickHouse"
                ),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "reading the meters of a batch that was begun")
                }
            }
            self.wait(&mut pause).await?;
        }
    }
}

fn unreadable(error: &IndexError) -> UsageStoreError {
    UsageStoreError::Unreadable { doing: "filling the dedupe index", problem: chain(error) }
}

/// Why a partition is not prepared yet.
enum PrepareFailure {
    Stopped(Stopped),
    /// A store is away, or metadata is of a later release: trying again is all there is to do.
    Wait(String),
}

impl PrepareFailure {
    fn wait(error: impl std::error::Error) -> Self {
        Self::Wait(chain(&error))
    }

    fn store(error: UsageStoreError) -> Self {
        Self::Wait(chain(&error))
    }
}

impl From<Stopped> for PrepareFailure {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<KafkaFailure> for PrepareFailure {
    fn from(error: KafkaFailure) -> Self {
        Self::wait(error)
    }
}
