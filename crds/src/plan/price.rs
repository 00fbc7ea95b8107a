//! A price: the meter that it counts, exactly one model, and what happens to the quantity before the model and to the amount
//! after it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AMOUNT, Dynamic, Flat, Matrix, Package, PerUnit, Percentage, QUANTITY, RateTiers, Tiers,
    models::factor_one,
};
use crate::reference::LocalRef;

/// One price, by exactly one model.
// `package` is a reserved word of CEL: in a rule Kubernetes calls the field `__package__`.
// A CEL quantity holds 9 decimals and values below 2^63, and cuts off beyond: what a comparison of two of them lets pass, the
// billing engine still refuses; what it refuses is wrong.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.flat), has(self.perUnit), has(self.__package__), has(self.graduated), has(self.volume), has(self.percentage), has(self.graduatedPercentage), has(self.dynamic), has(self.matrix)].exists_one(x, x)").message("exactly one of flat, perUnit, package, graduated, volume, percentage, graduatedPercentage, dynamic and matrix must be set"))]
#[x_kube(validation = Rule::new("has(self.flat) != has(self.meterRef)").message("meterRef is required for every model but flat, and not allowed for flat"))]
#[x_kube(validation = Rule::new("!has(self.flat) || !(has(self.unit) || has(self.bucket) || has(self.included))").message("unit, bucket and included need a meter: they are not allowed for flat"))]
#[x_kube(validation = Rule::new("!has(self.flat) || !(has(self.minimum) || has(self.maximum) || has(self.commitment))").message("a flat price is its own minimum, maximum and commitment: they are not allowed for flat"))]
#[x_kube(validation = Rule::new("!has(self.flat) || !has(self.discount) || !has(self.discount.units)").message("a flat price counts no units: discount it by percent"))]
#[x_kube(validation = Rule::new("!has(self.percentage) || !has(self.bucket)").message("percentage prices each transaction by itself: bucket is not allowed for percentage"))]
#[x_kube(validation = Rule::new("!has(self.percentage) || !(has(self.included) || has(self.discount) && has(self.discount.units))").message("percentage has freeTransactions and freeAmount of its own: included and discount.units are not allowed for percentage"))]
#[x_kube(validation = Rule::new("!has(self.matrix) || !has(self.bucket)").message("matrix prices by dimension: bucket is not allowed for matrix"))]
#[x_kube(validation = Rule::new("!has(self.matrix) || !(has(self.included) || has(self.discount) && has(self.discount.units))").message("nothing says which row of a matrix would be free: included and discount.units are not allowed for matrix"))]
#[x_kube(validation = Rule::new("!has(self.minimum) || !has(self.maximum) || quantity(self.minimum).compareTo(quantity(self.maximum)) <= 0").message("maximum must not be below minimum"))]
#[x_kube(validation = Rule::new("!has(self.commitment) || self.commitment.per != 'Bucket' || has(self.bucket)").message("commitment.per Bucket needs a bucket"))]
#[x_kube(validation = Rule::new("!has(self.commitment) || !has(self.commitment.timeOfDay) || has(self.bucket) && self.bucket.size in ['Minute', 'Hour']").message("commitment.timeOfDay needs a bucket of Minute or Hour"))]
pub struct Price {
    /// Name of the price, unique in the plan. Lines of an invoice carry it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What the invoice says on this line. Left out: the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The Meter whose quantity is priced. Required for every model but `flat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter_ref: Option<LocalRef>,
    /// The unit that is sold, where it is not the meter's: bytes are counted, GB are sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// The unit of this price's amounts, where it is not the plan's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing_unit: Option<PricingUnit>,
    /// Prices the usage of each bucket of time by itself, and of each group in it, and adds the amounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// Quantity of each period that is free, before the model applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    pub included: Option<String>,
    /// The same amount every period, or once.
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
    /// A share of the value of each transaction, with a fee for each. Every usage event is a transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<Percentage>,
    /// A share of the whole value: each tier takes its share of the part that falls into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graduated_percentage: Option<RateTiers>,
    /// The meter's quantity is itself an amount of money, such as a price that each event carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<Dynamic>,
    /// An amount for each unit that depends on properties of the usage, such as its region and its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// Units that this price gives away, or a share of what it comes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<Discount>,
    /// The least that this price costs in a period, as a decimal string. What is missing becomes a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub minimum: Option<String>,
    /// The most that this price costs in a period, as a decimal string. What is beyond is taken off by a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub maximum: Option<String>,
    /// What the customer has promised to spend on this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<Commitment>,
}

