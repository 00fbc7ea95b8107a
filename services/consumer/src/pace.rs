//! When a batch is due, and how large it may be. Pure: time is an argument.
//!
//! An insert costs ClickHouse about the same for one row as for a thousand, so a partition inserts at most once in
//! [`Pace::INTERVAL`]. The first record after a pause does not wait for that: it goes after [`Pace::GATHER`], so that single
//! events are seen at once. Under load the batch is what has come meanwhile, and with a backlog it is as large as allowed.

use std::time::{Duration, Instant};

/// The rhythm of one partition.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    last_begun: Option<Instant>,
}

impl Pace {
    /// Least time from one batch of a partition to its next.
    pub const INTERVAL: Duration = Duration::from_millis(1000);
    /// How long the first record after a pause waits for company.
    pub const GATHER: Duration = Duration::from_millis(50);
    /// Most records of a batch; each becomes two or three rows. Ten times as many would save ClickHouse a tenth of its work
    /// for a row, and cost us ten times the memory: 20,000 events in the making are about 60 MiB.
    pub const RECORDS_MAX: usize = 20_000;
    /// Most bytes of values of a batch.
    pub const BYTES_MAX: usize = 8 << 20;

    /// When the waiting records should be taken, the oldest of which came at `oldest`.
    pub fn due(&self, oldest: Instant, waiting: usize, bytes: usize) -> Instant {
        if waiting >= Self::RECORDS_MAX || bytes >= Self::BYTES_MAX {
            return oldest;
        }
        let gathered = oldest + Self::GATHER;
        self.last_begun.map_or(gathered, |last| gathered.max(last + Self::INTERVAL))
    }

    pub fn begun(&mut self, now: Instant) {
        self.last_begun = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_event_goes_at_once_and_a_stream_goes_once_an_interval() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(start, 1, 10), start + Pace::GATHER);
        pace.begun(start);
        let soon = start + Duration::from_millis(10);
        assert_eq!(pace.due(soon, 1, 10), start + Pace::INTERVAL);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.due(later, 1, 10), later + Pace::GATHER);
    }

    #[test]
    fn a_full_batch_waits_for_nothing() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.begun(start);
        assert_eq!(pace.due(start, Pace::RECORDS_MAX, 0), start);
        assert_eq!(pace.due(start, 7, Pace::BYTES_MAX), start);
    }
}
