//! Plan: a currency, an interval, and prices with exactly one model each.

use serde::{Deserialize, Serialize};

use super::{NameRef, SpecError, SpecErrorCode, check_distinct_names, read_shape};
use crate::{
    decimal::{Amount, Quantity},
    money::Currency,
};

/// `Plan.spec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanSpec {
    pub region_ref: NameRef,
    /// One tenant's own plan; absent: the region's shared catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_ref: Option<NameRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub currency: Currency,
    pub interval: IntervalSpec,
    pub prices: Vec<PriceSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IntervalUnit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// How long a billing period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntervalSpec {
    pub unit: IntervalUnit,
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// One price. Exactly one of the model fields is set; [`PriceSpec::model`] hands it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceSpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The meter whose usage is priced; every model but `flat` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter_ref: Option<NameRef>,
    /// Free before the model applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat: Option<FlatSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_unit: Option<PerUnitSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graduated: Option<TieredSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<TieredSpec>,
    /// The least that this price costs in a period; what is missing becomes a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Amount>,
    /// The most that this price costs in a period; what is beyond is taken off by a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Amount>,
}

/// When a flat amount is charged: with the period before (`InAdvance`) or with its own (`InArrears`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Billed {
    InAdvance,
    #[default]
    InArrears,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_amount: Option<Amount>,
}

/// The one model of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceModel<'a> {
    Flat(&'a FlatSpec),
    PerUnit(&'a PerUnitSpec),
    Package(&'a PackageSpec),
    Graduated(&'a TieredSpec),
    Volume(&'a TieredSpec),
}

/// Most prices of a plan and most tiers of a price.
pub const PRICES_MAX: usize = 100;
pub const TIERS_MAX: usize = 100;
/// Longest interval, in its unit: no period is longer than ten years.
const COUNT_MAX: [(IntervalUnit, u32); 5] = [
    (IntervalUnit::Day, 3650),
    (IntervalUnit::Week, 520),
    (IntervalUnit::Month, 120),
    (IntervalUnit::Quarter, 40),
    (IntervalUnit::Year, 10),
];

impl PlanSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let plan: Self = read_shape(spec)?;
        plan.validate()?;
        Ok(plan)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        self.interval.validate()?;
        if self.prices.is_empty() || self.prices.len() > PRICES_MAX {
            return Err(SpecError::new("prices", SpecErrorCode::OutOfRange, "a plan has 1 to 100 prices"));
        }
        check_distinct_names("prices", self.prices.iter().map(|price| price.name.as_str()))?;
        for (index, price) in self.prices.iter().enumerate() {
            price.validate().map_err(|error| error.below(&format!("prices[{index}]")))?;
        }
        Ok(())
    }

    /// The meters that this plan's prices count, each once, in order of name.
    pub fn meter_names(&self) -> Vec<&str> {
        let names: std::collections::BTreeSet<&str> = self
            .prices
            .iter()
            .filter_map(|price| price.meter_ref.as_ref())
            .map(|meter| meter.name.as_str())
            .collect();
        names.into_iter().collect()
    }
}

impl IntervalSpec {
    fn validate(&self) -> Result<(), SpecError> {
        let longest = COUNT_MAX.iter().find(|(unit, _)| *unit == self.unit).map_or(0, |(_, count)| *count);
        if self.count == 0 || self.count > longest {
            let detail = format!("must be 1 to {longest} for {:?}", self.unit);
            return Err(SpecError::new("interval.count", SpecErrorCode::OutOfRange, detail));
        }
        Ok(())
    }
}

impl PriceSpec {
    /// The one model, or what is wrong when there is none or more than one.
    pub fn model(&self) -> Result<PriceModel<'_>, SpecError> {
        let Self {
            name: _,
            description: _,
            meter_ref: _,
            included: _,
            minimum: _,
            maximum: _,
            flat,
            per_unit,
            package,
            graduated,
            volume,
        } = self;
        let models = [
            flat.as_ref().map(PriceModel::Flat),
            per_unit.as_ref().map(PriceModel::PerUnit),
            package.as_ref().map(PriceModel::Package),
            graduated.as_ref().map(PriceModel::Graduated),
            volume.as_ref().map(PriceModel::Volume),
        ];
        let mut set = models.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(model), None) => Ok(model),
            (None, _) => Err(SpecError::new(
                "",
                SpecErrorCode::Missing,
                "give one of flat, perUnit, package, graduated, volume",
            )),
            (Some(first), Some(second)) => {
                let detail = format!(
                    "has both {} and {}: a price has exactly one model",
                    first.field(),
                    second.field()
                );
                Err(SpecError::new("", SpecErrorCode::Conflicting, detail))
            }
        }
    }

    fn validate(&self) -> Result<(), SpecError> {
        let model = self.model()?;
        self.validate_meter(model)?;
        if self.included.is_some_and(Quantity::is_negative) {
            return Err(SpecError::new("included", SpecErrorCode::OutOfRange, "must not be negative"));
        }
        self.validate_bounds()?;
        let checked = match model {
            PriceModel::Flat(flat) => not_negative("amount", flat.amount),
            PriceModel::PerUnit(per_unit) => not_negative("amount", per_unit.amount),
            PriceModel::Package(package) => package.validate(),
            PriceModel::Graduated(tiered) | PriceModel::Volume(tiered) => tiered.validate(),
        };
        checked.map_err(|error| error.below(model.field()))
    }

    fn validate_bounds(&self) -> Result<(), SpecError> {
        self.minimum.map_or(Ok(()), |amount| not_negative("minimum", amount))?;
        self.maximum.map_or(Ok(()), |amount| not_negative("maximum", amount))?;
        match (self.minimum, self.maximum) {
            (Some(minimum), Some(maximum)) if minimum > maximum => Err(SpecError::new(
                "maximum",
                SpecErrorCode::OutOfRange,
                format!("must not be below the minimum of {minimum}"),
            )),
            _ => Ok(()),
        }
    }

    fn validate_meter(&self, model: PriceModel<'_>) -> Result<(), SpecError> {
        match (model, &self.meter_ref) {
            (PriceModel::Flat(_), Some(_)) => Err(SpecError::new(
                "meterRef",
                SpecErrorCode::Conflicting,
                "a flat price counts no usage: leave meterRef out",
            )),
            (PriceModel::Flat(_), None) if self.included.is_some() => Err(SpecError::new(
                "included",
                SpecErrorCode::Conflicting,
                "a flat price counts no usage: leave included out",
            )),
            (PriceModel::Flat(_), None) if self.minimum.is_some() => Err(SpecError::new(
                "minimum",
                SpecErrorCode::Conflicting,
                "a flat price is its own minimum: leave minimum out",
            )),
            (PriceModel::Flat(_), None) if self.maximum.is_some() => Err(SpecError::new(
                "maximum",
                SpecErrorCode::Conflicting,
                "a flat price is its own maximum: leave maximum out",
            )),
            (PriceModel::Flat(_), None) => Ok(()),
            (_, None) => {
                let detail = format!("{} counts usage: name the meter", model.field());
                Err(SpecError::new("meterRef", SpecErrorCode::PriceWithoutMeter, detail))
            }
            (_, Some(_)) => Ok(()),
        }
    }
}

