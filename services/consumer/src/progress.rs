//! How far each partition is: the gate that no billing period is closed before.
//!
//! The claim `kafka/<partition> = t`: every event that was acknowledged before t is stored, and no row of this partition will
//! ever be stored under an instant before t. It is found without trusting anybody's record timestamps: at t the broker is
//! asked for the end of the partition; once everything before that end is stored, t is true. Under a backlog the ends that were
//! seen earlier are kept, so that progress moves while we catch up. Idle partitions are asked too, about once a second.
//!
//! "Stored" is by the catalogue of t: Postgres is asked for it at t as well, and while what is stored is brought up to it
//! (`settle`), nothing is claimed. A period that closes then has the past of a meter that was made before.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use meridian_daemon::HealthFlag;
use meridian_records::Records;
use tokio_util::sync::CancellationToken;

use crate::{
    catalogue::CatalogueWatch,
    flush::chain,
    kafka::{Kafka, Watermarks},
    metrics::{Metrics, PartitionLabel},
    partition::now_us,
};

const ASK_EVERY: Duration = Duration::from_secs(1);
/// Ends that are remembered under a backlog; when there are more, every other one goes.
const ENDS_MAX: usize = 128;
const NONE: i64 = i64::MIN;

/// The name under which a partition's progress is reported.
pub fn source(partition: i32) -> String {
    format!("kafka/{partition}")
}

/// How far one assignment of a partition is. Written by its worker, read by the reporter.
pub struct PartitionProgress {
    pub partition: i32,
    state: Mutex<State>,
    /// The latest instant that was reported.
    reported_us: AtomicI64,
}

struct State {
    live: bool,
    /// Nobody ever committed a position: nothing is stored that could need settling.
    unread: bool,
    /// Everything before this offset is stored.
    flushed: i64,
    /// Hash of the meters that what is stored was brought up to.
    settled: Option<String>,
    /// (asked at, end of the partition then), oldest first.
    ends: VecDeque<(i64, i64)>,
}

impl PartitionProgress {
    pub fn new(partition: i32) -> Self {
        let state = State { live: false, unread: true, flushed: NONE, settled: None, ends: VecDeque::new() };
        Self { partition, state: Mutex::new(state), reported_us: AtomicI64::new(0) }
    }

    pub fn live(&self, position: Option<i64>) {
        let mut state = self.lock();
        state.live = true;
        state.unread = position.is_none();
        state.flushed = state.flushed.max(position.unwrap_or(NONE));
    }

    pub fn gone(&self) {
        self.lock().live = false;
    }

    pub fn flushed(&self, end: i64) {
        let mut state = self.lock();
        state.unread = false;
        state.flushed = end;
    }

    /// What is stored was brought up to these meters; nothing is claimed for any others.
    pub fn settled(&self, meters: &str) {
        self.lock().settled = Some(meters.to_owned());
    }

    /// No batch may be stored under an earlier instant than this.
    pub fn reported_us(&self) -> i64 {
        self.reported_us.load(Ordering::SeqCst)
    }

