//! How our programs reach each store: the variables of the contract between operator and services, for managed and external
//! stores alike. A program cannot tell which of the two it talks to.

use meridian_crds::region::{
    ExternalBuffer, ExternalClickHouse, ExternalKafka, ExternalObjectStore, ExternalPostgres, ExternalRedis,
    ExternalTemporal, SaslMechanism, SecurityProtocol, SslMode,
};

use crate::component::{BUFFER, CLICKHOUSE_HTTP, Component, KAFKA, OBJECT_STORE, POSTGRES, REDIS, TEMPORAL};
use crate::credentials::secret_name;
use crate::region::{Connection, External};
use crate::stores::kafka::replication;

/// The connection to a managed store of the region `name` in `namespace`.
pub fn managed(name: &str, namespace: &str, store: Component, replicas: i32, partitions: i32) -> Connection {
    let host = format!("{name}-{}.{namespace}.svc", store.name());
    let secret = secret_name(name, store);
    let none = Connection::default();
    match store {
        Component::Postgres => none
            .with("MERIDIAN_POSTGRES_HOST", host)
            .with("MERIDIAN_POSTGRES_PORT", POSTGRES.number.to_string())
            .with("MERIDIAN_POSTGRES_DATABASE", "meridian")
            .with_secret("MERIDIAN_POSTGRES_USER", &secret, "username")
            .with_secret("MERIDIAN_POSTGRES_PASSWORD", &secret, "password")
            .with("MERIDIAN_POSTGRES_SSLMODE", "prefer"),
        Component::ClickHouse => none
            .with("MERIDIAN_CLICKHOUSE_URL", format!("http://{host}:{}", CLICKHOUSE_HTTP.number))
            .with("MERIDIAN_CLICKHOUSE_DATABASE", "meridian")
            .with_secret("MERIDIAN_CLICKHOUSE_USER", &secret, "username")
            .with_secret("MERIDIAN_CLICKHOUSE_PASSWORD", &secret, "password"),
        Component::Kafka => none
            .with("MERIDIAN_KAFKA_BOOTSTRAP", format!("{host}:{}", KAFKA.number))
            .with("MERIDIAN_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
            .with("MERIDIAN_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
            .with_secret("MERIDIAN_KAFKA_SASL_USERNAME", &secret, "username")
            .with_secret("MERIDIAN_KAFKA_SASL_PASSWORD", &secret, "password")
            .with("MERIDIAN_KAFKA_TOPIC_EVENTS", "meridian.events")
            .with("MERIDIAN_KAFKA_PARTITIONS", partitions.to_string())
            .with("MERIDIAN_KAFKA_REPLICATION", replication(replicas).to_string()),
        Component::Redis => none
            .with("MERIDIAN_REDIS_HOST", host)
            .with("MERIDIAN_REDIS_PORT", REDIS.number.to_string())
            .with_secret("MERIDIAN_REDIS_PASSWORD", &secret, "password")
            .with("MERIDIAN_REDIS_TLS", "false"),
        Component::Buffer => none
            .with("MERIDIAN_BUFFER_ENDPOINT", format!("http://{host}:{}", BUFFER.number))
            .with("MERIDIAN_BUFFER_AWS_REGION", "local")
            .with_secret("MERIDIAN_BUFFER_ACCESS_KEY_ID", &secret, "accessKeyId")
            .with_secret("MERIDIAN_BUFFER_SECRET_ACCESS_KEY", &secret, "secretAccessKey")
            .with("MERIDIAN_BUFFER_TABLE", "meridian-events"),
        Component::ObjectStore => none
            .with("MERIDIAN_OBJECT_STORE_ENDPOINT", format!("http://{host}:{}", OBJECT_STORE.number))
            // versitygw's own default: requests are signed with it.
            .with("MERIDIAN_OBJECT_STORE_AWS_REGION", "us-east-1")
            .with("MERIDIAN_OBJECT_STORE_BUCKET", "meridian")
            .with_secret("MERIDIAN_OBJECT_STORE_ACCESS_KEY_ID", &secret, "accessKeyId")
            .with_secret("MERIDIAN_OBJECT_STORE_SECRET_ACCESS_KEY", &secret, "secretAccessKey"),
        Component::Temporal => none
            .with("MERIDIAN_TEMPORAL_ADDRESS", format!("{host}:{}", TEMPORAL.number))
            .with("MERIDIAN_TEMPORAL_NAMESPACE", "default")
            .with("MERIDIAN_TEMPORAL_TASK_QUEUE", "meridian"),
        Component::Migrate | Component::Consumer | Component::Worker | Component::Api | Component::Ingest => {
            none
        }
    }
}

pub fn postgres(external: &ExternalPostgres) -> External {
    let ExternalPostgres { host, port, database, ssl_mode, credentials_secret_ref } = external;
    let sslmode = match ssl_mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyFull => "verify-full",
    };
    let connection = Connection::default()
        .with("MERIDIAN_POSTGRES_HOST", host)
        .with("MERIDIAN_POSTGRES_PORT", port.to_string())
        .with("MERIDIAN_POSTGRES_DATABASE", database)
        .with_secret("MERIDIAN_POSTGRES_USER", &credentials_secret_ref.name, "username")
        .with_secret("MERIDIAN_POSTGRES_PASSWORD", &credentials_secret_ref.name, "password")
        .with("MERIDIAN_POSTGRES_SSLMODE", sslmode);
    External { ports: vec![*port], connection }
}

pub fn clickhouse(external: &ExternalClickHouse) -> External {
    let ExternalClickHouse { host, port, tls, database, credentials_secret_ref } = external;
    let scheme = if *tls { "https" } else { "http" };
    let connection = Connection::default()
        .with("MERIDIAN_CLICKHOUSE_URL", format!("{scheme}://{host}:{port}"))
        .with("MERIDIAN_CLICKHOUSE_DATABASE", database)
        .with_secret("MERIDIAN_CLICKHOUSE_USER", &credentials_secret_ref.name, "username")
        .with_secret("MERIDIAN_CLICKHOUSE_PASSWORD", &credentials_secret_ref.name, "password");
    External { ports: vec![*port], connection }
}

pub fn kafka(external: &ExternalKafka) -> External {
    let ExternalKafka {
        bootstrap_servers,
        security_protocol,
        sasl_mechanism,
        credentials_secret_ref,
        ca_secret_ref,
        events_topic,
        partitions,
        replication_factor,
    } = external;
    let protocol = match security_protocol {
        SecurityProtocol::Plaintext => "PLAINTEXT",
        SecurityProtocol::Ssl => "SSL",
        SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
        SecurityProtocol::SaslSsl => "SASL_SSL",
    };
    let mechanism = match sasl_mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    };
    let mut connection = Connection::default()
        .with("MERIDIAN_KAFKA_BOOTSTRAP", bootstrap_servers.join(","))
        .with("MERIDIAN_KAFKA_SECURITY_PROTOCOL", protocol)
        .with("MERIDIAN_KAFKA_SASL_MECHANISM", mechanism)
        .with("MERIDIAN_KAFKA_TOPIC_EVENTS", events_topic)
        .with("MERIDIAN_KAFKA_PARTITIONS", partitions.to_string())
        .with("MERIDIAN_KAFKA_REPLICATION", replication_factor.to_string());
    if let Some(secret) = credentials_secret_ref {
        connection = connection
            .with_secret("MERIDIAN_KAFKA_SASL_USERNAME", &secret.name, "username")
            .with_secret("MERIDIAN_KAFKA_SASL_PASSWORD", &secret.name, "password");
    }
    if let Some(secret) = ca_secret_ref {
        connection = connection.with_secret("MERIDIAN_KAFKA_CA_PEM", &secret.name, "ca.crt");
    }
    External { ports: kafka_ports(bootstrap_servers), connection }
}

