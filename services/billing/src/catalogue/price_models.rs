//! The models of a price as they are written down, one struct each; what they mean is in price/, one file each.

use serde::{Deserialize, Serialize};

use super::{
    SpecError, SpecErrorCode,
    price_spec::{above_zero, not_negative},
};
use crate::decimal::{Amount, Decimal, Quantity};

/// Most tiers of a price, and most rows and dimensions of a matrix.
pub const TIERS_MAX: usize = 100;
pub const MATRIX_ROWS_MAX: usize = 1000;
pub const MATRIX_DIMENSIONS_MAX: usize = 4;

/// When a flat amount is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Billed {
    /// With the period before.
    InAdvance,
    /// With its own period.
    #[default]
    InArrears,
    /// Once, with the period in which the plan begins to hold: a set-up fee. It is not prorated.
    OneTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlatSpec {
    pub amount: Amount,
    #[serde(default)]
    pub billed: Billed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerUnitSpec {
    pub amount: Amount,
}

/// What a begun package costs: the whole package (`Up`) or nothing (`Down`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum PackageRounding {
    #[default]
    Up,
    Down,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackageSpec {
    pub size: Quantity,
    pub amount: Amount,
    #[serde(default)]
    pub rounding: PackageRounding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_units: Option<Quantity>,
}

impl PackageSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        not_negative("amount", self.amount)?;
        above_zero("size", self.size.0)?;
        if self.free_units.is_some_and(Quantity::is_negative) {
            return Err(SpecError::new("freeUnits", SpecErrorCode::OutOfRange, "must not be negative"));
        }
        Ok(())
    }
}

/// Tiers of `graduated` (each unit at its tier's price) or `volume` (all units at the price of the tier that the total reaches).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TieredSpec {
    pub tiers: Vec<TierSpec>,
    /// Whether no usage at all still pays the first tier's flat amount.
    #[serde(default = "yes")]
    pub flat_at_zero: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierSpec {
    /// The last unit that belongs to this tier (inclusive); absent in the last tier only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_amount: Option<Amount>,
    /// Instead of `unitAmount`: the tier's units are sold in whole blocks, a begun one in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_amount: Option<Amount>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockSpec {
    pub size: Quantity,
    pub amount: Amount,
}

impl TieredSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        check_tiers(self.tiers.iter().map(|tier| tier.up_to))?;
        self.tiers.iter().enumerate().try_for_each(|(index, tier)| {
            tier.validate().map_err(|error| error.below(&format!("tiers[{index}]")))
        })
    }
}

impl TierSpec {
    fn validate(&self) -> Result<(), SpecError> {
        match (&self.unit_amount, &self.block, &self.flat_amount) {
            (None, None, None) => {
                let detail = "give unitAmount or block, flatAmount, or both";
                return Err(SpecError::new("", SpecErrorCode::Missing, detail));
            }
            (Some(_), Some(_), _) => {
                let detail = "units are sold singly by unitAmount or in blocks by block: give one of them";
                return Err(SpecError::new("", SpecErrorCode::Conflicting, detail));
            }
            (Some(_), None, _) | (None, Some(_), _) | (None, None, Some(_)) => {}
        }
        self.unit_amount.map_or(Ok(()), |amount| not_negative("unitAmount", amount))?;
        if let Some(block) = &self.block {
            above_zero("block.size", block.size.0)?;
            not_negative("block.amount", block.amount)?;
        }
        self.flat_amount.map_or(Ok(()), |amount| not_negative("flatAmount", amount))
    }
}

/// A share of what each transaction moves, with a fee for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PercentageSpec {
    /// 1.3 is 1.3 %.
    pub rate: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_per_transaction: Option<Amount>,
    /// The first transactions of a period cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_transactions: Option<u32>,
    /// The first part of a period's value costs nothing. With `freeTransactions`: whichever ends first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_amount: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_per_transaction: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_transaction: Option<Amount>,
}

impl PercentageSpec {
    /// Whether single transactions matter, or only what they add up to.
    pub fn looks_at_transactions(&self) -> bool {
        let Self {
            rate: _,
            fixed_per_transaction,
            free_transactions,
            free_amount: _,
            min_per_transaction,
            max_per_transaction,
        } = self;
        fixed_per_transaction.is_some_and(|amount| !amount.is_zero())
            || free_transactions.is_some_and(|free| free > 0)
            || min_per_transaction.is_some()
            || max_per_transaction.is_some()
    }

