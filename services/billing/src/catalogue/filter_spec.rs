//! Filters of a meter: conditions on an event's properties, joined by "all of" and "any of". Which events hold them is
//! decided in meter/filter.rs; here is their shape, and what makes no sense.
//!
//! A filter is one condition, `{property, operator, values}`, or a group, `{anyOf: […]}` or `{allOf: […]}`, of further
//! filters. A meter's list must hold as a whole, so that a list of conditions alone reads as it always did.

use serde::{Deserialize, Serialize};

use super::{SpecError, SpecErrorCode, check_text};
use crate::decimal::Decimal;

/// Most filters of a meter, most entries of a group, and how deep they nest: a condition by itself is one deep,
/// `anyOf` of `allOf` of conditions is three.
pub const FILTERS_MAX: usize = 16;
pub const FILTER_GROUP_MAX: usize = 8;
pub const FILTER_DEPTH_MAX: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "FilterShape", into = "FilterShape")]
pub enum FilterSpec {
    Condition(ConditionSpec),
    /// At least one of them holds.
    AnyOf(Vec<FilterSpec>),
    /// Each of them holds.
    AllOf(Vec<FilterSpec>),
}

/// One condition on a property. `1`, `1.0` and `"1"` are the same text (meter/value.rs).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConditionSpec {
    pub property: String,
    pub operator: FilterOperator,
    pub values: Vec<String>,
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
    /// The property is a number above the one value. A missing property is above nothing and below nothing; one that is no
    /// number leaves the answer open, and the event is quarantined if nothing else decides it (meter/filter.rs).
    Gt,
    /// The property is a number, the one value or above it.
    Gte,
    /// The property is a number below the one value.
    Lt,
    /// The property is a number, the one value or below it.
    Lte,
    /// The property's text begins with one of `values`.
    Prefix,
}

/// What an operator makes of `values`.
enum Operands {
    OneText,
    Texts,
    OneNumber,
    Prefixes,
}

impl FilterOperator {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Eq => "Eq",
            Self::NotEq => "NotEq",
            Self::Gt => "Gt",
            Self::Gte => "Gte",
            Self::Lt => "Lt",
            Self::Lte => "Lte",
            Self::Prefix => "Prefix",
        }
    }

    fn operands(self) -> Operands {
        match self {
            Self::In | Self::NotIn => Operands::Texts,
            Self::Eq | Self::NotEq => Operands::OneText,
            Self::Gt | Self::Gte | Self::Lt | Self::Lte => Operands::OneNumber,
            Self::Prefix => Operands::Prefixes,
        }
    }
}

/// A meter's whole list.
pub(super) fn validate_all(filters: &[FilterSpec]) -> Result<(), SpecError> {
    if filters.len() > FILTERS_MAX {
        let detail = format!("at most {FILTERS_MAX} filters are possible");
        return Err(SpecError::new("filters", SpecErrorCode::OutOfRange, detail));
    }
    for (index, filter) in filters.iter().enumerate() {
        filter.validate(1).map_err(|error| error.below(&format!("filters[{index}]")))?;
    }
    Ok(())
}

impl FilterSpec {
    fn validate(&self, depth: usize) -> Result<(), SpecError> {
        match self {
            Self::Condition(condition) => condition.validate(),
            Self::AnyOf(filters) => validate_group("anyOf", filters, depth),
            Self::AllOf(filters) => validate_group("allOf", filters, depth),
        }
    }
}

fn validate_group(name: &str, filters: &[FilterSpec], depth: usize) -> Result<(), SpecError> {
    if depth >= FILTER_DEPTH_MAX {
        let detail = format!("filters nest at most {FILTER_DEPTH_MAX} deep: give conditions here");
        return Err(SpecError::new(name, SpecErrorCode::OutOfRange, detail));
    }
    if filters.is_empty() || filters.len() > FILTER_GROUP_MAX {
        let detail = format!("a group has 1 to {FILTER_GROUP_MAX} filters");
        return Err(SpecError::new(name, SpecErrorCode::OutOfRange, detail));
    }
    for (index, filter) in filters.iter().enumerate() {
        filter.validate(depth + 1).map_err(|error| error.below(&format!("{name}[{index}]")))?;
    }
    Ok(())
}

impl ConditionSpec {
    fn validate(&self) -> Result<(), SpecError> {
        let Self { property, operator, values } = self;
        check_text("property", property)?;
        if values.is_empty() {
            return Err(SpecError::new("values", SpecErrorCode::Missing, "give at least one value"));
        }
        match operator.operands() {
            Operands::Texts => Ok(()),
            Operands::OneText if values.len() > 1 => Err(SpecError::new(
                "values",
                SpecErrorCode::Conflicting,
                "Eq and NotEq take one value; use In or NotIn for several",
            )),
            Operands::OneText => Ok(()),
            Operands::OneNumber if values.len() > 1 => {
                let detail = format!("{} takes one value, a number", operator.as_str());
                Err(SpecError::new("values", SpecErrorCode::Conflicting, detail))
            }
            Operands::OneNumber => match values[0].parse::<Decimal>() {
                Ok(_) => Ok(()),
                Err(problem) => {
                    let detail = format!("{:?} {problem}", values[0]);
                    Err(SpecError::new("values[0]", SpecErrorCode::OutOfRange, detail))
                }
            },
            Operands::Prefixes => match values.iter().position(String::is_empty) {
                None => Ok(()),
                Some(index) => Err(SpecError::new(
                    format!("values[{index}]"),
                    SpecErrorCode::OutOfRange,
                    "must not be empty: every text begins with it",
                )),
            },
        }
    }
}

/// The three forms of a filter as they are written. Exactly one of them is there.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FilterShape {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    property: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<FilterOperator>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    any_of: Option<Vec<FilterSpec>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all_of: Option<Vec<FilterSpec>>,
}

const NO_FORM: &str = "a filter is either property, operator and values, or anyOf, or allOf";

impl TryFrom<FilterShape> for FilterSpec {
    type Error = &'static str;

    fn try_from(shape: FilterShape) -> Result<Self, &'static str> {
        let FilterShape { property, operator, values, any_of, all_of } = shape;
        match (property, operator, values, any_of, all_of) {
            (Some(property), Some(operator), Some(values), None, None) => {
                Ok(Self::Condition(ConditionSpec { property, operator, values }))
            }
            (None, None, None, Some(filters), None) => Ok(Self::AnyOf(filters)),
            (None, None, None, None, Some(filters)) => Ok(Self::AllOf(filters)),
            _ => Err(NO_FORM),
        }
    }
}

impl From<FilterSpec> for FilterShape {
    fn from(filter: FilterSpec) -> Self {
        let none = Self { property: None, operator: None, values: None, any_of: None, all_of: None };
        match filter {
            FilterSpec::Condition(ConditionSpec { property, operator, values }) => {
                Self { property: Some(property), operator: Some(operator), values: Some(values), ..none }
            }
            FilterSpec::AnyOf(filters) => Self { any_of: Some(filters), ..none },
            FilterSpec::AllOf(filters) => Self { all_of: Some(filters), ..none },
        }
    }
}
