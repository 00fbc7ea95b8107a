//! One batch, carried out. The order is the whole point; beside each step stands what a crash right after it costs.
//!
//! 0. *Decide.* Nothing is written yet. A crash costs nothing.
//! 1. *Intent*: the range, the instant of storing and the meters' hash are committed to Kafka at the batch's own beginning.
//!    A crash: the successor reads the intent, makes the same batch, goes on at 2. Costs reading the range again.
//! 2. *Insert*: quarantine, conflicts, processed (with its roll-up), releases, backfills, raw, each with its token. A crash between two of
//!    them, or with a reply lost: the successor inserts all of them again; ClickHouse drops what it has. Costs the same.
//! 3. *Mark* the ids in the dedupe index. A crash: the marks are at the batch's own offsets, so the batch made again finds its
//!    own marks and takes them for what they are. Marking before 2 would lose events: the id known, the row nowhere.
//! 4. *Commit* the next position, without an intent. A crash before: as after 3. After: nothing is left to do.
//!
//! A step that fails is tried again without end, with growing pauses, while the partition is ours: 1 again before each new
//! try of 2, because it proves that we still own the partition, and the insert's deadline is taken before that proof.

use std::time::{Duration, Instant};

use meridian_usage_store::{EncodedInsert, StoredBatch, Token, UsageStoreError};

use crate::{
    crash,
    decide::{Decision, Known},
    dedupe::{DedupeIndex, IndexError},
    intent::{Intent, Work},
    kafka::KafkaFailure,
    metrics::ReasonLabel,
    metrics::TableLabel,
    partition::Worker,
};

/// First and longest pause between two tries.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a batch was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The program is draining; the next owner finishes the batch from its intent.
    #[error("the program is draining")]
    Draining,
    /// The partition went to somebody else, who finishes the batch from its intent.
    #[error("the partition is no longer ours")]
    NotOwned,
    /// The index on our own disk fails: nothing can be decided without it.
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("a blocking task died")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A batch that is decided and encoded.
pub struct Prepared {
    pub intent: Intent,
    /// Where the batch begins: the position under which the intent is committed.
    pub begin: i64,
    /// Where the next one begins.
    pub end: i64,
    pub inserts: Vec<EncodedInsert>,
    pub marks: Vec<(u128, Known)>,
    pub counts: Counts,
}

/// What to tell the metrics when it is done.
#[derive(Debug, Default)]
pub struct Counts {
    pub records: u64,
    pub duplicates: u64,
    pub conflicts: u64,
    pub quarantined: Vec<String>,
    pub released: u64,
    pub backfilled: u64,
}

/// Encodes what was decided, under the token of the intent's work.
pub fn prepare(topic: &str, partition: i32, begin: i64, intent: Intent, decision: Decision) -> Prepared {
    let (token, end) = match &intent.work {
        Work::Records { last } => {
            (Token::of_records(topic, partition, begin, *last, intent.stored_at_us), last + 1)
        }
        Work::Release { .. } => (Token::of_release(topic, partition, intent.stored_at_us), begin),
        Work::Begin | Work::Backfill { .. } => {
            (Token::of_backfill(topic, partition, intent.stored_at_us), begin)
        }
    };
    let counts = Counts {
        records: 0,
        duplicates: decision.duplicates,
        conflicts: decision.conflicts.len() as u64,
        quarantined: decision.quarantined.iter().map(|row| row.reason.clone()).collect(),
        released: decision.releases.len() as u64,
        backfilled: if decision.backfills.is_empty() { 0 } else { decision.processed.len() as u64 },
    };
    let batch = StoredBatch {
        token,
        raw: decision.raw,
        processed: decision.processed,
        quarantined: decision.quarantined,
        conflicts: decision.conflicts,
        releases: decision.releases,
        backfills: decision.backfills,
    };
    Prepared { intent, begin, end, inserts: batch.encode(), marks: decision.marks, counts }
}

impl Worker {
    /// Steps 1 to 4.
    pub async fn carry_out(&mut self, prepared: Prepared) -> Result<(), Stopped> {
        let Prepared { intent, begin, end, inserts, marks, counts } = prepared;
        // A batch of nothing but duplicates stores nothing, so there is nothing to promise either.
        if !inserts.is_empty() {
            self.store(&intent, begin, &inserts).await?;
        }
        let marked = Instant::now();
        self.mark(marks, intent.stored_at_us).await?;
        self.metrics.observe_step("mark", marked);
        crash::point("after-mark");

        let committed = Instant::now();
        self.commit_position(end).await?;
        self.metrics.observe_step("commit", committed);
        crash::point("after-commit");
        self.tell(&counts, &inserts);
        Ok(())
    }

