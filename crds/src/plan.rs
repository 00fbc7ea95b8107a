//! Plan: what usage costs. Amounts and quantities are decimal strings, never numbers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::LocalRef;

/// A Plan is a currency, a billing interval and a list of prices. A change makes a new version of the plan; periods
/// that are already invoiced keep theirs.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "billing.meridian.dev",
    version = "v1alpha1",
    kind = "Plan",
    doc = "A Plan is a currency, a billing interval and a list of prices. A change makes a new version of the plan; periods that are already invoiced keep theirs.",
    plural = "plans",
    shortname = "bplan",
    category = "meridian",
    namespaced,
    status = "PlanStatus",
    cel,
    selectable = ".spec.regionRef.name",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a plan has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.regionRef.name"),
    printcolumn(name = "Currency", type_ = "string", json_path = ".spec.currency"),
    printcolumn(name = "Interval", type_ = "string", json_path = ".spec.interval.unit"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.catalogueVersion"),
    printcolumn(name = "Tenant", type_ = "string", json_path = ".spec.tenantRef.name", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tenantRef) == has(oldSelf.tenantRef) && (!has(self.tenantRef) || self.tenantRef.name == oldSelf.tenantRef.name)").message("tenantRef cannot be changed: make another plan").reason(Reason::FieldValueForbidden))]
pub struct PlanSpec {
    /// The BillingRegion whose catalogue this plan belongs to. It cannot be changed.
    #[x_kube(validation = Rule::new("self.name == oldSelf.name").message("regionRef cannot be changed: make another plan").reason(Reason::FieldValueForbidden))]
    pub region_ref: LocalRef,
    /// The one Tenant that this plan is for. Left out: every tenant of the region. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_ref: Option<LocalRef>,
    /// A sentence for people. It appears beside the plan in the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// ISO 4217 code of the currency of every amount, such as `USD`. It cannot be changed.
    #[schemars(length(min = 3, max = 3), regex(pattern = r"^[A-Z]{3}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("currency cannot be changed: make another plan").reason(Reason::FieldValueForbidden))]
    pub currency: String,
    /// How long a billing period is. It cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("interval cannot be changed: make another plan").reason(Reason::FieldValueForbidden))]
    pub interval: Interval,
    /// The prices. Each becomes one line of the invoice.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub prices: Vec<Price>,
}

/// A length of time by the calendar, at most ten years.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.count <= (self.unit == 'Day' ? 3650 : self.unit == 'Week' ? 520 : self.unit == 'Month' ? 120 : self.unit == 'Quarter' ? 40 : 10)").message("an interval is at most ten years: 3650 days, 520 weeks, 120 months, 40 quarters or 10 years"))]
pub struct Interval {
    /// `Day`, `Week`, `Month`, `Quarter` or `Year`.
    pub unit: IntervalUnit,
    /// How many of them. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3650))]
    pub count: i32,
}

/// A unit of the calendar.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalUnit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// One price, by exactly one model.
// `package` is a reserved word of CEL: in a rule Kubernetes calls the field `__package__`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.flat), has(self.perUnit), has(self.__package__), has(self.graduated), has(self.volume)].exists_one(x, x)").message("exactly one of flat, perUnit, package, graduated and volume must be set"))]
#[x_kube(validation = Rule::new("has(self.flat) != has(self.meterRef)").message("meterRef is required for every model but flat, and not allowed for flat"))]
#[x_kube(validation = Rule::new("!has(self.flat) || !has(self.included)").message("included needs a meter: it is not allowed for flat"))]
pub struct Price {
    /// Name of the price, unique in the plan. Lines of an invoice carry it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What the invoice says on this line. Left out: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The Meter whose quantity is priced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter_ref: Option<LocalRef>,
    /// Quantity of each period that is free, before the model applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"))]
    pub included: Option<String>,
    /// The same amount every period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat: Option<Flat>,
    /// An amount for each unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_unit: Option<PerUnit>,
    /// An amount for each package of units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// Each tier prices the units that fall into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graduated: Option<Tiers>,
    /// The tier that the whole quantity falls into prices all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Tiers>,
    /// The least that this price costs in a period, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$"))]
    pub minimum: Option<String>,
    /// The most that this price costs in a period, as a decimal string. What is beyond is taken off by a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$"))]
    pub maximum: Option<String>,
}

/// The same amount every period.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Flat {
    /// The amount, as a decimal string: `"100"`, `"0.015"`.
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$"))]
    pub amount: String,
    /// `InAdvance` bills it with the period before, `InArrears` with its own. Default `InArrears`.
    #[serde(default)]
    pub billed: Billed,
}

/// When a flat amount is billed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Billed {
    InAdvance,
    #[default]
    InArrears,
}

/// An amount for each unit.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PerUnit {
    /// The amount for one unit, as a decimal string.
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$"))]
    pub amount: String,
}

/// An amount for each package of units.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Units in a package. More than zero.
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("size must be more than zero"))]
    pub size: String,
    /// The amount for one package, as a decimal string.
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$"))]
    pub amount: String,
    /// What a package that is not full costs: with `Up` a whole one, with `Down` nothing. Default `Up`.
    #[serde(default)]
    pub rounding: PackageRounding,
    /// Units that are free before packages are counted. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"))]
    pub free_units: Option<String>,
}

/// What a package that is not full costs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PackageRounding {
    #[default]
    Up,
    Down,
}

/// A list of tiers, in ascending order.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.tiers.exists_one(t, !has(t.upTo)) && !has(self.tiers[self.tiers.size() - 1].upTo)").message("every tier but the last needs upTo, and the last must not have it"))]
pub struct Tiers {
    /// The tiers, by ascending `upTo`.
    #[schemars(length(min = 1, max = 100))]
    pub tiers: Vec<Tier>,
    /// Whether the flat amount of the first tier is charged when nothing was used. Default true.
    #[serde(default = "yes")]
    pub flat_at_zero: bool,
}

/// One tier.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.unitAmount) || has(self.flatAmount)").message("a tier needs unitAmount, flatAmount or both"))]
pub struct Tier {
    /// The last quantity of this tier; the next one starts beyond it. Left out in the last tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("upTo must be more than zero"))]
    pub up_to: Option<String>,
    /// The amount for one unit, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$"))]
    pub unit_amount: Option<String>,
    /// The amount for having reached this tier, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$"))]
    pub flat_amount: Option<String>,
}

/// What the operator has seen and done.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// The generation of the spec that this status is about. `-1`: nothing has been seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` tells whether the region has this plan in its catalogue, as the spec says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Version of this plan in the region's catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue_version: Option<i64>,
}

fn one() -> i32 {
    1
}
fn yes() -> bool {
    true
}
