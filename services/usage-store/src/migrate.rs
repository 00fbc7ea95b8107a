//! Versioned schema: the files of `schema/`, in order, each applied once.
//!
//! ClickHouse has no transactions for DDL, so every statement can be repeated (`IF NOT EXISTS`, or a view's `MODIFY QUERY`), and a file is recorded when
//! all of it ran: a crash in the middle runs the whole file again. Two migrators at once do the same and meet in the same
//! tables. Expand and contract: a file only adds; what is no longer read is dropped in a later release, so that the programs
//! of the release before go on working while a rollout is under way.

use clickhouse::Client;

use crate::{
    error::UsageStoreError,
    store::{UsageStore, answered},
};

struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: [Migration; 4] = [
    Migration { version: 1, name: "events", sql: include_str!("../schema/0001_events.sql") },
    Migration { version: 2, name: "exceptions", sql: include_str!("../schema/0002_exceptions.sql") },
    Migration {
        version: 3,
        name: "smallest_values",
        sql: include_str!("../schema/0003_smallest_values.sql"),
    },
    Migration {
        version: 4,
        name: "meter_backfills",
        sql: include_str!("../schema/0004_meter_backfills.sql"),
    },
];

/// The schema that this program reads and writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// A file of the schema that was applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    pub version: u32,
    pub name: &'static str,
}

impl UsageStore {
    /// Creates the database when it is missing, then applies what is missing of the schema. Says what it applied.
    ///
    /// Refuses a store that a newer release has migrated: an old migrator must not run over it.
    pub async fn migrate(&self) -> Result<Vec<AppliedMigration>, UsageStoreError> {
        self.create_database().await?;
        run(&self.client, "creating schema_migrations", SCHEMA_MIGRATIONS).await?;
        let found = self.schema_version().await?;
        if found > SCHEMA_VERSION {
            let advice = "run the migration of the newer release";
            return Err(UsageStoreError::SchemaVersion { found, known: SCHEMA_VERSION, advice });
        }
        let mut applied = Vec::new();
        for migration in MIGRATIONS.iter().filter(|m| m.version > found) {
            self.apply(migration).await?;
            applied.push(AppliedMigration { version: migration.version, name: migration.name });
        }
        Ok(applied)
    }

    /// The newest file of the schema that was applied; 0 for an empty database.
    pub async fn schema_version(&self) -> Result<u32, UsageStoreError> {
        let question = self.client.query("SELECT max(version) FROM schema_migrations").fetch_one();
        answered("reading the schema's version", question).await
    }

    /// For a service's start: the schema is the one that this program knows, or newer (expand and contract keep it usable).
    pub async fn check_schema(&self) -> Result<(), UsageStoreError> {
        let found = self.schema_version().await?;
        if found < SCHEMA_VERSION {
            let advice = "run meridian-migrate first";
            return Err(UsageStoreError::SchemaVersion { found, known: SCHEMA_VERSION, advice });
        }
        Ok(())
    }

    async fn create_database(&self) -> Result<(), UsageStoreError> {
        // The database of the connection must exist for any statement, this one too: so it is asked for without one.
        let client = self.client.clone().with_database("default");
        let sql = "CREATE DATABASE IF NOT EXISTS ?";
        let statement = client.query(sql).bind(clickhouse::sql::Identifier(&self.database)).execute();
        answered("creating the database", statement).await
    }

    async fn apply(&self, migration: &Migration) -> Result<(), UsageStoreError> {
        for statement in statements(migration.sql) {
            run(&self.client, "applying a migration", &statement).await?;
        }
        let record = self
            .client
            .query("INSERT INTO schema_migrations (version, name) VALUES (?, ?)")
            .bind(migration.version)
            .bind(migration.name)
            .execute();
        answered("recording a migration", record).await
    }
}

const SCHEMA_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations
    (version UInt32, name String, applied_at DateTime64(6, 'UTC') DEFAULT now64(6)) ENGINE = MergeTree ORDER BY version";

async fn run(client: &Client, doing: &'static str, sql: &str) -> Result<(), UsageStoreError> {
    answered(doing, client.query_raw(sql).execute()).await
}

/// The statements of a schema file, without its comments. The files keep `;` for the end of a statement.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    code.join("\n").split(';').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_can_be_repeated_and_only_adds() {
        for statement in MIGRATIONS.iter().flat_map(|m| statements(m.sql)) {
            // A view's query that is set again is the same query.
            let repeatable = statement.contains("IF NOT EXISTS") || statement.contains("MODIFY QUERY");
            assert!(repeatable, "{statement}");
            assert!(!statement.contains("DROP "), "{statement}");
        }
    }

    #[test]
    fn every_table_drops_a_repeated_block() {
        for statement in
            MIGRATIONS.iter().flat_map(|m| statements(m.sql)).filter(|s| s.starts_with("CREATE TABLE"))
        {
            assert!(statement.contains("non_replicated_deduplication_window"), "{statement}");
        }
    }

    #[test]
    fn versions_rise_by_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, index + 1, "{}", migration.name);
        }
    }
}
