//! Meter: which usage events count, and how.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;

/// A Meter turns usage events into quantities. What would change the quantities of past usage cannot be changed:
/// make another Meter and move the plans to it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "billing.meridian.dev",
    version = "v1alpha1",
    kind = "Meter",
    doc = "A Meter turns usage events into quantities: which events count, and how. What would change the quantities of past usage cannot be changed.",
    plural = "meters",
    shortname = "mtr",
    category = "meridian",
    namespaced,
    status = "MeterStatus",
    cel,
    selectable = ".spec.regionRef.name",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a meter has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.regionRef.name"),
    printcolumn(name = "Events", type_ = "string", json_path = ".spec.eventType"),
    printcolumn(name = "Aggregation", type_ = "string", json_path = ".spec.aggregation"),
    printcolumn(name = "Of", type_ = "string", json_path = ".spec.valueProperty", priority = 1),
    printcolumn(name = "Tenant", type_ = "string", json_path = ".spec.tenantRef.name", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.aggregation == 'Count') != has(self.valueProperty)").message("valueProperty is required for every aggregation but Count, and not allowed for Count"))]
#[x_kube(validation = Rule::new("has(self.tenantRef) == has(oldSelf.tenantRef) && (!has(self.tenantRef) || self.tenantRef.name == oldSelf.tenantRef.name)").message("tenantRef cannot be changed: make another meter").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.eventType == oldSelf.eventType && self.aggregation == oldSelf.aggregation && (has(self.valueProperty) ? self.valueProperty : '') == (has(oldSelf.valueProperty) ? oldSelf.valueProperty : '')").message("eventType, aggregation and valueProperty cannot be changed: past usage would change with them. Make another meter").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("has(self.groupBy) == has(oldSelf.groupBy) && (!has(self.groupBy) || self.groupBy == oldSelf.groupBy)").message("groupBy cannot be changed: past usage would change with it. Make another meter").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("has(self.filters) == has(oldSelf.filters) && (!has(self.filters) || self.filters == oldSelf.filters)").message("filters cannot be changed: past usage would change with them. Make another meter").reason(Reason::FieldValueForbidden))]
pub struct MeterSpec {
    /// The BillingRegion whose catalogue this meter belongs to. It cannot be changed.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name").message("regionRef cannot be changed: make another meter").reason(Reason::FieldValueForbidden))]
    pub region_ref: LocalRef,
    /// The one Tenant that this meter is for. Left out: every tenant of the region. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_ref: Option<LocalRef>,
    /// The `type` of the usage events that count. It cannot be changed.
    #[schemars(length(min = 1, max = 253))]
    pub event_type: String,
    /// How events become a quantity: `Count` counts them, `Sum` adds the values of `valueProperty`, `Max` takes the
    /// largest, `UniqueCount` counts the different ones. It cannot be changed.
    pub aggregation: Aggregation,
    /// The property of an event that holds its value. Required for every aggregation but `Count`. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub value_property: Option<String>,
    /// Properties by which usage can be told apart, in reports and in prices. It cannot be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 128)))]
    // Not a list of type set: the API server compares sets without order, and billing compares lists.
    #[x_kube(validation = Rule::new("self.all(property, self.exists_one(other, other == property))").message("groupBy names a property twice"))]
    pub group_by: Vec<String>,
    /// An event counts only if all of these hold. It cannot be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub filters: Vec<MeterFilter>,
    /// What one unit is called, such as `call` or `GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub unit: Option<String>,
    /// A sentence for people. It appears beside the meter in the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// How events become a quantity.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    Count,
    Sum,
    Max,
    UniqueCount,
}

/// A test on one property of an event. An event without the property passes `NotEq` and `NotIn` only.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.operator in ['In', 'NotIn'] || self.values.size() == 1").message("Eq and NotEq take exactly one value"))]
pub struct MeterFilter {
    /// Name of the property.
    #[schemars(length(min = 1, max = 128))]
    pub property: String,
    /// `Eq`, `NotEq`, `In` or `NotIn`.
    pub operator: FilterOperator,
    /// What the property is compared with, as text. Exactly one for `Eq` and `NotEq`.
    #[schemars(length(min = 1, max = 64), inner(length(max = 256)))]
    pub values: Vec<String>,
}

/// How a property is compared.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOperator {
    Eq,
    NotEq,
    In,
    NotIn,
}

/// What the operator has seen and done.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MeterStatus {
    /// The generation of the spec that this status is about. `-1`: nothing has been seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` tells whether the region has this meter in its catalogue, as the spec says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Version of this meter in the region's catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue_version: Option<i64>,
}