/// The sold quantity: the metered one divided by `divideBy`, then rounded to whole units as `rounding` says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// How many of the meter's units are one sold unit: `"1000000000"` sells bytes by the GB. More than zero.
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("divideBy must be more than zero"))]
    pub divide_by: String,
    /// What becomes of a part of a unit: with `None` it stays a part, with `Up` it is a whole unit, with `Down` nothing, with
    /// `HalfUp` a whole unit from one half on. Default `None`.
    #[serde(default)]
    pub rounding: UnitRounding,
}

/// What becomes of a part of a unit.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnitRounding {
    #[default]
    None,
    Up,
    Down,
    HalfUp,
}

/// A unit of one's own, such as credits. Every amount of the price is in it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PricingUnit {
    /// What the unit is called, such as `credits`. The invoice shows it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What one of it is worth in the plan's currency, as a decimal string. More than zero.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("rate must be more than zero"))]
    pub rate: String,
}

/// Buckets of time by the calendar, in the time zone of the subscription.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// How long a bucket is: `Minute`, `Hour`, `Day`, `Week` or `Month`.
    pub size: BucketSize,
    /// Properties by which the usage of a bucket is told apart: each combination of values is priced by itself. They are of
    /// the meter's `groupBy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 128)))]
    pub group_by: Vec<String>,
}

/// How long a bucket is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketSize {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

/// A discount of one price: exactly one of `units` and `percent`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.units) != has(self.percent)").message("exactly one of units and percent must be set"))]
pub struct Discount {
    /// Units of each period that are given away, as a decimal string. More than zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("units must be more than zero"))]
    pub units: Option<String>,
    /// The share of what the price comes to that is given away: above 0 and at most 100, as a decimal string. `"20"` is 20 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 22),
        regex(pattern = r"^(100(\.0{1,18})?|[1-9][0-9]?(\.[0-9]{1,18})?|0\.[0-9]{1,18})$")
    )]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("percent must be more than zero"))]
    pub percent: Option<String>,
}

/// Spend that the customer has promised.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Commitment {
    /// The promised amount for each period, or for each bucket, as a decimal string. More than zero.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("amount must be more than zero"))]
    pub amount: String,
    /// What spend beyond the promise is multiplied by, at least 1, as a decimal string. Default `"1"`.
    #[serde(default = "factor_one")]
    #[schemars(length(max = 40), regex(pattern = r"^[1-9][0-9]{0,19}(\.[0-9]{1,18})?$"))]
    pub overage_factor: String,
    /// Whether what is missing up to the promised amount is charged. Default false.
    #[serde(default)]
    pub true_up: bool,
    /// What the promise is held against: the whole `Period`, or each `Bucket` of the price, empty ones too. Default `Period`.
    #[serde(default)]
    pub per: CommitmentWindow,
    /// Only buckets that begin at these times of the day count towards the promise; the others are charged as they are.
    /// Needs a bucket of `Minute` or `Hour`. Left out: all count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_of_day: Option<TimeOfDay>,
}

/// What a commitment is held against.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitmentWindow {
    #[default]
    Period,
    Bucket,
}

/// From a time of the day until just before another, in the time zone of the subscription. If `to` is not after `from`, it
/// runs over midnight.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TimeOfDay {
    /// The first minute that belongs to it, as `HH:MM`.
    #[schemars(length(max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// The first minute that does not, as `HH:MM`.
    #[schemars(length(max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub to: String,
}
