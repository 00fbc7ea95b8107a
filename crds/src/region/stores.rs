//! The seven stores of a region. Each is exactly one of: managed by the operator, external, or handed to a
//! specialised operator.
//!
//! A store that is left out is managed, but that is **not** a default of the schema: the API server would write
//! `managed: {}` into the object, and a later `kubectl apply` of `external: …` would be merged into a store that is both.
//! [`StoreSource`] is how the other crates read the choice.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::external::*;
use super::managed::*;

/// The stores of a region.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Stores {
    /// The system of record: tenants, customers, plans, subscriptions, invoices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresStore>,
    /// Raw and processed usage events, and their rollups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<ClickHouseStore>,
    /// The stream of usage events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaStore>,
    /// Caches of the hot path. Holds nothing that is not elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStore>,
    /// The durable ingest buffer, by the DynamoDB API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<BufferStore>,
    /// Archives, invoices and exports, by the S3 API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStore>,
    /// The workflow engine that runs billing cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporal: Option<TemporalStore>,
}

/// Who runs a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSource<M, E> {
    /// The operator runs it as a plain StatefulSet.
    Managed(M),
    /// Somebody else runs it; the region is told where it is.
    External(E),
    /// A specialised operator in the same cluster runs it. This version reports it as not supported.
    OperatorRef(OperatorRef),
}

/// A store that names none or several of `managed`, `external` and `operatorRef`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExactlyOne;

/// Defines the union of one store, the rule that exactly one branch is set, and how to read it.
macro_rules! store_union {
    ($(#[$doc:meta])* $name:ident, $managed:ident, $external:ident) => {
        $(#[$doc])*
        #[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
        #[serde(rename_all = "camelCase")]
        #[x_kube(validation = Rule::new("[has(self.managed), has(self.external), has(self.operatorRef)].exists_one(x, x)").message("exactly one of managed, external and operatorRef must be set"))]
        pub struct $name {
            /// The operator runs the store in this namespace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub managed: Option<$managed>,
            /// The store already runs somewhere, in this cluster or outside of it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub external: Option<$external>,
            /// An object of a specialised operator, in this namespace. This version of Meridian does not act on it:
            /// the region reports `Stalled` with the reason `NotSupported`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub operator_ref: Option<OperatorRef>,
        }

        impl $name {
            /// Which branch is set. An absent store (`None`) is managed with everything by profile.
            pub fn source(store: Option<&Self>) -> Result<StoreSource<$managed, $external>, NotExactlyOne> {
                let Some(Self { managed, external, operator_ref }) = store else {
                    return Ok(StoreSource::Managed($managed::default()));
                };
                match (managed, external, operator_ref) {
                    (Some(managed), None, None) => Ok(StoreSource::Managed(managed.clone())),
                    (None, Some(external), None) => Ok(StoreSource::External(external.clone())),
                    (None, None, Some(reference)) => Ok(StoreSource::OperatorRef(reference.clone())),
                    _ => Err(NotExactlyOne),
                }
            }
        }
    };
}

store_union!(
    /// Who runs Postgres.
    PostgresStore, ManagedStore, ExternalPostgres
);
store_union!(
    /// Who runs ClickHouse.
    ClickHouseStore, ManagedStore, ExternalClickHouse
);
store_union!(
    /// Who runs Kafka.
    KafkaStore, ManagedKafka, ExternalKafka
);
store_union!(
    /// Who runs Redis.
    RedisStore, ManagedStore, ExternalRedis
);
store_union!(
    /// Who runs the ingest buffer.
    BufferStore, ManagedStore, ExternalBuffer
);
store_union!(
    /// Who runs the object store.
    ObjectStore, ManagedStore, ExternalObjectStore
);
store_union!(
    /// Who runs Temporal.
    TemporalStore, ManagedTemporal, ExternalTemporal
);

/// An object of a specialised operator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OperatorRef {
    /// API group and version of the object, such as `postgresql.cnpg.io/v1`.
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Kind of the object, such as `Cluster`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the object, in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
