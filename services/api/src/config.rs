//! What the api reads from its environment.

use std::{net::SocketAddr, time::Duration};

use meridian_billing::ids::TenantId;
use meridian_daemon::{ClickHouseSettings, PostgresSettings, SecretString, Settings, TemporalSettings};

pub struct Config {
    /// The REST API.
    pub listen: SocketAddr,
    /// The operator's port.
    pub control_listen: SocketAddr,
    pub control_token: SecretString,
    /// The one tenant of a Dedicated region.
    pub dedicated_tenant: Option<TenantId>,
    pub postgres: PostgresSettings,
    pub clickhouse: ClickHouseSettings,
    pub temporal: TemporalSettings,
    pub limits: Limits,
    /// How long the ports stay open after SIGTERM, for load balancers that have not heard yet.
    pub drain_delay: Duration,
}

/// Bounds on what clients may ask of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub body_bytes_max: usize,
    pub request_timeout: Duration,
    /// Requests at a time; more are answered 503 at once instead of waiting in a queue that nobody bounds.
    pub requests_in_flight_max: usize,
    /// How long a key that was looked up is believed: a revoked one works no longer than this.
    pub api_key_cache: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            requests_in_flight_max: 256,
            api_key_cache: Duration::from_secs(10),
        }
    }
}

/// Longest that a revoked key may go on working; a longer cache would break that promise.
const API_KEY_CACHE_SECONDS_MAX: u64 = 10;

impl Config {
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            listen: settings.parsed("MERIDIAN_API_LISTEN", SocketAddr::from(([0, 0, 0, 0], 8080))),
            control_listen: settings
                .parsed("MERIDIAN_CONTROL_LISTEN", SocketAddr::from(([0, 0, 0, 0], 8081))),
            control_token: settings.secret("MERIDIAN_CONTROL_TOKEN"),
            dedicated_tenant: dedicated_tenant(settings),
            postgres: PostgresSettings::read(settings),
            clickhouse: ClickHouseSettings::read(settings),
            temporal: TemporalSettings::read(settings),
            limits: Limits::read(settings),
            drain_delay: settings.millis("MERIDIAN_API_DRAIN_DELAY_MS", 2_000),
        }
    }
}

fn dedicated_tenant(settings: &mut Settings) -> Option<TenantId> {
    const NAME: &str = "MERIDIAN_DEDICATED_TENANT";
    let text = settings.optional(NAME)?;
    match TenantId::new(text) {
        Ok(tenant) => Some(tenant),
        Err(error) => {
            settings.problem(format!("{NAME} is not valid: {error}"));
            None
        }
    }
}

impl Limits {
    fn read(settings: &mut Settings) -> Self {
        let default = Self::default();
        let cache_seconds =
            settings.parsed("MERIDIAN_API_KEY_CACHE_SECONDS", default.api_key_cache.as_secs());
        if cache_seconds > API_KEY_CACHE_SECONDS_MAX {
            settings.problem("MERIDIAN_API_KEY_CACHE_SECONDS is not valid: at most 10, the longest that a revoked key may work".to_owned());
        }
        Self {
            body_bytes_max: settings.parsed("MERIDIAN_API_BODY_BYTES_MAX", default.body_bytes_max),
            request_timeout: settings
                .seconds("MERIDIAN_API_TIMEOUT_SECONDS", default.request_timeout.as_secs()),
            requests_in_flight_max: settings
                .parsed("MERIDIAN_API_IN_FLIGHT_MAX", default.requests_in_flight_max),
            api_key_cache: Duration::from_secs(cache_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> std::collections::BTreeMap<String, String> {
        [
            ("MERIDIAN_CONTROL_TOKEN", "token"),
            ("MERIDIAN_POSTGRES_HOST", "pg"),
            ("MERIDIAN_POSTGRES_USER", "meridian"),
            ("MERIDIAN_POSTGRES_PASSWORD", "secret"),
            ("MERIDIAN_CLICKHOUSE_URL", "http://ch:8123"),
            ("MERIDIAN_CLICKHOUSE_USER", "meridian"),
            ("MERIDIAN_CLICKHOUSE_PASSWORD", "secret"),
            ("MERIDIAN_TEMPORAL_ADDRESS", "temporal:7233"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn the_contracts_variables_are_enough() {
        let mut settings = Settings::from_map(complete());
        let config = Config::read(&mut settings);
        settings.finish().expect("complete");
        assert_eq!(config.listen.port(), 8080);
        assert_eq!(config.control_listen.port(), 8081);
        assert_eq!(config.dedicated_tenant, None);
    }

    #[test]
    fn each_required_variable_is_named_when_it_is_missing() {
        for name in complete().keys() {
            let mut variables = complete();
            variables.remove(name);
            let mut settings = Settings::from_map(variables);
            Config::read(&mut settings);
            let error = settings.finish().expect_err(name);
            assert_eq!(error.problems.len(), 1, "{error}");
            assert!(error.to_string().contains(name.as_str()), "{error}");
        }
    }

    #[test]
    fn a_cache_that_would_keep_revoked_keys_alive_is_refused() {
        let mut variables = complete();
        variables.insert("MERIDIAN_API_KEY_CACHE_SECONDS".to_owned(), "11".to_owned());
        let mut settings = Settings::from_map(variables);
        Config::read(&mut settings);
        assert!(settings.finish().is_err());
    }
}