    /// Steps 1 and 2, together until all rows are stored.
    async fn store(&mut self, intent: &Intent, begin: i64, inserts: &[EncodedInsert]) -> Result<(), Stopped> {
        let mut stored = 0;
        let mut pause = Pause::default();
        loop {
            match self.try_store(intent, begin, &inserts[stored..], &mut stored).await {
                Ok(()) => {
                    self.clickhouse_health.set_ok();
                    return Ok(());
                }
                Err(StoreFailure::Kafka(KafkaFailure::NotOwned | KafkaFailure::Stopped)) => {
                    return Err(Stopped::NotOwned);
                }
                Err(StoreFailure::Kafka(error)) => {
                    self.metrics.step_failed("intent");
                    tracing::warn!(partition = self.assignment.partition, %error, "the intent of a batch cannot be committed; trying again");
                }
                Err(StoreFailure::ClickHouse(error)) => {
                    self.metrics.step_failed("insert");
                    self.clickhouse_health.set_failing(chain(&error));
                    tracing::warn!(partition = self.assignment.partition, error = %chain(&error), "rows cannot be stored; trying again");
                }
            }
            self.wait(&mut pause).await?;
        }
    }

    async fn try_store(
        &self,
        intent: &Intent,
        begin: i64,
        inserts: &[EncodedInsert],
        stored: &mut usize,
    ) -> Result<(), StoreFailure> {
        // Before the proof of ownership, see the module `insert` of the usage store.
        let deadline = self.store.deadline().await.map_err(StoreFailure::ClickHouse)?;
        let begun = Instant::now();
        self.kafka.commit(&self.assignment, begin, intent.to_string()).await.map_err(StoreFailure::Kafka)?;
        self.metrics.observe_step("intent", begun);
        crash::point("after-intent");
        for insert in inserts {
            let begun = Instant::now();
            self.store.insert(insert, deadline).await.map_err(StoreFailure::ClickHouse)?;
            self.metrics.observe_step("insert", begun);
            *stored += 1;
            crash::point(&format!("after-insert-{}", insert.table()));
        }
        Ok(())
    }

    /// Step 3.
    async fn mark(&mut self, marks: Vec<(u128, Known)>, stored_at_us: i64) -> Result<(), Stopped> {
        if marks.is_empty() {
            return Ok(());
        }
        self.with_index(move |index: &mut DedupeIndex| index.mark(&marks, Some(stored_at_us))).await
    }

    /// Step 4.
    async fn commit_position(&mut self, end: i64) -> Result<(), Stopped> {
        let mut pause = Pause::default();
        loop {
            match self.kafka.commit(&self.assignment, end, String::new()).await {
                Ok(()) => {
                    self.progress.flushed(end);
                    self.position = Some(end);
                    return Ok(());
                }
                Err(KafkaFailure::NotOwned | KafkaFailure::Stopped) => return Err(Stopped::NotOwned),
                Err(error) => {
                    self.metrics.step_failed("commit");
                    tracing::warn!(partition = self.assignment.partition, %error, "a position cannot be committed; trying again");
                }
            }
            self.wait(&mut pause).await?;
        }
    }

    /// A pause before the next try, unless the program drains.
    pub async fn wait(&self, pause: &mut Pause) -> Result<(), Stopped> {
        tokio::select! {
            () = self.draining.cancelled() => Err(Stopped::Draining),
            () = tokio::time::sleep(pause.next()) => Ok(()),
        }
    }

    fn tell(&self, counts: &Counts, inserts: &[EncodedInsert]) {
        let Counts { records, duplicates, conflicts, quarantined, released, backfilled } = counts;
        self.metrics.records.inc_by(*records);
        self.metrics.duplicates.inc_by(*duplicates);
        self.metrics.conflicts.inc_by(*conflicts);
        self.metrics.released.inc_by(*released);
        self.metrics.backfilled.inc_by(*backfilled);
        for reason in quarantined {
            self.metrics.quarantined.get_or_create(&ReasonLabel { reason: reason.clone() }).inc();
        }
        for insert in inserts {
            self.metrics
                .rows
                .get_or_create(&TableLabel { table: insert.table() })
                .inc_by(insert.rows() as u64);
        }
    }
}

enum StoreFailure {
    Kafka(KafkaFailure),
    ClickHouse(UsageStoreError),
}

/// Growing pauses: doubled each time up to [`PAUSE_MAX`].
#[derive(Default)]
pub struct Pause {
    last: Option<Duration>,
}

impl Pause {
    pub fn next(&mut self) -> Duration {
        let next = self.last.map_or(PAUSE_FIRST, |last| (last * 2).min(PAUSE_MAX));
        self.last = Some(next);
        next
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
