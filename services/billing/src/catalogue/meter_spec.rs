//! Meter: which events count, and how they become one number.

use serde::{Deserialize, Serialize};

use super::{FilterSpec, NameRef, SpecError, SpecErrorCode, check_text, filter_spec, read_shape};
use crate::decimal::Decimal;

/// How the events of a window become one quantity. The merge law of each is in meter/partial.rs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AggregationKind {
    /// How many events.
    Count,
    /// The values added up, times `multiplier`.
    Sum,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The values added up, divided by their number.
    Average,
    /// The value of the latest event, by the event's own time.
    Latest,
    /// How many different values.
    UniqueCount,
    /// A level that each event sets: its mean over the window, weighted by how long it stood.
    WeightedSum,
    /// The smallest value that at least `percentile` percent of the values do not exceed (nearest rank).
    Percentile,
}

impl AggregationKind {
    pub const ALL: [Self; 9] = [
        Self::Count,
        Self::Sum,
        Self::Max,
        Self::Min,
        Self::Average,
        Self::Latest,
        Self::UniqueCount,
        Self::WeightedSum,
        Self::Percentile,
    ];

    /// Count looks at no value; the others read `valueProperty`.
    pub fn reads_a_value(self) -> bool {
        match self {
            Self::Count => false,
            Self::Sum
            | Self::Max
            | Self::Min
            | Self::Average
            | Self::Latest
            | Self::UniqueCount
            | Self::WeightedSum
            | Self::Percentile => true,
        }
    }

    /// Whether there is a level that one period can leave to the next (`reset: Never`).
    pub fn has_a_level(self) -> bool {
        match self {
            Self::Sum | Self::Latest | Self::WeightedSum => true,
            Self::Count | Self::Max | Self::Min | Self::Average | Self::UniqueCount | Self::Percentile => {
                false
            }
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Sum => "Sum",
            Self::Max => "Max",
            Self::Min => "Min",
            Self::Average => "Average",
            Self::Latest => "Latest",
            Self::UniqueCount => "UniqueCount",
            Self::WeightedSum => "WeightedSum",
            Self::Percentile => "Percentile",
        }
    }
}

/// What a period starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ResetPolicy {
    /// From nothing.
    #[default]
    EachPeriod,
    /// From the level that all time before it left: seats held, bytes stored. A Sum then also takes negative values, which
    /// lower its level; a level below zero at a period's end is an error, not a credit.
    Never,
}

impl ResetPolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `Meter.spec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeterSpec {
    pub region_ref: NameRef,
    /// One tenant's own meter; absent: the region's shared catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_ref: Option<NameRef>,
    /// The `type` of the events that this meter counts.
    pub event_type: String,
    pub aggregation: AggregationKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_property: Option<String>,
    /// Of a Percentile: above 0 and at most 100, such as "99.9".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<Decimal>,
    /// Of a Sum: what the sum is multiplied by, above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<Decimal>,
    #[serde(default, skip_serializing_if = "ResetPolicy::is_default")]
    pub reset: ResetPolicy,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterSpec>,
    /// What one is, for people: "call", "GB".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Most dimensions of a meter.
pub const GROUP_BY_MAX: usize = 16;

impl MeterSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let meter: Self = read_shape(spec)?;
        meter.validate()?;
        Ok(meter)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        check_text("eventType", &self.event_type)?;
        self.validate_value_property()?;
        self.validate_percentile()?;
        self.validate_multiplier()?;
        self.validate_reset()?;
        self.validate_group_by()?;
        filter_spec::validate_all(&self.filters)
    }

    fn validate_value_property(&self) -> Result<(), SpecError> {
        match (&self.value_property, self.aggregation.reads_a_value()) {
            (None, true) => {
                let detail =
                    format!("name the property that {} reads its value from", self.aggregation.as_str());
                Err(SpecError::new("valueProperty", SpecErrorCode::Missing, detail))
            }
            (Some(_), false) => Err(SpecError::new(
                "valueProperty",
                SpecErrorCode::Conflicting,
                "Count reads no value: leave it out, or use Sum",
            )),
            (Some(property), true) => check_text("valueProperty", property),
            (None, false) => Ok(()),
        }
    }

    fn validate_percentile(&self) -> Result<(), SpecError> {
        let is_percentile = self.aggregation == AggregationKind::Percentile;
        match (self.percentile, is_percentile) {
            (None, true) => {
                let detail = "say which one, such as \"95\" or \"99.9\"";
                Err(SpecError::new("percentile", SpecErrorCode::Missing, detail))
            }
            (Some(_), false) => {
                let detail =
                    format!("{} has none: leave it out, or use Percentile", self.aggregation.as_str());
                Err(SpecError::new("percentile", SpecErrorCode::Conflicting, detail))
            }
            (Some(percentile), true)
                if percentile <= Decimal::ZERO || percentile > Decimal::from_integer(100) =>
            {
                Err(SpecError::new(
                    "percentile",
                    SpecErrorCode::OutOfRange,
                    "must be above 0 and at most 100",
                ))
            }
            (Some(_), true) | (None, false) => Ok(()),
        }
    }

    fn validate_multiplier(&self) -> Result<(), SpecError> {
        match (self.multiplier, self.aggregation == AggregationKind::Sum) {
            (Some(_), false) => {
                let detail = format!("{} has none: leave it out, or use Sum", self.aggregation.as_str());
                Err(SpecError::new("multiplier", SpecErrorCode::Conflicting, detail))
            }
            (Some(multiplier), true) if multiplier <= Decimal::ZERO => {
                Err(SpecError::new("multiplier", SpecErrorCode::OutOfRange, "must be above 0"))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    fn validate_reset(&self) -> Result<(), SpecError> {
        match self.reset {
            ResetPolicy::Never if !self.aggregation.has_a_level() => {
                let detail = format!(
                    "{} has no level that a period could leave to the next: use EachPeriod, or Sum, Latest or WeightedSum",
                    self.aggregation.as_str()
                );
                Err(SpecError::new("reset", SpecErrorCode::Conflicting, detail))
            }
            ResetPolicy::Never | ResetPolicy::EachPeriod => Ok(()),
        }
    }

    fn validate_group_by(&self) -> Result<(), SpecError> {
        if self.group_by.len() > GROUP_BY_MAX {
            return Err(SpecError::new(
                "groupBy",
                SpecErrorCode::OutOfRange,
                "at most 16 properties are possible",
            ));
        }
        for (index, property) in self.group_by.iter().enumerate() {
            let field = format!("groupBy[{index}]");
            check_text(&field, property)?;
            if self.group_by[..index].contains(property) {
                return Err(SpecError::new(
                    field,
                    SpecErrorCode::Conflicting,
                    format!("{property:?} is in the list twice"),
                ));
            }
        }
        Ok(())
    }

    /// The fields that decide what past usage was: a change of any of them would rewrite history, so it needs a new meter.
    pub fn counts_the_same_as(&self, other: &Self) -> bool {
        let Self {
            region_ref,
            tenant_ref,
            event_type,
            aggregation,
            value_property,
            percentile,
            multiplier,
            reset,
            group_by,
            filters,
            unit: _,
            description: _,
        } = self;
        *region_ref == other.region_ref
            && *tenant_ref == other.tenant_ref
            && *event_type == other.event_type
            && *aggregation == other.aggregation
            && *value_property == other.value_property
            && *percentile == other.percentile
            && *multiplier == other.multiplier
            && *reset == other.reset
            && *group_by == other.group_by
            && *filters == other.filters
    }
}
