//! The consumer: usage events from Kafka into ClickHouse, each counted exactly once whatever is sent twice, whatever dies.
//!
//! It decides nothing about money and serves no requests. Its neighbours: `meridian-billing` says what an event is worth to
//! a meter, `meridian-usage-store` stores rows so that an insert may be repeated, `meridian-records` has the catalogue and is
//! told how far we are, `meridian-ingest` writes the topic.
//!
//! # Reading order
//! [`decide`] is the heart and is pure: a batch of records, what is known of their ids, and the meters become rows.
//! `flush` carries a batch out in four numbered steps, with what a crash costs beside each. `intent` is what a batch leaves in
//! Kafka before it begins, so that whoever comes next makes the very same batch. `dedupe` is the index of known ids.
//! `partition` is the life of one assigned partition: preparing (`prepare`), live, gone. `kafka` is the one thread that polls, commits
//! and is told of rebalances. `catalogue` holds the meters, `settle` brings what is stored up to
//! a new catalogue: `release` decides quarantined events again, `backfill` counts a new meter's past. `progress` says how far
//! we are, `pace` when a batch is due.
//!
//! # Why every event counts once
//! 1. Events of one id share a Kafka key, so they meet on one partition, which one consumer owns at a time.
//! 2. A batch is a contiguous range of a partition. Before anything is stored, the range, the instant of storing and the hash
//!    of the meters are committed to Kafka beside the offset (an *intent*). Kafka takes a commit only from the current
//!    generation of the group: a consumer that lost the partition cannot begin a batch.
//! 3. A batch's rows are a function of the records, the ids known before it, and its intent. Whoever makes it again makes the
//!    same rows under the same token, and ClickHouse drops what it has already, roll-ups included.
//! 4. The next batch begins only after all rows of this one are stored. So an unfinished batch is always the last one, and
//!    its intent is the one that is found.
//! 5. Batches of a partition have strictly rising instants of storing, over all owners. An intent older than rows that are
//!    stored is therefore finished, and ignored; and nothing is ever stored below an instant that was reported as processed.
//! 6. Offsets are only positions. Whether an event is new is decided by its id, so offsets that were reset, or a topic that
//!    was made anew, count nothing twice and skip nothing.

mod backfill;
mod buffer;
mod catalogue;
pub mod config;
mod crash;
pub mod decide;
mod dedupe;
mod flush;
pub mod intent;
mod kafka;
mod metrics;
mod pace;
mod partition;
mod prepare;
mod progress;
mod release;
pub mod run;
mod settle;