/// Brokers usually share a port; each that differs is opened.
fn kafka_ports(servers: &[String]) -> Vec<i32> {
    let mut ports: Vec<i32> =
        servers.iter().filter_map(|server| server.rsplit_once(':')?.1.parse().ok()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

pub fn redis(external: &ExternalRedis) -> External {
    let ExternalRedis { host, port, tls, credentials_secret_ref } = external;
    let mut connection = Connection::default()
        .with("MERIDIAN_REDIS_HOST", host)
        .with("MERIDIAN_REDIS_PORT", port.to_string())
        .with("MERIDIAN_REDIS_TLS", tls.to_string());
    if let Some(secret) = credentials_secret_ref {
        connection = connection.with_secret("MERIDIAN_REDIS_PASSWORD", &secret.name, "password");
    }
    External { ports: vec![*port], connection }
}

pub fn buffer(external: &ExternalBuffer) -> External {
    // The provider decides nothing here: both speak the same API, and an endpoint tells them apart.
    let ExternalBuffer { provider: _, endpoint, aws_region, table, credentials_secret_ref } = external;
    let connection = Connection::default()
        .with_some("MERIDIAN_BUFFER_ENDPOINT", endpoint.clone())
        .with("MERIDIAN_BUFFER_AWS_REGION", aws_region)
        .with_secret("MERIDIAN_BUFFER_ACCESS_KEY_ID", &credentials_secret_ref.name, "accessKeyId")
        .with_secret("MERIDIAN_BUFFER_SECRET_ACCESS_KEY", &credentials_secret_ref.name, "secretAccessKey")
        .with("MERIDIAN_BUFFER_TABLE", table);
    External { ports: vec![endpoint.as_deref().map_or(443, url_port)], connection }
}

pub fn object_store(external: &ExternalObjectStore) -> External {
    let ExternalObjectStore { endpoint, aws_region, bucket, credentials_secret_ref } = external;
    let connection = Connection::default()
        .with("MERIDIAN_OBJECT_STORE_ENDPOINT", endpoint)
        .with("MERIDIAN_OBJECT_STORE_AWS_REGION", aws_region)
        .with("MERIDIAN_OBJECT_STORE_BUCKET", bucket)
        .with_secret("MERIDIAN_OBJECT_STORE_ACCESS_KEY_ID", &credentials_secret_ref.name, "accessKeyId")
        .with_secret(
            "MERIDIAN_OBJECT_STORE_SECRET_ACCESS_KEY",
            &credentials_secret_ref.name,
            "secretAccessKey",
        );
    External { ports: vec![url_port(endpoint)], connection }
}

pub fn temporal(external: &ExternalTemporal) -> External {
    let ExternalTemporal { host, port, namespace } = external;
    let connection = Connection::default()
        .with("MERIDIAN_TEMPORAL_ADDRESS", format!("{host}:{port}"))
        .with("MERIDIAN_TEMPORAL_NAMESPACE", namespace)
        .with("MERIDIAN_TEMPORAL_TASK_QUEUE", "meridian");
    External { ports: vec![*port], connection }
}

/// The port of a base URL: written out, or its scheme's.
pub fn url_port(url: &str) -> i32 {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split('/').next().unwrap_or(rest);
    let written = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    written.unwrap_or(if scheme == "http" { 80 } else { 443 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_url_is_written_or_its_schemes() {
        assert_eq!(url_port("https://s3.eu-central-1.amazonaws.com"), 443);
        assert_eq!(url_port("http://alternator:8043/"), 8043);
        assert_eq!(url_port("http://minio"), 80);
        assert_eq!(url_port("https://[2001:db8::1]:9443/x:1"), 9443);
    }
}
