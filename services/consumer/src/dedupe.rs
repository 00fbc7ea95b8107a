//! Which ids of a partition are known, where they were first, and what they were: the index that makes an event count once.
//!
//! One redb file a partition, on local disk (an emptyDir will do): key is the identity hash (u128), value the first place and
//! the payload hash, about 60 bytes on disk for each id. It is only a cache of `raw_events`: whatever it lacks is read from
//! ClickHouse when the partition is taken over, so marks need no fsync of their own and a lost or torn file costs time alone.
//! How far it goes is kept in the file itself, as an instant of storing and not as an offset, because those rise for ever even
//! when a topic is made anew.
//!
//! An id is known for ever, not for a window: the same id sent again after months, with whatever time, is still the same.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::decide::Known;

/// Identity → (partition, offset, payload hash).
const KNOWN: TableDefinition<u128, (i32, i64, u64)> = TableDefinition::new("known");
/// `stored_through` and `partitions`, see below.
const STATE: TableDefinition<&str, i64> = TableDefinition::new("state");
/// Every id stored at or before this instant is in the index.
const STORED_THROUGH: &str = "stored_through";
/// Of how many partitions the topic was when the index was made: with more of them, ids move.
const PARTITIONS: &str = "partitions";
/// Marks are written through to the disk this often; in between a crash of the machine costs a look into ClickHouse.
const SYNC_EVERY: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
#[error("the dedupe index {path} fails while {doing}")]
pub struct IndexError {
    path: PathBuf,
    doing: &'static str,
    source: Box<redb::Error>,
}

pub struct DedupeIndex {
    path: PathBuf,
    database: Database,
    synced: Instant,
}

impl DedupeIndex {
    /// Opens a partition's index, or makes an empty one. A file that cannot be read is thrown away: it is a cache.
    pub fn open(
        directory: &Path,
        topic: &str,
        partition: i32,
        cache_bytes: usize,
    ) -> Result<Self, IndexError> {
        let path = directory.join(format!("{topic}-{partition}.redb"));
        let open = || Database::builder().set_cache_size(cache_bytes).create(&path);
        let database = match open() {
            Ok(database) => database,
            // Another worker of this process still holds it: waiting is the caller's business.
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(failed(&path, "opening it", redb::DatabaseError::DatabaseAlreadyOpen));
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the dedupe index cannot be read and is made anew");
                let _absent_is_fine = std::fs::remove_file(&path);
                open().map_err(|e| failed(&path, "making it", e))?
            }
        };
        let mut index = Self { path, database, synced: Instant::now() };
        index.write("making its tables", &[], None)?;
        Ok(index)
    }

    /// Every id stored at or before this instant is known here; 0 for a new index.
    pub fn stored_through(&self) -> Result<i64, IndexError> {
        Ok(self.state(STORED_THROUGH)?.unwrap_or(0))
    }

    /// The topic's number of partitions when the index was filled; `None` for a new one.
    pub fn partitions(&self) -> Result<Option<i64>, IndexError> {
        self.state(PARTITIONS)
    }

    pub fn set_partitions(&mut self, partitions: i64) -> Result<(), IndexError> {
        self.set_state("noting the number of partitions", PARTITIONS, partitions)
    }

    /// Forgets everything.
    pub fn clear(&mut self) -> Result<(), IndexError> {
        let doing = "forgetting everything";
        let transaction = self.database.begin_write().map_err(|e| failed(&self.path, doing, e))?;
        transaction.delete_table(KNOWN).map_err(|e| failed(&self.path, doing, e))?;
        transaction.delete_table(STATE).map_err(|e| failed(&self.path, doing, e))?;
        transaction.commit().map_err(|e| failed(&self.path, doing, e))?;
        self.write("making its tables", &[], None)
    }

    /// What is known of these ids.
    pub fn look_up(&self, identities: &[u128]) -> Result<HashMap<u128, Known>, IndexError> {
        let doing = "looking ids up";
        let transaction = self.database.begin_read().map_err(|e| failed(&self.path, doing, e))?;
        let table = transaction.open_table(KNOWN).map_err(|e| failed(&self.path, doing, e))?;
        // In the order of the tree, so that each page is visited once.
        let mut sorted = identities.to_vec();
        sorted.sort_unstable();
        let mut known = HashMap::new();
        for identity in sorted {
            if let Some(value) = table.get(identity).map_err(|e| failed(&self.path, doing, e))? {
                let (partition, offset, payload_hash) = value.value();
                known.insert(identity, Known { partition, offset, payload_hash });
            }
        }
        Ok(known)
    }

    /// Marks ids, the first mark of an id stays. `stored_through` rises in the same transaction when it is given.
    pub fn mark(&mut self, marks: &[(u128, Known)], stored_through: Option<i64>) -> Result<(), IndexError> {
        let mut sorted = marks.to_vec();
        sorted.sort_unstable_by_key(|(identity, _)| *identity);
        self.write("marking ids", &sorted, stored_through)
    }

    fn write(
        &mut self,
        doing: &'static str,
        marks: &[(u128, Known)],
        stored_through: Option<i64>,
    ) -> Result<(), IndexError> {
        let path = &self.path;
        let mut transaction = self.database.begin_write().map_err(|e| failed(path, doing, e))?;
        let durable = self.synced.elapsed() >= SYNC_EVERY || marks.is_empty();
        let durability = if durable { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability).map_err(|e| failed(path, doing, e))?;
        {
            let mut table = transaction.open_table(KNOWN).map_err(|e| failed(path, doing, e))?;
            for (identity, known) in marks {
                let value = (known.partition, known.offset, known.payload_hash);
                let before = table.insert(identity, value).map_err(|e| failed(path, doing, e))?;
                let first = before.map(|guard| guard.value());
                if let Some(first) = first.filter(|first| *first != value) {
                    table.insert(identity, first).map_err(|e| failed(path, doing, e))?;
                }
            }
            let mut state = transaction.open_table(STATE).map_err(|e| failed(path, doing, e))?;
            if let Some(through) = stored_through {
                let held =
                    state.get(STORED_THROUGH).map_err(|e| failed(path, doing, e))?.map_or(0, |v| v.value());
                state.insert(STORED_THROUGH, held.max(through)).map_err(|e| failed(path, doing, e))?;
            }
        }
        transaction.commit().map_err(|e| failed(path, doing, e))?;
        if durable {
            self.synced = Instant::now();
        }
        Ok(())
    }

    fn state(&self, name: &'static str) -> Result<Option<i64>, IndexError> {
        let doing = "reading its state";
        let transaction = self.database.begin_read().map_err(|e| failed(&self.path, doing, e))?;
        let table = transaction.open_table(STATE).map_err(|e| failed(&self.path, doing, e))?;
        Ok(table.get(name).map_err(|e| failed(&self.path, doing, e))?.map(|value| value.value()))
    }

    fn set_state(&mut self, doing: &'static str, name: &'static str, value: i64) -> Result<(), IndexError> {
        let transaction = self.database.begin_write().map_err(|e| failed(&self.path, doing, e))?;
        {
            let mut state = transaction.open_table(STATE).map_err(|e| failed(&self.path, doing, e))?;
            state.insert(name, value).map_err(|e| failed(&self.path, doing, e))?;
        }
        transaction.commit().map_err(|e| failed(&self.path, doing, e))
    }
}

