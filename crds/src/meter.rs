//! Meter: which usage events count, and how.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;

/// A Meter turns usage events into quantities, those that came before it as well. What would change the quantities of past usage cannot be changed:
/// make another Meter and move the plans to it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "billing.meridian.dev",
    version = "v1alpha1",
    kind = "Meter",
    doc = "A Meter turns usage events into quantities: which events count, and how. Events that came before the meter count as well. What would change the quantities of past usage cannot be changed.",
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
#[x_kube(validation = Rule::new("(self.aggregation == 'Percentile') == has(self.percentile)").message("percentile is required for Percentile, and not allowed for any other aggregation"))]
#[x_kube(validation = Rule::new("!has(self.multiplier) || self.aggregation == 'Sum'").message("multiplier is allowed for Sum only"))]
#[x_kube(validation = Rule::new("!has(self.reset) || self.reset == 'EachPeriod' || self.aggregation in ['Sum', 'Latest', 'WeightedSum']").message("only Sum, Latest and WeightedSum have a level that is never reset"))]
#[x_kube(validation = Rule::new("has(self.tenantRef) == has(oldSelf.tenantRef) && (!has(self.tenantRef) || self.tenantRef.name == oldSelf.tenantRef.name)").message("tenantRef cannot be changed: make another meter").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.eventType == oldSelf.eventType && self.aggregation == oldSelf.aggregation && (has(self.valueProperty) ? self.valueProperty : '') == (has(oldSelf.valueProperty) ? oldSelf.valueProperty : '')").message("eventType, aggregation and valueProperty cannot be changed: past usage would change with them. Make another meter").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("(has(self.percentile) ? self.percentile : '') == (has(oldSelf.percentile) ? oldSelf.percentile : '') && (has(self.multiplier) ? self.multiplier : '') == (has(oldSelf.multiplier) ? oldSelf.multiplier : '') && (has(self.reset) ? self.reset : 'EachPeriod') == (has(oldSelf.reset) ? oldSelf.reset : 'EachPeriod')").message("percentile, multiplier and reset cannot be changed: past usage would change with them. Make another meter").reason(Reason::FieldValueForbidden))]
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
    /// largest, `Min` the smallest, `Average` their mean, `Latest` that of the latest event, `UniqueCount` counts the
    /// different ones. `WeightedSum` takes each value for a level that stands from its event on, and is the level's mean
    /// over the period, weighted by time. `Percentile` is the value at a rank, see `percentile`. It cannot be changed.
    pub aggregation: Aggregation,
    /// The property of an event that holds its value. Required for every aggregation but `Count`. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub value_property: Option<String>,
    /// For `Percentile`: which one, above 0 and at most 100, as a decimal string such as `"99.9"`. The quantity is the
    /// smallest value that this share of the values does not exceed (nearest rank). It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 22),
        regex(pattern = r"^(100(\.0{1,18})?|[1-9][0-9]?(\.[0-9]{1,18})?|0\.[0-9]{1,18})$")
    )]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("percentile must be above 0"))]
    pub percentile: Option<String>,
    /// For `Sum`: what the sum is multiplied by, above 0, as a decimal string. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("multiplier must be above 0"))]
    pub multiplier: Option<String>,
    /// `EachPeriod` starts each billing period from nothing. `Never`, for `Sum`, `Latest` and `WeightedSum`, starts it
    /// from the level that all time before it left, such as seats held or bytes stored; a `Sum` then also takes negative
    /// values. Default `EachPeriod`. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Of an optional enum the schema would list null among its words.
    #[schemars(with = "ResetPolicy")]
    pub reset: Option<ResetPolicy>,
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
    Min,
    Average,
    Latest,
    UniqueCount,
    WeightedSum,
    Percentile,
}

/// What a billing period starts from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetPolicy {
    EachPeriod,
    Never,
}

// A schema cannot hold itself, so that each depth of filters is a type of its own: a filter, a member of its group, and a
// condition, which has no group. The billing engine reads all three as one.

