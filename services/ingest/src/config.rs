//! Configuration of the receive path: every bound has a name here, a default and a variable.

use std::{net::SocketAddr, time::Duration};

use meridian_billing::event::EventLimits;
use meridian_daemon::{BufferSettings, KafkaSettings, PostgresSettings, RedisSettings, Settings};

/// What meridian-ingest is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub limits: Limits,
    pub postgres: PostgresSettings,
    pub redis: RedisSettings,
    pub kafka: KafkaSettings,
    pub buffer: BufferSettings,
}

/// The bounds of one process.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub event: EventLimits,
    pub events_per_request_max: usize,
    /// Of one request, decompressed.
    pub body_bytes_max: usize,
    /// Of all requests whose body is held at this moment.
    pub body_bytes_in_flight_max: usize,
    pub requests_in_flight_max: usize,
    /// Events that wait for a store.
    pub events_in_flight_max: usize,
    pub connections_max: usize,
    /// From accepting a connection, or the end of the answer before, to the end of a request's head.
    pub head_within: Duration,
    /// From the head to the end of the body.
    pub body_within: Duration,
    /// How long a store may take to confirm. The longest acknowledgement is twice this: Kafka, then the outbox.
    pub store_patience: Duration,
    /// Events a second that one tenant may send to one replica; none is no limit.
    pub tenant_events_per_second: Option<u32>,
    /// After SIGTERM connections are still accepted for so long, while endpoints forget this replica.
    pub drain_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            event: EventLimits::default(),
            events_per_request_max: 1_000,
            body_bytes_max: 4 << 20,
            body_bytes_in_flight_max: 64 << 20,
            requests_in_flight_max: 1_024,
            events_in_flight_max: 50_000,
            connections_max: 4_096,
            head_within: Duration::from_secs(10),
            body_within: Duration::from_secs(20),
            store_patience: Duration::from_millis(1_500),
            tenant_events_per_second: None,
            drain_delay: Duration::from_millis(2_000),
        }
    }
}

const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;

impl Config {
    pub fn read(settings: &mut Settings) -> Config {
        Config {
            listen: settings.parsed("MERIDIAN_INGEST_LISTEN", SocketAddr::from(([0, 0, 0, 0], 8080))),
            limits: Limits::read(settings),
            postgres: PostgresSettings::read(settings),
            redis: RedisSettings::read(settings),
            kafka: KafkaSettings::read(settings),
            buffer: BufferSettings::read(settings),
        }
    }
}

impl Limits {
    fn read(settings: &mut Settings) -> Limits {
        let usual = Limits::default();
        let event = EventLimits {
            age_max_us: settings.parsed("MERIDIAN_INGEST_EVENT_AGE_DAYS_MAX", 366i64).saturating_mul(DAY_US),
            ahead_max_us: settings
                .parsed("MERIDIAN_INGEST_EVENT_AHEAD_HOURS_MAX", 24i64)
                .saturating_mul(HOUR_US),
            size_bytes_max: settings.parsed("MERIDIAN_INGEST_EVENT_BYTES_MAX", usual.event.size_bytes_max),
            properties_max: settings.parsed("MERIDIAN_INGEST_PROPERTIES_MAX", usual.event.properties_max),
        };
        let per_second: u32 = settings.parsed("MERIDIAN_INGEST_TENANT_EVENTS_PER_SECOND", 0);
        let limits = Limits {
            event,
            events_per_request_max: settings
                .parsed("MERIDIAN_INGEST_EVENTS_PER_REQUEST_MAX", usual.events_per_request_max),
            body_bytes_max: settings.parsed("MERIDIAN_INGEST_BODY_BYTES_MAX", usual.body_bytes_max),
            body_bytes_in_flight_max: settings
                .parsed("MERIDIAN_INGEST_BODY_BYTES_IN_FLIGHT_MAX", usual.body_bytes_in_flight_max),
            requests_in_flight_max: settings
                .parsed("MERIDIAN_INGEST_REQUESTS_IN_FLIGHT_MAX", usual.requests_in_flight_max),
            events_in_flight_max: settings
                .parsed("MERIDIAN_INGEST_EVENTS_IN_FLIGHT_MAX", usual.events_in_flight_max),
            connections_max: settings.parsed("MERIDIAN_INGEST_CONNECTIONS_MAX", usual.connections_max),
            head_within: settings.millis("MERIDIAN_INGEST_HEAD_WITHIN_MS", 10_000),
            body_within: settings.millis("MERIDIAN_INGEST_BODY_WITHIN_MS", 20_000),
            store_patience: settings.millis("MERIDIAN_INGEST_STORE_PATIENCE_MS", 1_500),
            tenant_events_per_second: (per_second > 0).then_some(per_second),
            drain_delay: settings.millis("MERIDIAN_INGEST_DRAIN_DELAY_MS", 2_000),
        };
        limits.check(settings);
        limits
    }

    /// Bounds that contradict each other would show as refusals that nobody understands.
    fn check(&self, settings: &mut Settings) {
        if self.events_in_flight_max < self.events_per_request_max {
            settings.problem(
                "MERIDIAN_INGEST_EVENTS_IN_FLIGHT_MAX is below MERIDIAN_INGEST_EVENTS_PER_REQUEST_MAX: \
                 the largest request could never be taken"
                    .to_owned(),
            );
        }
        if self.body_bytes_in_flight_max < self.body_bytes_max {
            settings.problem(
                "MERIDIAN_INGEST_BODY_BYTES_IN_FLIGHT_MAX is below MERIDIAN_INGEST_BODY_BYTES_MAX: \
                 the largest body could never be taken"
                    .to_owned(),
            );
        }
        if self.store_patience.is_zero() || self.store_patience > crate::drain::ACK_LONGEST / 4 {
            settings.problem(format!(
                "MERIDIAN_INGEST_STORE_PATIENCE_MS must be above 0 and at most {}: the progress of the outbox \
                 counts on it",
                (crate::drain::ACK_LONGEST / 4).as_millis()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        let map = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut settings = Settings::from_map(map);
        Limits::read(&mut settings);
        settings.finish().err().map(|e| e.problems).unwrap_or_default()
    }

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        assert_eq!(problems(&[]), Vec::<String>::new());
    }

    #[test]
    fn contradicting_bounds_are_refused_at_the_start() {
        let found = problems(&[
            ("MERIDIAN_INGEST_EVENTS_IN_FLIGHT_MAX", "7"),
            ("MERIDIAN_INGEST_BODY_BYTES_IN_FLIGHT_MAX", "9"),
            ("MERIDIAN_INGEST_STORE_PATIENCE_MS", "60000"),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn an_empty_environment_names_every_store() {
        let mut settings = Settings::from_map(Default::default());
        Config::read(&mut settings);
        let text = settings.finish().unwrap_err().to_string();
        for name in ["POSTGRES_HOST", "REDIS_HOST", "KAFKA_BOOTSTRAP", "BUFFER_ACCESS_KEY_ID"] {
            assert!(text.contains(&format!("MERIDIAN_{name}")), "{name} is missing from: {text}");
        }
    }
}
