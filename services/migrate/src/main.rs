//! `meridian-migrate`: the program of a region's migration Job. It brings every store to this release's shape before any
//! service of the release starts: Postgres and ClickHouse schemas, the event topic, the buffer's table, the bucket and the
//! Temporal namespace.
//!
//! Every step may be repeated and says what it changed; a second run changes nothing. A store that is not there yet is
//! waited for, up to the deadline; a version skip or a store that belongs to somebody else ends the run at once, because
//! waiting would not help. What each step does to its store is in the crate that owns the store; topics and the namespace,
//! which no crate owns, are here.

mod patience;
mod temporal;
mod topic;

use std::{process::ExitCode, time::Duration};

use meridian_buffer::{BufferError, BufferOptions, ObjectStore, ObjectStoreError, ObjectStoreOptions};
use meridian_daemon::{
    BufferSettings, ClickHouseSettings, ExposeSecret, KafkaSettings, ObjectStoreSettings, PostgresSettings,
    Process, Program, Settings, TemporalSettings, run,
};
use meridian_records::{PostgresOptions, SchemaError};
use meridian_usage_store::{ClickHouseOptions, UsageStore, UsageStoreError};
use patience::{Failure, Patience};

struct Config {
    postgres: PostgresSettings,
    clickhouse: ClickHouseSettings,
    kafka: KafkaSettings,
    buffer: BufferSettings,
    object_store: ObjectStoreSettings,
    temporal: TemporalSettings,
    /// How long to wait for stores that are not there yet, all steps together.
    deadline: Duration,
}

fn read(settings: &mut Settings) -> Config {
    Config {
        postgres: PostgresSettings::read(settings),
        clickhouse: ClickHouseSettings::read(settings),
        kafka: KafkaSettings::read(settings),
        buffer: BufferSettings::read(settings),
        object_store: ObjectStoreSettings::read(settings),
        temporal: TemporalSettings::read(settings),
        deadline: settings.seconds("MERIDIAN_MIGRATE_DEADLINE_SECONDS", 600),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    run(Program::new("meridian-migrate"), read, migrate).await
}

/// Postgres first: its schema carries the release's version, and a refused skip must leave the other stores untouched.
async fn migrate(config: Config, process: Process) -> anyhow::Result<()> {
    let patience = Patience::until(config.deadline, process.shutdown);
    patience.step("Postgres schema", async || postgres(&config.postgres).await).await?;
    patience.step("ClickHouse schema", async || clickhouse(&config.clickhouse).await).await?;
    patience.step("event topic", async || topic::ensure(&config.kafka).await).await?;
    patience.step("buffer table", async || buffer(&config.buffer).await).await?;
    patience.step("bucket", async || bucket(&config.object_store).await).await?;
    patience.step("Temporal namespace", async || temporal::ensure_namespace(&config.temporal).await).await?;
    Ok(())
}

async fn postgres(settings: &PostgresSettings) -> Result<String, Failure> {
    let mut options = PostgresOptions::new(
        &settings.host,
        settings.port,
        &settings.database,
        &settings.user,
        settings.password.expose_secret(),
    );
    options.sslmode = settings.sslmode.clone();
    options.application_name = "meridian-migrate".to_owned();
    let records = meridian_records::connect(&options).map_err(Failure::permanent)?;
    let report = records.migrate(env!("CARGO_PKG_VERSION")).await.map_err(|error: SchemaError| {
        if error.is_transient() { Failure::transient(error) } else { Failure::permanent(error) }
    })?;
    let before = report.before.map_or("empty".to_owned(), |version| version.to_string());
    Ok(match report.applied.as_slice() {
        [] => format!("at {}, nothing to do", report.after),
        applied => format!("{before} to {}: applied {}", report.after, applied.join(", ")),
    })
}

async fn clickhouse(settings: &ClickHouseSettings) -> Result<String, Failure> {
    let store = UsageStore::connect(&ClickHouseOptions {
        url: settings.url.clone(),
        database: settings.database.clone(),
        user: settings.user.clone(),
        password: settings.password.expose_secret().to_owned(),
    });
    let applied = store.migrate().await.map_err(|error| match &error {
        UsageStoreError::SchemaVersion { .. } | UsageStoreError::Unreadable { .. } => {
            Failure::permanent(error)
        }
        UsageStoreError::Away { .. } | UsageStoreError::Refused { .. } | UsageStoreError::TooLate { .. } => {
            Failure::transient(error)
        }
    })?;
    let names: Vec<String> = applied.iter().map(|m| format!("{:04} {}", m.version, m.name)).collect();
    Ok(if names.is_empty() { "nothing to do".to_owned() } else { format!("applied {}", names.join(", ")) })
}

async fn buffer(settings: &BufferSettings) -> Result<String, Failure> {
    let options = BufferOptions {
        endpoint: settings.endpoint.clone(),
        aws_region: settings.aws_region.clone(),
        access_key_id: settings.access_key_id.clone(),
        secret_access_key: settings.secret_access_key.clone(),
        table: settings.table.clone(),
    };
    let report = meridian_buffer::create_table(&options).await.map_err(|error| match &error {
        BufferError::OtherSchema { .. } => Failure::permanent(error),
        _ => Failure::transient(error),
    })?;
    let what = if report.created { "created" } else { "there already" };
    Ok(format!("{} {what}, time to live {:?}", settings.table, report.time_to_live))
}

async fn bucket(settings: &ObjectStoreSettings) -> Result<String, Failure> {
    let store = ObjectStore::connect(&ObjectStoreOptions {
        endpoint: settings.endpoint.clone(),
        aws_region: settings.aws_region.clone(),
        access_key_id: settings.access_key_id.clone(),
        secret_access_key: settings.secret_access_key.clone(),
        bucket: settings.bucket.clone(),
    });
    let created = store.create_bucket().await.map_err(|error: ObjectStoreError| Failure::transient(error))?;
    Ok(format!("{} {}", settings.bucket, if created { "created" } else { "there already" }))
}
