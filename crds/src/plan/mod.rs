//! Plan: what usage costs. Amounts and quantities are decimal strings, never numbers.
//!
//! The shapes and the rules are those of meridian-billing's catalogue, which checks them again and is the judge; a rule that
//! CEL cannot state is stated there only. price.rs holds a price and what happens around its model, models.rs the nine models.
//! Nothing here prices anything.

mod models;
mod price;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use models::{
    Billed, Block, Dynamic, Flat, Matrix, MatrixRow, Package, PackageRounding, PerUnit, Percentage, RateTier,
    RateTiers, Tier, Tiers,
};
pub use price::{
    Bucket, BucketSize, Commitment, CommitmentWindow, Discount, Price, PricingUnit, TimeOfDay, Unit,
    UnitRounding,
};

use crate::reference::LocalRef;

/// An amount of money, or a price per unit: up to 20 digits before the point and 12 after it, not negative.
const AMOUNT: &str = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,12})?$";
/// A quantity, a rate or a factor: up to 20 digits before the point and 18 after it, not negative.
const QUANTITY: &str = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$";

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
#[x_kube(validation = Rule::new("!has(self.minimum) || !has(self.maximum) || quantity(self.minimum).compareTo(quantity(self.maximum)) <= 0").message("maximum must not be below minimum"))]
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
    /// The least that all prices together cost in a period, as a decimal string. What is missing becomes a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub minimum: Option<String>,
    /// The most that all prices together cost in a period, as a decimal string. What is beyond is taken off by a line of
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub maximum: Option<String>,
    /// Whom the version of the plan that this spec makes moves. `New`: nobody, it is for subscriptions that take the plan
    /// from now on. `NextPeriod`: running subscriptions too, when their next period starts. `Immediate`: running
    /// subscriptions at once; their running period is split at that instant and prorated. A change of this alone makes a
    /// version too. Default `NextPeriod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Of an optional enum the schema would list null among its words.
    #[schemars(with = "UpdatePolicy")]
    pub update_policy: Option<UpdatePolicy>,
}

/// Whom a version of a plan moves.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdatePolicy {
    New,
    NextPeriod,
    Immediate,
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
