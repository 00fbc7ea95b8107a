//! Stores that the operator runs itself: what can be said about each.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::resources::Resources;

/// A store that the operator runs as one StatefulSet with one pod and one volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.storageClassName) || has(self.storageClassName) && self.storageClassName == oldSelf.storageClassName").message("storageClassName cannot be changed: a volume keeps its class").reason(Reason::FieldValueForbidden))]
pub struct ManagedStore {
    /// Size of the volume, such as `20Gi`. Left out: by profile. It can grow, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]*(Mi|Gi|Ti|M|G|T)$"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0").message("storage can grow, never shrink").reason(Reason::FieldValueForbidden))]
    pub storage: Option<String>,
    /// StorageClass of the volume. Left out: the cluster's default. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// CPU and memory of the pod. Left out: by profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Kafka as the operator runs it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.storageClassName) || has(self.storageClassName) && self.storageClassName == oldSelf.storageClassName").message("storageClassName cannot be changed: a volume keeps its class").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("(has(self.partitions) ? self.partitions : 12) >= (has(oldSelf.partitions) ? oldSelf.partitions : 12)").message("partitions can grow, never shrink").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("has(self.brokers) == has(oldSelf.brokers) && (!has(self.brokers) || self.brokers == oldSelf.brokers)").message("brokers cannot be changed: this version does not move partitions between brokers").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.brokers) || self.brokers != 2").message("two brokers have no majority when one is lost: use 1, or 3 or more"))]
pub struct ManagedKafka {
    /// Number of brokers: 1, or 3 and more. Left out: by profile. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub brokers: Option<i32>,
    /// Partitions of the event topic, and with that the most consumers that can share the work. Left out: 12.
    /// It can grow, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub partitions: Option<i32>,
    /// Size of the volume of each broker, such as `20Gi`. Left out: by profile. It can grow, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[1-9][0-9]*(Mi|Gi|Ti|M|G|T)$"))]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity(oldSelf)) >= 0").message("storage can grow, never shrink").reason(Reason::FieldValueForbidden))]
    pub storage: Option<String>,
    /// StorageClass of the volumes. Left out: the cluster's default. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// CPU and memory of each broker. Left out: by profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Temporal as the operator runs it. It keeps everything in the region's Postgres and has no volume of its own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedTemporal {
    /// CPU and memory of the pod. Left out: by profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}
