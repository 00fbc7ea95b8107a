//! The consumer's configuration, checked whole before the first connection.

use std::path::PathBuf;

use meridian_daemon::{ClickHouseSettings, ExposeSecret, KafkaSettings, PostgresSettings, Settings};
use meridian_usage_store::ClickHouseOptions;

/// The consumer group; one for each region's topic.
pub const GROUP: &str = "meridian-consumer";

#[derive(Clone, Debug)]
pub struct Config {
    pub kafka: KafkaSettings,
    pub postgres: PostgresSettings,
    pub clickhouse: ClickHouseSettings,
    pub group: String,
    /// How long a member may be silent before its partitions go to others. The broker allows 6 s and more.
    pub session_timeout_ms: u32,
    /// Where the dedupe indexes live; losing it costs time, nothing else.
    pub index_directory: PathBuf,
    /// Page cache of all dedupe indexes together.
    pub index_cache_bytes: usize,
    /// Values that may wait in memory, all partitions together.
    pub buffer_bytes: usize,
    /// Batches in the making at one time: bounds memory and the load on ClickHouse.
    pub flushes_at_once: usize,
}

impl Config {
    pub fn read(settings: &mut Settings) -> Self {
        const MIB: usize = 1 << 20;
        Self {
            kafka: KafkaSettings::read(settings),
            postgres: PostgresSettings::read(settings),
            clickhouse: ClickHouseSettings::read(settings),
            group: settings.or("MERIDIAN_KAFKA_GROUP", GROUP),
            session_timeout_ms: settings.parsed("MERIDIAN_KAFKA_SESSION_TIMEOUT_MS", 10_000),
            index_directory: settings.or("MERIDIAN_CONSUMER_INDEX_DIR", "/tmp/meridian-consumer").into(),
            index_cache_bytes: settings.parsed("MERIDIAN_CONSUMER_INDEX_CACHE_MIB", 64) * MIB,
            buffer_bytes: settings.parsed("MERIDIAN_CONSUMER_BUFFER_MIB", 48) * MIB,
            flushes_at_once: settings.parsed("MERIDIAN_CONSUMER_FLUSHES", 2).max(1),
        }
    }

    pub fn clickhouse_options(&self) -> ClickHouseOptions {
        ClickHouseOptions {
            url: self.clickhouse.url.clone(),
            database: self.clickhouse.database.clone(),
            user: self.clickhouse.user.clone(),
            password: self.clickhouse.password.expose_secret().to_owned(),
        }
    }
}
