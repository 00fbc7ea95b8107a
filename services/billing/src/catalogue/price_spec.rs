//! A price: which meter it counts, exactly one model, and what happens to quantity and amount before and after the model.
//!
//! Every check here has its twin in the CRD's schema (crds/src/plan/); a price that passed both is priced by price/.

use serde::{Deserialize, Serialize};

use super::{
    NameRef, SpecError, SpecErrorCode,
    price_models::{
        DynamicSpec, FlatSpec, MatrixSpec, PackageSpec, PerUnitSpec, PercentageSpec, RateTiersSpec,
        TieredSpec,
    },
};
use crate::decimal::{Amount, Decimal, Quantity};

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
    /// The unit that is sold, where it is not the meter's: bytes are counted, GB are sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitSpec>,
    /// The unit of this price's amounts, where it is not the plan's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing_unit: Option<PricingUnitSpec>,
    /// Prices each bucket of time, and each group in it, apart, and adds the amounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketSpec>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<PercentageSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graduated_percentage: Option<RateTiersSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<DynamicSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixSpec>,
    /// Units or a share of the amount that this price gives away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<DiscountSpec>,
    /// The least that this price costs in a period; what is missing becomes a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Amount>,
    /// The most that this price costs in a period; what is beyond is taken off by a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Amount>,
    /// What the customer has promised to spend on this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment: Option<CommitmentSpec>,
}

/// The sold quantity is the metered one divided by `divideBy`, then rounded to whole units as `rounding` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitSpec {
    pub divide_by: Quantity,
    #[serde(default)]
    pub rounding: UnitRounding,
}

/// What a part of a unit becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum UnitRounding {
    /// It stays a part.
    #[default]
    None,
    /// A whole unit (ceiling).
    Up,
    /// Nothing (floor).
    Down,
    /// A whole unit from one half on.
    HalfUp,
}

/// A unit of one's own, such as credits: an amount in it times `rate` is an amount in the plan's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PricingUnitSpec {
    pub name: String,
    pub rate: Amount,
}

/// Calendar buckets in the subscription's time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketSpec {
    pub size: BucketSize,
    /// Properties of the meter's `groupBy` that are told apart within a bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BucketSize {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

/// A discount of one price: so many units free, or a percentage off what the price comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscountSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Quantity>,
    /// 20 is 20 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Decimal>,
}

/// Spend that was promised: beyond it each unit of money costs `overageFactor`, and with `trueUp` what is missing is charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommitmentSpec {
    pub amount: Amount,
    #[serde(default = "factor_one")]
    pub overage_factor: Decimal,
    #[serde(default)]
    pub true_up: bool,
    #[serde(default)]
    pub per: CommitmentWindow,
    /// Only buckets that begin at these times of the day count towards the commitment; the others are charged as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_of_day: Option<TimeOfDaySpec>,
}

fn factor_one() -> Decimal {
    Decimal::ONE
}

/// What the promise is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum CommitmentWindow {
    /// The whole billing period.
    #[default]
    Period,
    /// Each bucket of the price, empty ones too.
    Bucket,
}

/// `[from, to)` in local time, as "HH:MM"; a window whose `to` is not after its `from` runs over midnight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeOfDaySpec {
    pub from: String,
    pub to: String,
}

impl TimeOfDaySpec {
    /// Whether a local time of so many minutes after midnight lies within.
    pub fn contains(&self, minute: u16) -> Result<bool, SpecError> {
        let (from, to) = (minute_of("from", &self.from)?, minute_of("to", &self.to)?);
        Ok(if from < to { from <= minute && minute < to } else { from <= minute || minute < to })
    }
}

/// "HH:MM" as minutes after midnight.
fn minute_of(field: &str, text: &str) -> Result<u16, SpecError> {
    let wrong = || {
        let detail = format!("{text:?} is no time of day: write HH:MM, such as \"09:00\"");
        SpecError::new(field, SpecErrorCode::Malformed, detail)
    };
    let two = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| digits).ok_or_else(wrong)
    };
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    if hours > 23 || minutes > 59 {
        return Err(wrong());
    }
    Ok(hours * 60 + minutes)
}

