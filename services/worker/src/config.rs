//! The worker's configuration, checked whole before the first connection.

use std::time::Duration;

use meridian_daemon::{ClickHouseSettings, ExposeSecret, PostgresSettings, Settings, TemporalSettings};
use meridian_records::PostgresOptions;
use meridian_usage_store::ClickHouseOptions;

use crate::gate::Sources;

#[derive(Clone, Debug)]
pub struct Config {
    pub postgres: PostgresSettings,
    pub clickhouse: ClickHouseSettings,
    pub temporal: TemporalSettings,
    /// Every source of events that the pipeline gate waits for. The number of partitions has no default: a gate that knows
    /// too few would bill a period without the events of the others.
    pub sources: Sources,
    /// How long after a period's end late events may still come before it is closed by itself.
    pub close_grace: Duration,
    /// By how much the clocks of worker and consumers may differ.
    pub clock_skew: Duration,
    pub sweep_every: Duration,
}

impl Config {
    pub fn read(settings: &mut Settings) -> Self {
        let partitions: u32 = settings.required_parsed("MERIDIAN_PIPELINE_PARTITIONS", 1);
        if partitions == 0 {
            settings.problem(
                "MERIDIAN_PIPELINE_PARTITIONS must be the number of partitions of the topic of events"
                    .to_owned(),
            );
        }
        Self {
            postgres: PostgresSettings::read(settings),
            clickhouse: ClickHouseSettings::read(settings),
            temporal: TemporalSettings::read(settings),
            sources: Sources { kafka_partitions: partitions },
            close_grace: Duration::from_secs(settings.parsed("MERIDIAN_CLOSE_GRACE_SECONDS", 3600)),
            clock_skew: Duration::from_millis(settings.parsed("MERIDIAN_CLOCK_SKEW_MILLISECONDS", 1000)),
            sweep_every: Duration::from_secs(settings.parsed("MERIDIAN_SWEEP_SECONDS", 900).max(10)),
        }
    }

    pub fn postgres_options(&self) -> PostgresOptions {
        let PostgresSettings { host, port, database, user, password, sslmode } = &self.postgres;
        let mut options = PostgresOptions::new(host, *port, database, user, password.expose_secret());
        options.sslmode.clone_from(sslmode);
        options.application_name = "meridian-worker".to_owned();
        options
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
