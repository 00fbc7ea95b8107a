//! Meter: which events count, and how they become one number.

use serde::{Deserialize, Serialize};

use super::{NameRef, SpecError, SpecErrorCode, read_shape};
use crate::ids::check_key;

/// How the events of a window become one quantity. The merge law of each is in meter.rs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AggregationKind {
    Count,
    Sum,
    Max,
    UniqueCount,
}

impl AggregationKind {
    /// Count looks at no value; the others read `valueProperty`.
    pub fn reads_a_value(self) -> bool {
        match self {
            Self::Count => false,
            Self::Sum | Self::Max | Self::UniqueCount => true,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Sum => "Sum",
            Self::Max => "Max",
            Self::UniqueCount => "UniqueCount",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FilterOperator {
    /// The property's text is one of `values`.
    In,
    /// The property is missing, or its text is none of `values`.
    NotIn,
    /// The property's text is the one value.
    Eq,
    /// The property is missing, or its text is not the one value.
    NotEq,
}

/// One condition on a property; an event counts when all of a meter's filters hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilterSpec {
    pub property: String,
    pub operator: FilterOperator,
    pub values: Vec<String>,
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

/// Most dimensions of a meter, and most filters.
pub const GROUP_BY_MAX: usize = 16;
pub const FILTERS_MAX: usize = 16;

impl MeterSpec {
    pub fn from_json(spec: &serde_json::Value) -> Result<Self, SpecError> {
        let meter: Self = read_shape(spec)?;
        meter.validate()?;
        Ok(meter)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        check_text("eventType", &self.event_type)?;
        self.validate_value_property()?;
        self.validate_group_by()?;
        if self.filters.len() > FILTERS_MAX {
            return Err(SpecError::new(
                "filters",
                SpecErrorCode::OutOfRange,
                "at most 16 filters are possible",
            ));
        }
        for (index, filter) in self.filters.iter().enumerate() {
            filter.validate().map_err(|error| error.below(&format!("filters[{index}]")))?;
        }
        Ok(())
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
            && *group_by == other.group_by
            && *filters == other.filters
    }
}

impl FilterSpec {
    fn validate(&self) -> Result<(), SpecError> {
        check_text("property", &self.property)?;
        let one_value = match self.operator {
            FilterOperator::Eq | FilterOperator::NotEq => true,
            FilterOperator::In | FilterOperator::NotIn => false,
        };
        if self.values.is_empty() {
            return Err(SpecError::new("values", SpecErrorCode::Missing, "give at least one value"));
        }
        if one_value && self.values.len() > 1 {
            return Err(SpecError::new(
                "values",
                SpecErrorCode::Conflicting,
                "Eq and NotEq take one value; use In or NotIn for several",
            ));
        }
        Ok(())
    }
}

fn check_text(field: &str, text: &str) -> Result<(), SpecError> {
    check_key("", text).map_err(|problem| SpecError::new(field, SpecErrorCode::InvalidName, problem.problem))
}
