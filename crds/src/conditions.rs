//! Every condition type and every reason that appears in a status, in one place, so that a reader of `kubectl get`
//! finds here what a word means. The messages beside them are made where the fact is known.

use std::fmt;

/// Defines a closed set of words with their meanings, and the list of all of them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$meaning:meta])* $word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$meaning])* $word),+ }

        impl $name {
            /// All of them, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            /// The word as it is written in a status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word)),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Types of conditions. `Ready`, `Reconciling` and `Stalled` mean what kstatus means by them and are on every kind.
    ConditionType {
        /// The object is as its spec says. Computed from what is observed, never from the last action.
        Ready,
        /// Work towards the spec is going on. Absent or False once there is nothing left to do.
        Reconciling,
        /// Work has stopped until a person changes something. Absent or False otherwise.
        Stalled,
        /// The region serves now, even while it is being changed.
        Available,
        /// Postgres accepts connections.
        PostgresReady,
        /// ClickHouse accepts queries.
        ClickHouseReady,
        /// Kafka accepts produce and fetch.
        KafkaReady,
        /// Redis answers.
        RedisReady,
        /// The ingest buffer answers.
        BufferReady,
        /// The object store answers.
        ObjectStoreReady,
        /// Temporal accepts workflows.
        TemporalReady,
        /// Every store has the schema of the version that is to run.
        SchemasMigrated,
        /// The ingest service has its replicas.
        IngestReady,
        /// The API has its replicas.
        ApiReady,
        /// The consumer has its replicas.
        ConsumerReady,
        /// The worker has its replicas.
        WorkerReady,
        /// The region's catalogue has this Meter, Plan or Tenant as its spec says.
        CatalogueSynced,
        /// The Secrets of a Tenant's API keys exist and the region knows their hashes.
        ApiKeysIssued,
    }
}

words! {
    /// Reasons of conditions. One word per cause; the message says what to do.
    Reason {
        /// All is as the spec says.
        Succeeded,
        /// Not looked at yet.
        Unknown,
        /// Objects are being made or changed.
        Progressing,
        /// Waits for a store, a schema or a service that comes before it.
        WaitingForDependency,
        /// Waits for its pods to become ready.
        WaitingForPods,
        /// The pods cannot become ready by waiting: image, scheduling, quota or crash. The message names the pod.
        PodsFailing,
        /// Stopped by the spec: replicas 0.
        ScaledToZero,
        /// The spec says `paused`: nothing is changed.
        Paused,
        /// The store is external; the operator runs nothing for it.
        External,
        /// The spec is not valid. The message names the field.
        InvalidSpec,
        /// The spec asks for something that this version does not do.
        NotSupported,
        /// A Secret that the spec names does not exist.
        SecretMissing,
        /// A Secret that the spec names lacks a key or has an unusable value. The message names the key, never the value.
        SecretInvalid,
        /// An image is not in the catalogue.
        ImageMissing,
        /// An object with a name that the region needs belongs to somebody else. It is left untouched.
        NameConflict,
        /// Somebody else writes fields that the operator owns.
        FieldConflict,
        /// Another BillingRegion already owns this namespace.
        NamespaceTaken,
        /// The API server refused a change. The message repeats why.
        Refused,
        /// Schemas are being migrated.
        Migrating,
        /// A migration failed. Its Job and logs are kept.
        MigrationFailed,
        /// The change skips a version that has to be visited.
        VersionSkipRefused,
        /// The region that the object names does not exist in this namespace.
        RegionNotFound,
        /// The region that the object names does not serve yet.
        RegionNotReady,
        /// A Plan, Meter or Tenant that the spec names does not exist in this namespace.
        ReferenceNotFound,
        /// A price of a Plan asks its Meter for something that the Meter does not have. The message names both.
        MeterMisfit,
        /// The region is Dedicated to another tenant.
        TenancyRefused,
        /// The region's API refused the catalogue entry. The message repeats why.
        CatalogueRefused,
        /// The region's API cannot be reached at present.
        CatalogueUnreachable,
        /// The object is being deleted.
        Deleting,
        /// Deletion waits; the message says what for.
        DeletionBlocked,
    }
}