/// A condition on a property, or a group: exactly one of `anyOf`, `allOf`, or `property`, `operator` and `values`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.anyOf) || has(self.allOf) ? has(self.anyOf) != has(self.allOf) && !has(self.property) && !has(self.operator) && !has(self.values) : has(self.property) && has(self.operator) && has(self.values)").message("a filter is either property, operator and values, or anyOf, or allOf"))]
#[x_kube(validation = Rule::new("!has(self.operator) || !has(self.values) || self.operator in ['In', 'NotIn', 'Prefix'] || self.values.size() == 1").message("Eq, NotEq, Gt, Gte, Lt and Lte take exactly one value"))]
#[x_kube(validation = Rule::new("!has(self.operator) || !has(self.values) || !(self.operator in ['Gt', 'Gte', 'Lt', 'Lte']) || self.values[0].matches('^-?[0-9]{1,20}([.][0-9]{1,18})?$')").message("Gt, Gte, Lt and Lte compare with a decimal number"))]
#[x_kube(validation = Rule::new("!has(self.operator) || !has(self.values) || self.operator != 'Prefix' || self.values.all(value, value.size() > 0)").message("Prefix takes no empty value: every text begins with it"))]
pub struct MeterFilter {
    /// Name of the property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub property: Option<String>,
    /// How the property is compared: as text by `Eq`, `NotEq`, `In`, `NotIn` and `Prefix`, as a number by `Gt`, `Gte`, `Lt`
    /// and `Lte`. An event without the property holds `NotEq` and `NotIn` only; one whose value should be a number and is
    /// none is quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Of an optional enum the schema would list null among its words.
    #[schemars(with = "FilterOperator")]
    pub operator: Option<FilterOperator>,
    /// What it is compared with, as text. Exactly one, but for `In`, `NotIn` and `Prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 256)))]
    pub values: Option<Vec<String>>,
    /// At least one of these holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub any_of: Option<Vec<MeterFilterMember>>,
    /// Each of these holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub all_of: Option<Vec<MeterFilterMember>>,
}

/// A filter in a group: a condition, or a group of conditions.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.anyOf) || has(self.allOf) ? has(self.anyOf) != has(self.allOf) && !has(self.property) && !has(self.operator) && !has(self.values) : has(self.property) && has(self.operator) && has(self.values)").message("a filter is either property, operator and values, or anyOf, or allOf"))]
#[x_kube(validation = Rule::new("!has(self.operator) || !has(self.values) || self.operator in ['In', 'NotIn', 'Prefix'] || self.values.size() == 1").message("Eq, NotEq, Gt, Gte, Lt and Lte take exactly one value"))]
#[x_kube(validation = Rule::new("!has(self.operator) || !has(self.values) || !(self.operator in ['Gt', 'Gte', 'Lt', 'Lte']) || self.values[0].matches('^-?[0-9]{1,20}([.][0-9]{1,18})?$')").message("Gt, Gte, Lt and Lte compare with a decimal number"))]
#[x_kube(validation = Rule::new("!has(self.operator) || !has(self.values) || self.operator != 'Prefix' || self.values.all(value, value.size() > 0)").message("Prefix takes no empty value: every text begins with it"))]
pub struct MeterFilterMember {
    /// Name of the property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub property: Option<String>,
    /// How the property is compared: as text by `Eq`, `NotEq`, `In`, `NotIn` and `Prefix`, as a number by `Gt`, `Gte`, `Lt`
    /// and `Lte`. An event without the property holds `NotEq` and `NotIn` only; one whose value should be a number and is
    /// none is quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Of an optional enum the schema would list null among its words.
    #[schemars(with = "FilterOperator")]
    pub operator: Option<FilterOperator>,
    /// What it is compared with, as text. Exactly one, but for `In`, `NotIn` and `Prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 256)))]
    pub values: Option<Vec<String>>,
    /// At least one of these holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub any_of: Option<Vec<MeterCondition>>,
    /// Each of these holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub all_of: Option<Vec<MeterCondition>>,
}

/// A condition on one property of an event. An event without the property holds `NotEq` and `NotIn` only.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.operator in ['In', 'NotIn', 'Prefix'] || self.values.size() == 1").message("Eq, NotEq, Gt, Gte, Lt and Lte take exactly one value"))]
#[x_kube(validation = Rule::new("!(self.operator in ['Gt', 'Gte', 'Lt', 'Lte']) || self.values[0].matches('^-?[0-9]{1,20}([.][0-9]{1,18})?$')").message("Gt, Gte, Lt and Lte compare with a decimal number"))]
#[x_kube(validation = Rule::new("self.operator != 'Prefix' || self.values.all(value, value.size() > 0)").message("Prefix takes no empty value: every text begins with it"))]
pub struct MeterCondition {
    /// Name of the property.
    #[schemars(length(min = 1, max = 128))]
    pub property: String,
    /// How the property is compared.
    pub operator: FilterOperator,
    /// What it is compared with.
    #[schemars(length(min = 1, max = 64), inner(length(max = 256)))]
    pub values: Vec<String>,
}

/// How a property is compared: as text by `Eq`, `NotEq`, `In`, `NotIn` and `Prefix`, as a number by `Gt`, `Gte`, `Lt` and `Lte`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOperator {
    Eq,
    NotEq,
    In,
    NotIn,
    Gt,
    Gte,
    Lt,
    Lte,
    Prefix,
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
