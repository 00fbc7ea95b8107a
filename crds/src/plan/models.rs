//! The nine models of a price, one struct each. What they mean is in meridian-billing's price/, one file each.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AMOUNT, QUANTITY};

/// The same amount every period, or once.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Flat {
    /// The amount, as a decimal string: `"100"`, `"0.015"`.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub amount: String,
    /// `InAdvance` bills it with the period before, `InArrears` with its own. `OneTime` bills it once, with the period in which
    /// the plan begins to hold, and never a part of it: a set-up fee. Default `InArrears`.
    #[serde(default)]
    pub billed: Billed,
}

/// When a flat amount is billed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Billed {
    InAdvance,
    #[default]
    InArrears,
    OneTime,
}

/// An amount for each unit.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PerUnit {
    /// The amount for one unit, as a decimal string.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub amount: String,
}

/// An amount for each package of units.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Units in a package. More than zero.
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("size must be more than zero"))]
    pub size: String,
    /// The amount for one package, as a decimal string.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub amount: String,
    /// What a package that is not full costs: with `Up` a whole one, with `Down` nothing. Default `Up`.
    #[serde(default)]
    pub rounding: PackageRounding,
    /// Units that are free before packages are counted. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    pub free_units: Option<String>,
}

/// What a package that is not full costs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PackageRounding {
    #[default]
    Up,
    Down,
}

// That tiers ascend is left to the billing engine: the API server finds no bound for the cost of such a rule.

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
#[x_kube(validation = Rule::new("has(self.unitAmount) || has(self.block) || has(self.flatAmount)").message("a tier needs unitAmount or block, flatAmount, or both"))]
#[x_kube(validation = Rule::new("!has(self.unitAmount) || !has(self.block)").message("units are sold singly by unitAmount or in blocks by block: only one of them can be set"))]
pub struct Tier {
    /// The last quantity of this tier; the next one starts beyond it. Left out in the last tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("upTo must be more than zero"))]
    pub up_to: Option<String>,
    /// The amount for one unit, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub unit_amount: Option<String>,
    /// Instead of `unitAmount`: the units of this tier are sold in whole blocks, and one that is not full costs a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Block>,
    /// The amount for having reached this tier, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub flat_amount: Option<String>,
}

/// Units that are sold together.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Units in a block. More than zero.
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("size must be more than zero"))]
    pub size: String,
    /// The amount for one block, as a decimal string.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub amount: String,
}

/// A share of the value of each transaction, with a fee for each.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.minPerTransaction) || !has(self.maxPerTransaction) || quantity(self.minPerTransaction).compareTo(quantity(self.maxPerTransaction)) <= 0").message("maxPerTransaction must not be below minPerTransaction"))]
pub struct Percentage {
    /// The share, as a decimal string: `"1.3"` is 1.3 %.
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    pub rate: String,
    /// The fee for each transaction, on top of the share, as a decimal string. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub fixed_per_transaction: Option<String>,
    /// So many first transactions of a period cost nothing. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub free_transactions: Option<i64>,
    /// So much of the first value of a period costs nothing, as a decimal string. With `freeTransactions` it is free until
    /// either ends. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    pub free_amount: Option<String>,
    /// The least that a transaction costs, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub min_per_transaction: Option<String>,
    /// The most that a transaction costs, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub max_per_transaction: Option<String>,
}

/// A list of tiers of a value, in ascending order.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.tiers.exists_one(t, !has(t.upTo)) && !has(self.tiers[self.tiers.size() - 1].upTo)").message("every tier but the last needs upTo, and the last must not have it"))]
pub struct RateTiers {
    /// The tiers, by ascending `upTo`.
    #[schemars(length(min = 1, max = 100))]
    pub tiers: Vec<RateTier>,
    /// Whether the flat amount of the first tier is charged when nothing was used. Default true.
    #[serde(default = "yes")]
    pub flat_at_zero: bool,
}

/// One tier of a value.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RateTier {
    /// The last of the value that belongs to this tier; the next one starts beyond it. Left out in the last tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("upTo must be more than zero"))]
    pub up_to: Option<String>,
    /// The share of the part of the value that falls into this tier, as a decimal string: `"1"` is 1 %.
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    pub rate: String,
    /// The amount for having reached this tier, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub flat_amount: Option<String>,
}

/// The meter's quantity is itself an amount of money.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Dynamic {
    /// What the quantity is multiplied by, as a decimal string: `"1.2"` adds a fifth. More than zero. Default `"1"`.
    #[serde(default = "factor_one")]
    #[schemars(length(max = 40), regex(pattern = QUANTITY))]
    #[x_kube(validation = Rule::new("self.matches('[1-9]')").message("multiplier must be more than zero"))]
    pub multiplier: String,
}

/// An amount for each unit that depends on properties of the usage.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.rows.all(row, row.values.size() == self.dimensions.size())").message("each row of a matrix needs one value for each dimension"))]
pub struct Matrix {
    /// The properties that decide the amount. They are of the meter's `groupBy`.
    #[schemars(length(min = 1, max = 4), inner(length(min = 1, max = 128)))]
    // Not a list of type set: the order says which value of a row belongs to which property.
    #[x_kube(validation = Rule::new("self.all(property, self.exists_one(other, other == property))").message("dimensions names a property twice"))]
    pub dimensions: Vec<String>,
    /// The combinations of values that have an amount of their own.
    #[schemars(length(max = 1000))]
    pub rows: Vec<MatrixRow>,
    /// The amount for one unit of what no row names, as a decimal string. Required, so that what a new value costs is no
    /// accident.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub default: String,
}

/// One row of a matrix.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MatrixRow {
    /// One value for each of `dimensions`, in their order, as text. Usage without the property has the value `""`.
    #[schemars(length(min = 1, max = 4), inner(length(max = 256)))]
    pub values: Vec<String>,
    /// The amount for one unit, as a decimal string.
    #[schemars(length(max = 40), regex(pattern = AMOUNT))]
    pub unit_amount: String,
}

/// A factor that changes nothing.
pub(super) fn factor_one() -> String {
    "1".to_owned()
}

fn yes() -> bool {
    true
}