/// The one model of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceModel<'a> {
    Flat(&'a FlatSpec),
    PerUnit(&'a PerUnitSpec),
    Package(&'a PackageSpec),
    Graduated(&'a TieredSpec),
    Volume(&'a TieredSpec),
    Percentage(&'a PercentageSpec),
    GraduatedPercentage(&'a RateTiersSpec),
    Dynamic(&'a DynamicSpec),
    Matrix(&'a MatrixSpec),
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
            Self::Percentage(_) => "percentage",
            Self::GraduatedPercentage(_) => "graduatedPercentage",
            Self::Dynamic(_) => "dynamic",
            Self::Matrix(_) => "matrix",
        }
    }

    fn validate(self) -> Result<(), SpecError> {
        let checked = match self {
            Self::Flat(flat) => not_negative("amount", flat.amount),
            Self::PerUnit(per_unit) => not_negative("amount", per_unit.amount),
            Self::Package(package) => package.validate(),
            Self::Graduated(tiered) | Self::Volume(tiered) => tiered.validate(),
            Self::Percentage(percentage) => percentage.validate(),
            Self::GraduatedPercentage(tiered) => tiered.validate(),
            Self::Dynamic(dynamic) => dynamic.validate(),
            Self::Matrix(matrix) => matrix.validate(),
        };
        checked.map_err(|error| error.below(self.field()))
    }
}

impl PriceSpec {
    /// The one model, or what is wrong when there is none or more than one.
    pub fn model(&self) -> Result<PriceModel<'_>, SpecError> {
        let Self {
            name: _,
            description: _,
            meter_ref: _,
            unit: _,
            pricing_unit: _,
            bucket: _,
            included: _,
            flat,
            per_unit,
            package,
            graduated,
            volume,
            percentage,
            graduated_percentage,
            dynamic,
            matrix,
            discount: _,
            minimum: _,
            maximum: _,
            commitment: _,
        } = self;
        let models = [
            flat.as_ref().map(PriceModel::Flat),
            per_unit.as_ref().map(PriceModel::PerUnit),
            package.as_ref().map(PriceModel::Package),
            graduated.as_ref().map(PriceModel::Graduated),
            volume.as_ref().map(PriceModel::Volume),
            percentage.as_ref().map(PriceModel::Percentage),
            graduated_percentage.as_ref().map(PriceModel::GraduatedPercentage),
            dynamic.as_ref().map(PriceModel::Dynamic),
            matrix.as_ref().map(PriceModel::Matrix),
        ];
        let mut set = models.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(model), None) => Ok(model),
            (None, _) => Err(SpecError::new(
                "",
                SpecErrorCode::Missing,
                "give one of flat, perUnit, package, graduated, volume, percentage, graduatedPercentage, dynamic, matrix",
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

    /// The first thing that is wrong with the price by itself.
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        let model = self.model()?;
        match model {
            PriceModel::Flat(_) => self.validate_flat()?,
            PriceModel::PerUnit(_)
            | PriceModel::Package(_)
            | PriceModel::Graduated(_)
            | PriceModel::Volume(_)
            | PriceModel::Percentage(_)
            | PriceModel::GraduatedPercentage(_)
            | PriceModel::Dynamic(_)
            | PriceModel::Matrix(_) => self.validate_metered(model)?,
        }
        if self.included.is_some_and(Quantity::is_negative) {
            return Err(SpecError::new("included", SpecErrorCode::OutOfRange, "must not be negative"));
        }
        if let Some(unit) = &self.unit {
            above_zero("divideBy", unit.divide_by.0).map_err(|error| error.below("unit"))?;
        }
        if let Some(unit) = &self.pricing_unit {
            unit.validate().map_err(|error| error.below("pricingUnit"))?;
        }
        if let Some(discount) = &self.discount {
            discount.validate().map_err(|error| error.below("discount"))?;
        }
        check_bounds(self.minimum, self.maximum)?;
        if let Some(commitment) = &self.commitment {
            commitment.validate(self.bucket.as_ref()).map_err(|error| error.below("commitment"))?;
        }
        model.validate()
    }

    /// A flat price counts nothing, so whatever speaks of usage is a mistake.
    fn validate_flat(&self) -> Result<(), SpecError> {
        let forbidden = [
            ("meterRef", self.meter_ref.is_some(), "a flat price counts no usage"),
            ("unit", self.unit.is_some(), "a flat price counts no usage"),
            ("bucket", self.bucket.is_some(), "a flat price counts no usage"),
            ("included", self.included.is_some(), "a flat price counts no usage"),
            ("minimum", self.minimum.is_some(), "a flat price is its own minimum"),
            ("maximum", self.maximum.is_some(), "a flat price is its own maximum"),
            ("commitment", self.commitment.is_some(), "a flat price is its own commitment"),
        ];
        if let Some((field, _, reason)) = forbidden.into_iter().find(|(_, present, _)| *present) {
            let detail = format!("{reason}: leave {field} out");
            return Err(SpecError::new(field, SpecErrorCode::Conflicting, detail));
        }
        if self.discount.as_ref().is_some_and(|discount| discount.units.is_some()) {
            let detail = "a flat price counts no units: give percent";
            return Err(SpecError::new("discount.units", SpecErrorCode::Conflicting, detail));
        }
        Ok(())
    }

    fn validate_metered(&self, model: PriceModel<'_>) -> Result<(), SpecError> {
        if self.meter_ref.is_none() {
            let detail = format!("{} counts usage: name the meter", model.field());
            return Err(SpecError::new("meterRef", SpecErrorCode::PriceWithoutMeter, detail));
        }
        let field = model.field();
        let conflicts = |with: &str, reason: &str| {
            Err(SpecError::new(
                with,
                SpecErrorCode::Conflicting,
                format!("{field} {reason}: leave {with} out"),
            ))
        };
        match model {
            PriceModel::Percentage(_) if self.bucket.is_some() => {
                conflicts("bucket", "prices each transaction by itself")
            }
            PriceModel::Percentage(_) if self.included.is_some() => {
                conflicts("included", "has freeTransactions and freeAmount of its own")
            }
            PriceModel::Percentage(_) if self.gives_units() => {
                conflicts("discount.units", "has freeTransactions and freeAmount of its own")
            }
            PriceModel::Matrix(_) if self.bucket.is_some() => conflicts("bucket", "prices by dimension"),
            PriceModel::Matrix(_) if self.included.is_some() => conflicts(
                "included",
                "has rows of different prices, and nothing says which of them would be free",
            ),
            PriceModel::Matrix(_) if self.gives_units() => conflicts(
                "discount.units",
                "has rows of different prices, and nothing says which of them would be free",
            ),
            PriceModel::Flat(_)
            | PriceModel::PerUnit(_)
            | PriceModel::Package(_)
            | PriceModel::Graduated(_)
            | PriceModel::Volume(_)
            | PriceModel::Percentage(_)
            | PriceModel::GraduatedPercentage(_)
            | PriceModel::Dynamic(_)
            | PriceModel::Matrix(_) => Ok(()),
        }
    }

    fn gives_units(&self) -> bool {
        self.discount.as_ref().is_some_and(|discount| discount.units.is_some())
    }
}

impl PricingUnitSpec {
    fn validate(&self) -> Result<(), SpecError> {
        if self.name.is_empty() || self.name.len() > 63 {
            return Err(SpecError::new("name", SpecErrorCode::InvalidName, "must have 1 to 63 characters"));
        }
        above_zero("rate", self.rate.0)
    }
}

impl DiscountSpec {
    fn validate(&self) -> Result<(), SpecError> {
        match (self.units, self.percent) {
            (Some(units), None) => above_zero("units", units.0),
            (None, Some(percent)) => {
                above_zero("percent", percent)?;
                if percent > Decimal::from_integer(100) {
                    return Err(SpecError::new("percent", SpecErrorCode::OutOfRange, "must be at most 100"));
                }
                Ok(())
            }
            (None, None) => Err(SpecError::new("", SpecErrorCode::Missing, "give units or percent")),
            (Some(_), Some(_)) => {
                Err(SpecError::new("", SpecErrorCode::Conflicting, "give units or percent, not both"))
            }
        }
    }
}

impl CommitmentSpec {
    fn validate(&self, bucket: Option<&BucketSpec>) -> Result<(), SpecError> {
        above_zero("amount", self.amount.0)?;
        if self.overage_factor < Decimal::ONE {
            let detail = "must be at least 1: less would pay for using more";
            return Err(SpecError::new("overageFactor", SpecErrorCode::OutOfRange, detail));
        }
        if self.per == CommitmentWindow::Bucket && bucket.is_none() {
            let detail = "is held against each bucket, and the price has no bucket";
            return Err(SpecError::new("per", SpecErrorCode::Missing, detail));
        }
        let Some(window) = &self.time_of_day else { return Ok(()) };
        window.contains(0).map_err(|error| error.below("timeOfDay"))?;
        match bucket.map(|bucket| bucket.size) {
            Some(BucketSize::Minute | BucketSize::Hour) => Ok(()),
            Some(BucketSize::Day | BucketSize::Week | BucketSize::Month) | None => Err(SpecError::new(
                "timeOfDay",
                SpecErrorCode::Missing,
                "needs a bucket of Minute or Hour, to tell the times of a day apart",
            )),
        }
    }
}

/// Neither is negative, and the minimum is at most as high as the maximum. Of a price and of a whole plan.
pub(super) fn check_bounds(minimum: Option<Amount>, maximum: Option<Amount>) -> Result<(), SpecError> {
    minimum.map_or(Ok(()), |amount| not_negative("minimum", amount))?;
    maximum.map_or(Ok(()), |amount| not_negative("maximum", amount))?;
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) if minimum > maximum => Err(SpecError::new(
            "maximum",
            SpecErrorCode::OutOfRange,
            format!("must not be below the minimum of {minimum}"),
        )),
        _ => Ok(()),
    }
}

pub(super) fn not_negative(field: &str, amount: Amount) -> Result<(), SpecError> {
    if amount.is_negative() {
        return Err(SpecError::new(
            field,
            SpecErrorCode::OutOfRange,
            "must not be negative: a discount is not a price",
        ));
    }
    Ok(())
}

pub(super) fn above_zero(field: &str, value: Decimal) -> Result<(), SpecError> {
    if value.is_negative() || value.is_zero() {
        return Err(SpecError::new(field, SpecErrorCode::OutOfRange, "must be above zero"));
    }
    Ok(())
}
