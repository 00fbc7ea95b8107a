//! BillingRegion: one isolated billing plane. It owns the namespace that it stands in.

mod external;
mod managed;
mod services;
mod status;
mod stores;

pub use external::*;
pub use managed::*;
pub use services::*;
pub use status::*;
pub use stores::*;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;

/// The longest name of a region. `NAME-objectstore-…` and everything else that is made of it must fit into 63 characters.
pub const REGION_NAME_LENGTH_MAX: usize = 40;

/// A BillingRegion is one isolated billing plane: its stores, its schemas and the services on top of them, all in the
/// namespace of this object. Meters, Plans and Tenants of the same namespace name it by `spec.regionRef`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "billing.meridian.dev",
    version = "v1alpha1",
    kind = "BillingRegion",
    doc = "A BillingRegion is one isolated billing plane: stores, schemas and services, all in the namespace of this object. Meters, Plans and Tenants of the same namespace name it by spec.regionRef.",
    plural = "billingregions",
    shortname = "br",
    category = "meridian",
    namespaced,
    status = "BillingRegionStatus",
    cel,
    validation = Rule::new("self.metadata.name.size() <= 40").message("the name of a region has at most 40 characters: the names of its objects are made of it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name of a region starts with a letter and has only lower-case letters, digits and '-': Services are named after it"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Available", type_ = "string", json_path = r#".status.conditions[?(@.type=="Available")].status"#),
    printcolumn(name = "Stores", type_ = "string", json_path = ".status.storesReady"),
    printcolumn(name = "Services", type_ = "string", json_path = ".status.servicesReady"),
    printcolumn(name = "Location", type_ = "string", json_path = ".spec.location"),
    printcolumn(name = "Tenancy", type_ = "string", json_path = ".spec.tenancy.mode"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.profile", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BillingRegionSpec {
    /// Where the data of this region is processed and stored, such as `eu-central-1`. It is a label, written on every
    /// record and every export; it does not choose machines. It cannot be changed.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("location cannot be changed: create another region and move its tenants").reason(Reason::FieldValueForbidden))]
    pub location: String,

    /// Who may live in this region.
    #[serde(default)]
    pub tenancy: Tenancy,

    /// Size of everything that is not set explicitly: replicas, resources, storage and anti-affinity.
    /// `Dev` fits on one small machine and keeps one copy of everything, `Standard` is a production region,
    /// `Large` a busy one.
    #[serde(default)]
    pub profile: Profile,

    /// The stores. A store that is left out is managed, sized by the profile.
    #[serde(default)]
    pub stores: Stores,

    /// The services. A service that is left out is sized by the profile.
    #[serde(default)]
    pub services: Services,

    /// Where the container images come from. Left out: the catalogue that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,

    /// What becomes of the data when this object is deleted. `Retain` keeps volumes and credentials, and a region of
    /// the same name adopts them; `Delete` removes them for good.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// While true, deleting this object is refused.
    #[serde(default)]
    pub protected: bool,

    /// While true, the operator changes nothing in this region and only reports its state.
    #[serde(default)]
    pub paused: bool,
}

/// Who may live in the region.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.mode == 'Dedicated') == has(self.tenantName)").message("tenantName is required when mode is Dedicated, and not allowed otherwise"))]
pub struct Tenancy {
    /// `Shared` serves any number of tenants. `Dedicated` serves the one that `tenantName` names and refuses every
    /// other. It cannot be changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("tenancy.mode cannot be changed: create another region").reason(Reason::FieldValueForbidden))]
    pub mode: TenancyMode,
    /// Name of the one Tenant of a `Dedicated` region. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("tenancy.tenantName cannot be changed: create another region").reason(Reason::FieldValueForbidden))]
    pub tenant_name: Option<String>,
}

/// How many tenants a region serves.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TenancyMode {
    #[default]
    Shared,
    Dedicated,
}

/// What is not set explicitly follows the profile.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    Dev,
    #[default]
    Standard,
    Large,
}

/// What becomes of the data when the region is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// Where the container images come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Images {
    /// A ConfigMap in this namespace, labelled `app.kubernetes.io/part-of: meridian`, with one image per key: `meridian`, `postgres`, `clickhouse`, `kafka`, `redis`,
    /// `buffer`, `objectstore`, `temporal`. A key that is missing there comes from the operator's own catalogue.
    pub catalog_ref: LocalRef,
}
