//! Records of one partition between the Kafka thread, which puts them in, and the partition's worker, which takes batches out.
//! The thread keeps it bounded by pausing the partition; the buffer itself refuses nothing, because a fetched record must
//! not be lost.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

use crate::decide::Record;

/// Records of one partition that wait for their batch.
#[derive(Default)]
pub struct Buffer {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    bytes: usize,
    oldest: Option<Instant>,
    /// A batch that is made again needs all records up to here, whatever the bound says.
    needed_through: Option<i64>,
    newest_offset: Option<i64>,
}

/// What waits, for deciding whether a batch is due.
#[derive(Debug, Clone, Copy)]
pub struct WaitingNow {
    pub records: usize,
    pub bytes: usize,
    pub oldest: Instant,
    pub first_offset: i64,
    pub newest_offset: i64,
}

impl Buffer {
    pub fn push(&self, record: Record) {
        let mut waiting = self.lock();
        waiting.bytes += size(&record);
        waiting.newest_offset = Some(record.offset);
        waiting.oldest.get_or_insert_with(Instant::now);
        waiting.records.push_back(record);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Returns when something arrived since the last call.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub fn waiting(&self) -> Option<WaitingNow> {
        let waiting = self.lock();
        let first_offset = waiting.records.front()?.offset;
        Some(WaitingNow {
            records: waiting.records.len(),
            bytes: waiting.bytes,
            oldest: waiting.oldest.unwrap_or_else(Instant::now),
            first_offset,
            newest_offset: waiting.newest_offset.unwrap_or(first_offset),
        })
    }

    /// Takes from the front, at least one record and at most the given bounds.
    pub fn take(&self, records_max: usize, bytes_max: usize) -> Vec<Record> {
        self.take_while(|taken, bytes, _| taken < records_max && bytes < bytes_max)
    }

    /// Takes everything up to an offset, inclusive.
    pub fn take_through(&self, last: i64) -> Vec<Record> {
        let records = self.take_while(|_, _, record| record.offset <= last);
        self.lock().needed_through = None;
        records
    }

    /// Lets the buffer grow past its bound until this offset has come.
    pub fn need_through(&self, last: i64) {
        self.lock().needed_through = Some(last);
    }

    fn take_while(&self, wanted: impl Fn(usize, usize, &Record) -> bool) -> Vec<Record> {
        let mut waiting = self.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while waiting.records.front().is_some_and(|record| wanted(taken.len(), bytes, record)) {
            let record = waiting.records.pop_front().expect("the front was just looked at");
            bytes += size(&record);
            taken.push(record);
        }
        waiting.bytes -= bytes;
        waiting.oldest = if waiting.records.is_empty() { None } else { Some(Instant::now()) };
        taken
    }

    pub fn fill(&self) -> Fill {
        let waiting = self.lock();
        let needs_more =
            waiting.needed_through.is_some_and(|last| waiting.newest_offset.is_none_or(|have| have < last));
        Fill { bytes: waiting.bytes, needs_more }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How full a buffer is.
pub struct Fill {
    pub bytes: usize,
    /// A batch that is made again waits for records that have not come yet.
    pub needs_more: bool,
}

/// What a record weighs: its value and our own overhead.
fn size(record: &Record) -> usize {
    record.value.as_ref().map_or(0, Vec::len) + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64) -> Record {
        Record { offset, value: Some(vec![0; 36]) }
    }

    #[test]
    fn a_buffer_gives_a_contiguous_front_within_its_bounds() {
        let buffer = Buffer::default();
        (10..20).for_each(|offset| buffer.push(record(offset)));
        let offsets = |records: Vec<Record>| records.iter().map(|r| r.offset).collect::<Vec<_>>();
        assert_eq!(offsets(buffer.take(3, usize::MAX)), [10, 11, 12]);
        assert_eq!(offsets(buffer.take(100, 150)), [13, 14], "the record that reaches the bound is the last");
        assert_eq!(offsets(buffer.take_through(17)), [15, 16, 17]);
        assert_eq!(buffer.waiting().map(|w| (w.records, w.bytes, w.first_offset)), Some((2, 200, 18)));
    }

    #[test]
    fn a_batch_that_is_made_again_may_fill_the_buffer_beyond_its_bound() {
        let buffer = Buffer::default();
        buffer.need_through(12);
        assert!(buffer.fill().needs_more);
        (10..=12).for_each(|offset| buffer.push(record(offset)));
        assert!(!buffer.fill().needs_more);
    }
}
