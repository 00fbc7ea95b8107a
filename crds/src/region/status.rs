//! What the operator reports about a region.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;

/// What the operator has seen and done.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BillingRegionStatus {
    /// The generation of the spec that this status is about. `-1`: nothing has been seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` tells whether the region is as its spec says, `Available` whether it serves now; one condition for
    /// each store and each service tells which part is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Version of Meridian that the region runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where the region is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// The Secret that tells other programs how to reach this region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_secret_ref: Option<LocalRef>,
    /// How many stores are ready, out of how many: `6/7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores_ready: Option<String>,
    /// How many services are ready, out of how many: `4/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services_ready: Option<String>,
}

/// Addresses of the region's services.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Base URL for sending usage events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingest: Option<String>,
    /// Base URL of the REST API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
}
