//! How to reach each store of a region. The names of the variables are the operator's contract with the services:
//! `operator/desired` writes them, these types read them.

use secrecy::{ExposeSecret, SecretString};

use crate::settings::Settings;

#[derive(Clone, Debug)]
pub struct PostgresSettings {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: SecretString,
    /// libpq's `sslmode`: disable, allow, prefer, require, verify-ca or verify-full.
    pub sslmode: String,
}

impl PostgresSettings {
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            host: settings.required("MERIDIAN_POSTGRES_HOST"),
            port: settings.parsed("MERIDIAN_POSTGRES_PORT", 5432),
            database: settings.or("MERIDIAN_POSTGRES_DATABASE", "meridian"),
            user: settings.required("MERIDIAN_POSTGRES_USER"),
            password: settings.secret("MERIDIAN_POSTGRES_PASSWORD"),
            sslmode: settings.or("MERIDIAN_POSTGRES_SSLMODE", "prefer"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct ClickHouseSettings {
    /// Base URL of the HTTP interface, such as `http://demo-clickhouse:8123`.
    pub url: String,
    pub database: String,
    pub user: String,
    pub password: SecretString,
}

impl ClickHouseSettings {
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            url: settings.required("MERIDIAN_CLICKHOUSE_URL"),
            database: settings.or("MERIDIAN_CLICKHOUSE_DATABASE", "meridian"),
            user: settings.required("MERIDIAN_CLICKHOUSE_USER"),
            password: settings.secret("MERIDIAN_CLICKHOUSE_PASSWORD"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port`, comma-separated.
    pub bootstrap: String,
    /// librdkafka's `security.protocol`.
    pub security_protocol: String,
    pub sasl_mechanism: String,
    pub sasl_username: Option<String>,
    pub sasl_password: Option<SecretString>,
    /// PEM text of the certificate authority, when it is not one of the system's.
    pub ca_pem: Option<String>,
    pub topic_events: String,
    pub partitions: i32,
    pub replication: i32,
}

impl KafkaSettings {
    pub fn read(settings: &mut Settings) -> Self {
        let kafka = Self {
            bootstrap: settings.required("MERIDIAN_KAFKA_BOOTSTRAP"),
            security_protocol: settings.or("MERIDIAN_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
            sasl_mechanism: settings.or("MERIDIAN_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
            sasl_username: settings.optional("MERIDIAN_KAFKA_SASL_USERNAME"),
            sasl_password: settings.optional_secret("MERIDIAN_KAFKA_SASL_PASSWORD"),
            ca_pem: settings.optional("MERIDIAN_KAFKA_CA_PEM"),
            topic_events: settings.or("MERIDIAN_KAFKA_TOPIC_EVENTS", "meridian.events"),
            partitions: settings.parsed("MERIDIAN_KAFKA_PARTITIONS", 12),
            replication: settings.parsed("MERIDIAN_KAFKA_REPLICATION", 1),
        };
        let sasl = kafka.security_protocol.starts_with("SASL_");
        if sasl && (kafka.sasl_username.is_none() || kafka.sasl_password.is_none()) {
            settings.problem(
                "MERIDIAN_KAFKA_SECURITY_PROTOCOL asks for SASL, so MERIDIAN_KAFKA_SASL_USERNAME and \
                 MERIDIAN_KAFKA_SASL_PASSWORD have to be set"
                    .to_owned(),
            );
        }
        kafka
    }

    /// librdkafka properties for the connection, the same for producers, consumers and admin clients.
    pub fn client_properties(&self) -> Vec<(&'static str, String)> {
        let mut properties = vec![
            ("bootstrap.servers", self.bootstrap.clone()),
            ("security.protocol", self.security_protocol.clone()),
            // A broker that shuts down may answer that there are no brokers; librdkafka forgets those it knew, and asks the
            // bootstrap servers again only after this interval (librdkafka issue 5301; the default is five minutes).
            ("metadata.recovery.rebootstrap.trigger.ms", "10000".to_owned()),
        ];
        if let (Some(user), Some(password)) = (&self.sasl_username, &self.sasl_password) {
            properties.push(("sasl.mechanism", self.sasl_mechanism.clone()));
            properties.push(("sasl.username", user.clone()));
            properties.push(("sasl.password", password.expose_secret().to_owned()));
        }
        if let Some(pem) = &self.ca_pem {
            properties.push(("ssl.ca.pem", pem.clone()));
        }
        properties
    }
}

#[derive(Clone, Debug)]
pub struct RedisSettings {
    pub host: String,
    pub port: u16,
    pub password: Option<SecretString>,
    pub tls: bool,
}

impl RedisSettings {
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            host: settings.required("MERIDIAN_REDIS_HOST"),
            port: settings.parsed("MERIDIAN_REDIS_PORT", 6379),
            password: settings.optional_secret("MERIDIAN_REDIS_PASSWORD"),
            tls: settings.parsed("MERIDIAN_REDIS_TLS", false),
        }
    }
}

#[derive(Clone, Debug)]
pub struct BufferSettings {
    /// Absent: the cloud's own endpoint for `aws_region`.
    pub endpoint: Option<String>,
    pub aws_region: String,
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub table: String,
}

impl BufferSettings {
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            endpoint: settings.optional("MERIDIAN_BUFFER_ENDPOINT"),
            aws_region: settings.required("MERIDIAN_BUFFER_AWS_REGION"),
            access_key_id: settings.required("MERIDIAN_BUFFER_ACCESS_KEY_ID"),
            secret_access_key: settings.secret("MERIDIAN_BUFFER_SECRET_ACCESS_KEY"),
            table: settings.or("MERIDIAN_BUFFER_TABLE", "meridian-events"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct ObjectStoreSettings {
    /// Absent: the cloud's own endpoint for `aws_region`.
    pub endpoint: Option<String>,
    pub aws_region: String,
    pub bucket: String,
    pub access_key_id: String,
    pub secret_access_key: SecretString,
}

impl ObjectStoreSettings {
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            endpoint: settings.optional("MERIDIAN_OBJECT_STORE_ENDPOINT"),
            aws_region: settings.required("MERIDIAN_OBJECT_STORE_AWS_REGION"),
            bucket: settings.or("MERIDIAN_OBJECT_STORE_BUCKET", "meridian"),
            access_key_id: settings.required("MERIDIAN_OBJECT_STORE_ACCESS_KEY_ID"),
            secret_access_key: settings.secret("MERIDIAN_OBJECT_STORE_SECRET_ACCESS_KEY"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct TemporalSettings {
    /// `host:port` of the frontend's gRPC.
    pub address: String,
    pub namespace: String,
    pub task_queue: String,
}

impl TemporalSettings {
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            address: settings.required("MERIDIAN_TEMPORAL_ADDRESS"),
            namespace: settings.or("MERIDIAN_TEMPORAL_NAMESPACE", "default"),
            task_queue: settings.or("MERIDIAN_TEMPORAL_TASK_QUEUE", "meridian"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sasl_without_credentials_is_refused() {
        let mut settings = Settings::from_map(
            [("MERIDIAN_KAFKA_BOOTSTRAP", "k:9092"), ("MERIDIAN_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
        );
        KafkaSettings::read(&mut settings);
        assert!(settings.finish().unwrap_err().to_string().contains("MERIDIAN_KAFKA_SASL_USERNAME"));
    }

    #[test]
    fn an_empty_environment_names_every_store_variable() {
        let mut settings = Settings::from_map(Default::default());
        PostgresSettings::read(&mut settings);
        ClickHouseSettings::read(&mut settings);
        RedisSettings::read(&mut settings);
        BufferSettings::read(&mut settings);
        ObjectStoreSettings::read(&mut settings);
        TemporalSettings::read(&mut settings);
        let text = settings.finish().unwrap_err().to_string();
        for name in [
            "POSTGRES_HOST",
            "CLICKHOUSE_URL",
            "REDIS_HOST",
            "BUFFER_AWS_REGION",
            "OBJECT_STORE_AWS_REGION",
            "TEMPORAL_ADDRESS",
        ] {
            assert!(text.contains(&format!("MERIDIAN_{name}")), "{name} is missing from: {text}");
        }
    }
}
