//! The four services of a region.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::Resources;

/// The services of a region.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// Takes usage events and acknowledges them once they are stored.
    #[serde(default)]
    pub ingest: ExposedService,
    /// The REST API.
    #[serde(default)]
    pub api: ExposedService,
    /// Reads events from Kafka, enriches them and writes ClickHouse.
    #[serde(default)]
    pub consumer: InternalService,
    /// Closes billing periods and makes invoices.
    #[serde(default)]
    pub worker: InternalService,
}

/// A service that clients outside of the region talk to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExposedService {
    /// Number of pods. Left out: by profile. `0` stops the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 500))]
    pub replicas: Option<i32>,
    /// CPU and memory of each pod. Left out: by profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// How the service is reached from outside of the namespace.
    #[serde(default)]
    pub exposure: Exposure,
}

/// A service that nobody connects to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InternalService {
    /// Number of pods. Left out: by profile. `0` stops the service; nothing is lost, the work waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 500))]
    pub replicas: Option<i32>,
    /// CPU and memory of each pod. Left out: by profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// How a service is reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.nodePort) || self.type == 'NodePort'").message("nodePort needs type NodePort"))]
pub struct Exposure {
    /// Type of the Kubernetes Service. Put a Gateway or an Ingress in front of `ClusterIP`.
    #[serde(default, rename = "type")]
    pub type_: ExposureType,
    /// A fixed port on every node, with type `NodePort`. Left out: Kubernetes chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
    /// The address that clients use, such as `https://events.example.com`, where it is not the Service itself.
    /// It appears in the status, in the discovery Secret and in the Secret of every API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^https?://[^/?#\s]+(/[^?#\s]*)?$"))]
    pub url: Option<String>,
}

/// Type of the Kubernetes Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExposureType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}
