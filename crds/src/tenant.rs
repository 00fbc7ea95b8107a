//! Tenant: an organisation on the platform, and the boundary of isolation inside a region.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;

/// A Tenant is an organisation on the platform. It sends usage events and reads its billing with its API keys. With
/// `planRef` the platform bills the tenant itself.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "billing.meridian.dev",
    version = "v1alpha1",
    kind = "Tenant",
    doc = "A Tenant is an organisation on the platform. It sends usage events and reads its billing with its API keys. With planRef the platform bills the tenant itself.",
    plural = "tenants",
    shortname = "tnt",
    category = "meridian",
    namespaced,
    status = "TenantStatus",
    cel,
    selectable = ".spec.regionRef.name",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a tenant has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.regionRef.name"),
    printcolumn(name = "Plan", type_ = "string", json_path = ".spec.planRef.name"),
    printcolumn(name = "Keys", type_ = "string", json_path = ".status.apiKeys[*].name"),
    printcolumn(name = "Secrets", type_ = "string", json_path = ".status.apiKeys[*].secretName", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.billingStart) || has(self.billingStart) && self.billingStart == oldSelf.billingStart").message("billingStart cannot be changed once it is set: its periods may be invoiced").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.apiKeys) || self.apiKeys.all(k, !has(k.project) || k.project == 'default' || has(self.projects) && k.project in self.projects)").message("the project of an API key must be `default` or one of projects"))]
#[x_kube(validation = Rule::new("!has(self.apiKeys) || self.apiKeys.all(k, self.apiKeys.exists_one(other, other.secretRef.name == k.secretRef.name))").message("every API key needs a Secret of its own"))]
pub struct TenantSpec {
    /// The BillingRegion that this tenant lives in. It cannot be changed.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name").message("regionRef cannot be changed: a tenant's data does not leave its region").reason(Reason::FieldValueForbidden))]
    pub region_ref: LocalRef,
    /// The name that people see. Left out: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub display_name: Option<String>,
    /// The Plan by which the platform bills this tenant. Left out: it is not billed by the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_ref: Option<LocalRef>,
    /// Start of the first billing period. Left out: the start of the calendar month in which the tenant was made.
    /// It cannot be changed once it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"), length(max = 40))]
    pub billing_start: Option<String>,
    /// IANA time zone in which billing periods begin and end, such as `Europe/Berlin`. Default `UTC`. It cannot be changed.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("timeZone cannot be changed: billing periods would overlap or leave a gap").reason(Reason::FieldValueForbidden))]
    pub time_zone: String,
    /// Projects of the tenant, besides `default`, which always exists. Each API key belongs to one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub projects: Vec<String>,
    /// API keys. For each the operator makes a key and puts it into the Secret that it names; the region stores only
    /// a hash. Taking a key out of this list revokes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub api_keys: Vec<ApiKey>,
}

/// One API key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Name of the key, unique in the tenant.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The project that the key belongs to. Left out: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub project: Option<String>,
    /// The Secret that the operator makes, with the keys `apiKey`, `tenant`, `region`, `ingestUrl` and `apiUrl`.
    pub secret_ref: LocalRef,
}

/// What the operator has seen and done.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// The generation of the spec that this status is about. `-1`: nothing has been seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` tells whether the region knows this tenant and its keys, as the spec says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The API keys that work, and where each is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub api_keys: Vec<IssuedKey>,
    /// Version of this tenant in the region's catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue_version: Option<i64>,
}

/// An API key that works.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IssuedKey {
    /// Name of the key.
    pub name: String,
    /// Name of the Secret that holds it.
    pub secret_name: String,
}

fn utc() -> String {
    "UTC".into()
}