fn failed(path: &Path, doing: &'static str, error: impl Into<redb::Error>) -> IndexError {
    IndexError { path: path.to_owned(), doing, source: Box::new(error.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(offset: i64) -> Known {
        Known { partition: 3, offset, payload_hash: 77 + offset as u64 }
    }

    fn open(directory: &Path) -> DedupeIndex {
        DedupeIndex::open(directory, "events", 3, 1 << 20).unwrap()
    }

    #[test]
    fn the_first_mark_of_an_id_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut index = open(directory.path());
        index.mark(&[(5, known(10)), (6, known(11))], Some(100)).unwrap();
        index.mark(&[(5, known(99))], Some(90)).unwrap();
        let found = index.look_up(&[6, 5, 4]).unwrap();
        assert_eq!(found, HashMap::from([(5, known(10)), (6, known(11))]));
        assert_eq!(index.stored_through().unwrap(), 100, "it never falls");
    }

    #[test]
    fn marks_are_there_after_it_was_closed_and_opened() {
        let directory = tempfile::tempdir().unwrap();
        let mut index = open(directory.path());
        index.mark(&[(5, known(10))], Some(100)).unwrap();
        index.set_partitions(12).unwrap();
        drop(index);
        let index = open(directory.path());
        assert_eq!(index.look_up(&[5]).unwrap().len(), 1);
        assert_eq!((index.stored_through().unwrap(), index.partitions().unwrap()), (100, Some(12)));
    }

    #[test]
    fn a_cleared_index_knows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut index = open(directory.path());
        index.mark(&[(5, known(10))], Some(100)).unwrap();
        index.clear().unwrap();
        assert_eq!((index.look_up(&[5]).unwrap().len(), index.stored_through().unwrap()), (0, 0));
    }

    #[test]
    fn a_torn_file_is_made_anew_and_says_that_it_knows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("events-3.redb"), b"no database at all").unwrap();
        let index = open(directory.path());
        assert_eq!(index.stored_through().unwrap(), 0);
    }
}