    /// What may be claimed, now that the broker was asked at `asked_us` and the catalogue was confirmed later. Also how many
    /// records are missing.
    fn claim(&self, asked_us: i64, watermarks: Watermarks, meters: &str) -> (Option<i64>, i64) {
        let mut state = self.lock();
        if !state.live {
            return (None, 0);
        }
        // Nothing was ever committed, and nothing is kept: there is nothing to store.
        if state.flushed == NONE && watermarks.low == watermarks.high {
            state.flushed = watermarks.high;
        }
        let end = watermarks.high;
        state.ends.push_back((asked_us, end));
        if state.ends.len() > ENDS_MAX {
            let mut index = 0;
            state.ends.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        let mut claimed = None;
        while let Some(&(asked, end)) = state.ends.front().filter(|(_, end)| *end <= state.flushed) {
            let _passed = state.ends.pop_front();
            // A position beyond the end belongs to another log of the same name: it says nothing about this one.
            if state.flushed <= watermarks.high || end == state.flushed {
                claimed = Some(asked);
            }
        }
        let settled = state.unread || state.settled.as_deref() == Some(meters);
        let claimed = claimed.filter(|&claimed| claimed > self.reported_us() && settled);
        if let Some(claimed) = claimed {
            // Under the lock and before the report leaves: a batch that begins now sees it.
            self.reported_us.store(claimed, Ordering::SeqCst);
        }
        (claimed, end - state.flushed.max(watermarks.low))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Partitions that are reported.
pub type Followed = Arc<Mutex<HashMap<i32, Arc<PartitionProgress>>>>;

/// Reports about once a second until `stop`.
pub async fn report(
    kafka: Kafka,
    records: Records,
    catalogue: CatalogueWatch,
    metrics: Metrics,
    health: HealthFlag,
    followed: Followed,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let all: Vec<Arc<PartitionProgress>> =
            followed.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        if !all.is_empty() {
            report_once(&kafka, &records, &catalogue, &metrics, &health, &all).await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
    }
}

async fn report_once(
    kafka: &Kafka,
    records: &Records,
    catalogue: &CatalogueWatch,
    metrics: &Metrics,
    health: &HealthFlag,
    all: &[Arc<PartitionProgress>],
) {
    // Before the question: what is acknowledged later is not covered by its answer.
    let (asked_us, asked) = (now_us(), Instant::now());
    let marks = match kafka.watermarks(all.iter().map(|progress| progress.partition).collect()).await {
        Ok(marks) => marks,
        Err(error) => {
            tracing::debug!(%error, "asking for the ends of the partitions");
            return;
        }
    };
    let meters = match catalogue.refresh_since(asked).await {
        Ok(()) => catalogue.current().map(|catalogue| catalogue.meters.clone()),
        Err(error) => {
            health.set_failing(format!("the catalogue cannot be confirmed: {error}"));
            tracing::warn!(error = %chain(&error), "progress is not reported: the catalogue cannot be confirmed");
            return;
        }
    };
    let Some(meters) = meters else { return };
    for progress in all {
        let Some(&mark) = marks.iter().find(|mark| mark.partition == progress.partition) else { continue };
        let (claimed, lag) = progress.claim(asked_us, mark, meters.hash());
        let label = PartitionLabel { partition: progress.partition };
        metrics.lag.get_or_create(&label).set(lag);
        let Some(claimed) = claimed else { continue };
        metrics.processed_through_seconds.get_or_create(&label).set(claimed / 1_000_000);
        match records.report_progress(&source(progress.partition), claimed).await {
            Ok(()) => health.set_ok(),
            Err(error) => {
                health.set_failing(format!("progress cannot be reported: {error}"));
                tracing::warn!(error = %chain(&error), "progress cannot be reported");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METERS: &str = "all meters";

    fn marks(high: i64) -> Watermarks {
        Watermarks { partition: 4, low: 0, high }
    }

    fn live_at(position: Option<i64>) -> PartitionProgress {
        let progress = PartitionProgress::new(4);
        progress.live(position);
        progress.settled(METERS);
        progress
    }

    #[test]
    fn a_caught_up_partition_is_processed_through_the_question() {
        let progress = live_at(Some(7));
        assert_eq!(progress.claim(1_000, marks(7), METERS), (Some(1_000), 0));
        assert_eq!(progress.reported_us(), 1_000);
    }

    #[test]
    fn a_backlog_claims_only_what_an_earlier_end_covers() {
        let progress = live_at(Some(7));
        assert_eq!(progress.claim(1_000, marks(10), METERS), (None, 3));
        assert_eq!(progress.claim(2_000, marks(20), METERS), (None, 13));
        progress.flushed(12);
        assert_eq!(progress.claim(3_000, marks(30), METERS), (Some(1_000), 18));
        progress.flushed(30);
        assert_eq!(progress.claim(4_000, marks(40), METERS), (Some(3_000), 10));
    }

    #[test]
    fn an_empty_partition_that_nobody_ever_read_is_processed() {
        assert_eq!(live_at(None).claim(1_000, marks(0), METERS).0, Some(1_000));
        assert_eq!(live_at(None).claim(1_000, marks(5), METERS).0, None);
    }

    #[test]
    fn a_partition_that_is_being_prepared_or_gone_claims_nothing() {
        let progress = PartitionProgress::new(4);
        assert_eq!(progress.claim(1_000, marks(0), METERS).0, None);
        progress.live(Some(0));
        progress.gone();
        assert_eq!(progress.claim(2_000, marks(0), METERS).0, None);
    }

    #[test]
    fn a_position_beyond_the_log_says_nothing() {
        assert_eq!(live_at(Some(1_000)).claim(1_000, marks(5), METERS).0, None);
    }

    #[test]
    fn what_is_stored_by_other_meters_holds_the_claim_back() {
        let progress = live_at(Some(7));
        assert_eq!(progress.claim(1_000, marks(7), "other meters").0, None);
        assert_eq!(progress.reported_us(), 0);
        progress.settled("other meters");
        assert_eq!(progress.claim(2_000, marks(7), "other meters").0, Some(2_000));
    }

    #[test]
    fn a_partition_that_nobody_ever_read_needs_no_settling() {
        let progress = PartitionProgress::new(4);
        progress.live(None);
        assert_eq!(progress.claim(1_000, marks(0), METERS).0, Some(1_000));
        assert_eq!(progress.claim(2_000, marks(0), "other meters").0, Some(2_000));
        progress.flushed(5);
        assert_eq!(progress.claim(3_000, marks(5), METERS).0, None);
    }
}