    pub(super) fn validate(&self) -> Result<(), SpecError> {
        rate_not_negative(self.rate)?;
        for (field, amount) in [
            ("fixedPerTransaction", self.fixed_per_transaction),
            ("minPerTransaction", self.min_per_transaction),
            ("maxPerTransaction", self.max_per_transaction),
        ] {
            amount.map_or(Ok(()), |amount| not_negative(field, amount))?;
        }
        if self.free_amount.is_some_and(Quantity::is_negative) {
            return Err(SpecError::new("freeAmount", SpecErrorCode::OutOfRange, "must not be negative"));
        }
        match (self.min_per_transaction, self.max_per_transaction) {
            (Some(minimum), Some(maximum)) if minimum > maximum => Err(SpecError::new(
                "maxPerTransaction",
                SpecErrorCode::OutOfRange,
                format!("must not be below minPerTransaction, {minimum}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Tiers of `graduatedPercentage`: each part of the value at its tier's rate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateTiersSpec {
    pub tiers: Vec<RateTierSpec>,
    /// Whether no usage at all still pays the first tier's flat amount.
    #[serde(default = "yes")]
    pub flat_at_zero: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateTierSpec {
    /// The last of the value that belongs to this tier (inclusive); absent in the last tier only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Quantity>,
    /// 1 is 1 %.
    pub rate: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_amount: Option<Amount>,
}

impl RateTiersSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        check_tiers(self.tiers.iter().map(|tier| tier.up_to))?;
        self.tiers.iter().enumerate().try_for_each(|(index, tier)| {
            let flat = tier.flat_amount.map_or(Ok(()), |amount| not_negative("flatAmount", amount));
            rate_not_negative(tier.rate).and(flat).map_err(|error| error.below(&format!("tiers[{index}]")))
        })
    }
}

/// The meter's value is itself an amount of money; it is charged times `multiplier`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DynamicSpec {
    #[serde(default = "one")]
    pub multiplier: Decimal,
}

fn one() -> Decimal {
    Decimal::ONE
}

impl DynamicSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        above_zero("multiplier", self.multiplier)
    }
}

/// A price for each combination of values of some of the meter's `groupBy` properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatrixSpec {
    pub dimensions: Vec<String>,
    pub rows: Vec<MatrixRowSpec>,
    /// The amount for one unit of what no row names. Required: what a new value costs must not be an accident.
    pub default: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatrixRowSpec {
    /// One value for each dimension, in their order. An event without the property has the value "".
    pub values: Vec<String>,
    pub unit_amount: Amount,
}

impl MatrixSpec {
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        let out_of_range =
            |field: &str, detail: &str| Err(SpecError::new(field, SpecErrorCode::OutOfRange, detail));
        if self.dimensions.is_empty() || self.dimensions.len() > MATRIX_DIMENSIONS_MAX {
            return out_of_range("dimensions", "give 1 to 4 properties");
        }
        if let Some(index) = first_repeated(&self.dimensions) {
            let detail = format!("{:?} is in the list twice", self.dimensions[index]);
            return Err(SpecError::new(format!("dimensions[{index}]"), SpecErrorCode::Conflicting, detail));
        }
        if self.rows.len() > MATRIX_ROWS_MAX {
            return out_of_range("rows", "at most 1000 rows are possible");
        }
        not_negative("default", self.default)?;
        for (index, row) in self.rows.iter().enumerate() {
            if row.values.len() != self.dimensions.len() {
                let detail = format!("give one value for each of {}", self.dimensions.join(", "));
                return Err(SpecError::new(format!("rows[{index}].values"), SpecErrorCode::Missing, detail));
            }
            not_negative("unitAmount", row.unit_amount)
                .map_err(|error| error.below(&format!("rows[{index}]")))?;
        }
        let values: Vec<&Vec<String>> = self.rows.iter().map(|row| &row.values).collect();
        match first_repeated(&values) {
            Some(index) => {
                let detail = format!("{} has a row already", values[index].join(", "));
                Err(SpecError::new(format!("rows[{index}].values"), SpecErrorCode::Conflicting, detail))
            }
            None => Ok(()),
        }
    }
}

fn first_repeated<T: Ord>(items: &[T]) -> Option<usize> {
    let mut seen = std::collections::BTreeSet::new();
    items.iter().position(|item| !seen.insert(item))
}

fn rate_not_negative(rate: Decimal) -> Result<(), SpecError> {
    not_negative("rate", Amount(rate))
}

/// Tiers ascend strictly from above zero and only the last one is open, so that each unit lies in exactly one tier.
fn check_tiers(bounds: impl ExactSizeIterator<Item = Option<Quantity>>) -> Result<(), SpecError> {
    let count = bounds.len();
    if count == 0 {
        return Err(SpecError::new("tiers", SpecErrorCode::Missing, "give at least one tier"));
    }
    if count > TIERS_MAX {
        return Err(SpecError::new("tiers", SpecErrorCode::OutOfRange, "at most 100 tiers are possible"));
    }
    let mut reached = Quantity::ZERO;
    for (index, up_to) in bounds.enumerate() {
        let wrong =
            |detail: String| SpecError::new(format!("tiers[{index}].upTo"), SpecErrorCode::TierOrder, detail);
        match (up_to, index + 1 == count) {
            (None, true) => {}
            (Some(_), true) => {
                let detail =
                    "the last tier must be open: leave its upTo out, or usage beyond it would have no price";
                return Err(wrong(detail.to_owned()));
            }
            (None, false) => return Err(wrong("only the last tier may be open".to_owned())),
            (Some(up_to), false) if up_to <= reached => {
                return Err(wrong(format!("must be above {reached}, where the tier before ends")));
            }
            (Some(up_to), false) => reached = up_to,
        }
    }
    Ok(())
}