impl PriceModel<'_> {
    /// The field that holds this model.
    pub fn field(self) -> &'static str {
        match self {
            Self::Flat(_) => "flat",
            Self::PerUnit(_) => "perUnit",
            Self::Package(_) => "package",
            Self::Graduated(_) => "graduated",
            Self::Volume(_) => "volume",
        }
    }
}

impl PackageSpec {
    fn validate(&self) -> Result<(), SpecError> {
        not_negative("amount", self.amount)?;
        if self.size.is_negative() || self.size.is_zero() {
            return Err(SpecError::new("size", SpecErrorCode::OutOfRange, "must be above zero"));
        }
        if self.free_units.is_some_and(Quantity::is_negative) {
            return Err(SpecError::new("freeUnits", SpecErrorCode::OutOfRange, "must not be negative"));
        }
        Ok(())
    }
}

impl TieredSpec {
    /// Tiers ascend strictly from above zero and only the last one is open, so that each unit lies in exactly one tier.
    fn validate(&self) -> Result<(), SpecError> {
        let Some((last, closed)) = self.tiers.split_last() else {
            return Err(SpecError::new("tiers", SpecErrorCode::Missing, "give at least one tier"));
        };
        if self.tiers.len() > TIERS_MAX {
            return Err(SpecError::new("tiers", SpecErrorCode::OutOfRange, "at most 100 tiers are possible"));
        }
        if last.up_to.is_some() {
            let detail =
                "the last tier must be open: leave its upTo out, or usage beyond it would have no price";
            return Err(SpecError::new(
                format!("tiers[{}].upTo", closed.len()),
                SpecErrorCode::TierOrder,
                detail,
            ));
        }
        let mut reached = Quantity::ZERO;
        for (index, tier) in closed.iter().enumerate() {
            let wrong = |detail: String| {
                SpecError::new(format!("tiers[{index}].upTo"), SpecErrorCode::TierOrder, detail)
            };
            let up_to = tier.up_to.ok_or_else(|| wrong("only the last tier may be open".to_owned()))?;
            if up_to <= reached {
                return Err(wrong(format!("must be above {reached}, where the tier before ends")));
            }
            reached = up_to;
        }
        self.tiers.iter().enumerate().try_for_each(|(index, tier)| {
            tier.validate_amounts().map_err(|error| error.below(&format!("tiers[{index}]")))
        })
    }
}

impl TierSpec {
    fn validate_amounts(&self) -> Result<(), SpecError> {
        if self.unit_amount.is_none() && self.flat_amount.is_none() {
            return Err(SpecError::new("", SpecErrorCode::Missing, "give unitAmount, flatAmount or both"));
        }
        self.unit_amount.map_or(Ok(()), |amount| not_negative("unitAmount", amount))?;
        self.flat_amount.map_or(Ok(()), |amount| not_negative("flatAmount", amount))
    }
}

fn not_negative(field: &str, amount: Amount) -> Result<(), SpecError> {
    if amount.is_negative() {
        return Err(SpecError::new(
            field,
            SpecErrorCode::OutOfRange,
            "must not be negative: a discount is not a price",
        ));
    }
    Ok(())
}
