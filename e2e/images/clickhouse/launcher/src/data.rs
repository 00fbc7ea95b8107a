//! The one thing that must be done to the data directory before the engine starts.

use anyhow::Context;
use std::io::ErrorKind;
use std::path::Path;

/// Removes what the last run left of the database `system`.
///
/// The engine writes `system.query_log` like any table, but keeps no metadata for `system`: on the next start
/// it finds parts of a table that it does not know and refuses to create it again. The log of queries is
/// diagnostic and may go; no other database is touched.
pub fn forget_system_database(data_path: &Path) -> anyhow::Result<()> {
    let system = data_path.join("data").join("system");
    match std::fs::remove_dir_all(&system) {
        Err(problem) if problem.kind() != ErrorKind::NotFound => {
            Err(problem).with_context(|| format!("removing {}", system.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_system_database_is_forgotten() {
        let root = std::env::temp_dir().join(format!("clickhouse-launcher-{}", std::process::id()));
        for table in ["system/query_log", "meridian/raw_events"] {
            std::fs::create_dir_all(root.join("data").join(table)).expect("a temporary directory");
        }
        forget_system_database(&root).expect("first start");
        forget_system_database(&root).expect("second start, nothing there");
        assert!(!root.join("data/system").exists());
        assert!(root.join("data/meridian/raw_events").exists());
        std::fs::remove_dir_all(&root).expect("removing the temporary directory");
    }
}
