//! Stores that somebody else runs: where each is, and the Secret that opens it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;

/// A Postgres that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalPostgres {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port. Default 5432.
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Database; it must exist. Default `meridian`.
    #[serde(default = "meridian")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// How the connection is secured: `Disable`, `Prefer`, `Require` or `VerifyFull`. Default `Require`.
    #[serde(default)]
    pub ssl_mode: SslMode,
    /// Secret with the keys `username` and `password`. The role must own the database.
    pub credentials_secret_ref: LocalRef,
}

/// How a Postgres connection is secured.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    #[default]
    Require,
    VerifyFull,
}

/// A ClickHouse that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalClickHouse {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port of the HTTP interface. Default 8123.
    #[serde(default = "clickhouse_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Use HTTPS. Default false.
    #[serde(default)]
    pub tls: bool,
    /// Database; it must exist. Default `meridian`.
    #[serde(default = "meridian")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Secret with the keys `username` and `password`.
    pub credentials_secret_ref: LocalRef,
}

/// A Kafka that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.securityProtocol.startsWith('SASL_') == has(self.credentialsSecretRef)").message("credentialsSecretRef is required with a SASL protocol, and not allowed otherwise"))]
#[x_kube(validation = Rule::new("self.partitions >= oldSelf.partitions").message("partitions can grow, never shrink").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.eventsTopic == oldSelf.eventsTopic").message("eventsTopic cannot be changed: events on the way would be left behind").reason(Reason::FieldValueForbidden))]
pub struct ExternalKafka {
    /// Addresses of some brokers, each `host:port`.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 253), regex(pattern = r"^[^\s,:]+:[0-9]{1,5}$"))
    )]
    pub bootstrap_servers: Vec<String>,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`. Default `SASL_SSL`.
    #[serde(default)]
    pub security_protocol: SecurityProtocol,
    /// How the client proves who it is, with a SASL protocol. Default `SCRAM-SHA-512`.
    #[serde(default)]
    pub sasl_mechanism: SaslMechanism,
    /// Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalRef>,
    /// Secret whose key `ca.crt` holds the certificate authority of the brokers, where it is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalRef>,
    /// Topic of the usage events; it is created where it does not exist. Regions must not share one.
    /// Default `meridian.events`. It cannot be changed.
    #[serde(default = "events_topic")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub events_topic: String,
    /// Partitions of that topic. Default 12. It can grow, never shrink.
    #[serde(default = "partitions")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: i32,
    /// Copies of each partition, when the topic is created. Default 3.
    #[serde(default = "replication_factor")]
    #[schemars(range(min = 1, max = 9))]
    pub replication_factor: i32,
}

/// Kafka's own names.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityProtocol {
    #[serde(rename = "PLAINTEXT")]
    Plaintext,
    #[serde(rename = "SSL")]
    Ssl,
    #[serde(rename = "SASL_PLAINTEXT")]
    SaslPlaintext,
    #[default]
    #[serde(rename = "SASL_SSL")]
    SaslSsl,
}

/// Kafka's own names.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[default]
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A Redis that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRedis {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port. Default 6379.
    #[serde(default = "redis_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Use TLS. Default false.
    #[serde(default)]
    pub tls: bool,
    /// Secret with the key `password`. Left out: no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalRef>,
}

/// An ingest buffer that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.provider == 'DynamoDB' || has(self.endpoint)").message("endpoint is required unless provider is DynamoDB"))]
#[x_kube(validation = Rule::new("self.table == oldSelf.table && self.awsRegion == oldSelf.awsRegion").message("table and awsRegion cannot be changed: buffered events would be left behind").reason(Reason::FieldValueForbidden))]
pub struct ExternalBuffer {
    /// `DynamoDB`, or `Alternator` for ScyllaDB's implementation of its API. Default `DynamoDB`.
    #[serde(default)]
    pub provider: BufferProvider,
    /// Base URL. Left out: AWS's own for `awsRegion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^https?://[^/?#\s]+/?$"))]
    pub endpoint: Option<String>,
    /// AWS region, such as `eu-central-1`. Alternator only signs with it. It cannot be changed.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9-]+$"))]
    pub aws_region: String,
    /// Table; it is created where it does not exist. Regions must not share one. Default `meridian-events`.
    /// It cannot be changed.
    #[serde(default = "buffer_table")]
    #[schemars(length(min = 3, max = 255), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub table: String,
    /// Secret with the keys `accessKeyId` and `secretAccessKey`.
    pub credentials_secret_ref: LocalRef,
}

/// Which implementation of the DynamoDB API.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BufferProvider {
    #[default]
    DynamoDB,
    Alternator,
}

/// An object store that somebody else runs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.bucket == oldSelf.bucket").message("bucket cannot be changed: its archives and invoices would be left behind").reason(Reason::FieldValueForbidden))]
pub struct ExternalObjectStore {
    /// Base URL, such as `https://s3.eu-central-1.amazonaws.com`.
    #[schemars(length(max = 253), regex(pattern = r"^https?://[^/?#\s]+/?$"))]
    pub endpoint: String,
    /// AWS region, such as `eu-central-1`; other providers name the value that they want.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9-]+$"))]
    pub aws_region: String,
    /// Bucket; it is created where it does not exist. It cannot be changed.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// Secret with the keys `accessKeyId` and `secretAccessKey`.
    pub credentials_secret_ref: LocalRef,
}

/// A Temporal that somebody else runs.
// `namespace` is a reserved word of CEL: in a rule Kubernetes calls the field `__namespace__`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.__namespace__ == oldSelf.__namespace__").message("namespace cannot be changed: running billing cycles would be left behind").reason(Reason::FieldValueForbidden))]
pub struct ExternalTemporal {
    /// Host name or address of the frontend.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port. Default 7233.
    #[serde(default = "temporal_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Temporal namespace; it must exist. Regions must not share one. It cannot be changed.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub namespace: String,
}

fn meridian() -> String {
    "meridian".into()
}
fn events_topic() -> String {
    "meridian.events".into()
}
fn buffer_table() -> String {
    "meridian-events".into()
}
fn postgres_port() -> i32 {
    5432
}
fn clickhouse_port() -> i32 {
    8123
}
fn redis_port() -> i32 {
    6379
}
fn temporal_port() -> i32 {
    7233
}
fn partitions() -> i32 {
    12
}
fn replication_factor() -> i32 {
    3
}
