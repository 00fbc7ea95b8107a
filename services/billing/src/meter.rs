//! From events to a quantity: what one event contributes to a meter, and how contributions become one number.
//!
//! | aggregation | contribution | merge law of partial results | of no events |
//! |---|---|---|---|
//! | Count | 1 | add | 0 |
//! | Sum | the value | add | 0 |
//! | Max | the value | the larger | 0 |
//! | UniqueCount | the value's text | union of the sets | 0 |
//!
//! Each law is associative and commutative and starts from [`Partial::empty`], so that splitting events over batches,
//! partitions or minutes, in any order, changes nothing. None is idempotent by itself (adding an event twice counts it
//! twice): that an event comes once is the consumer's guarantee.
//!
//! An event that a meter counts but cannot use is quarantined with a reason; it is never taken as zero.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    catalogue::{AggregationKind, FilterOperator, FilterSpec, MeterSpec},
    decimal::{Decimal, Overflow, ParseDecimalError, Quantity},
    event::UsageEvent,
};

/// What one event adds to one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// Count: 1. Sum and Max: the value. UniqueCount: 1, of which equal `unique_value`s count once.
    pub quantity: Quantity,
    /// For UniqueCount only: the text that is counted once.
    pub unique_value: Option<String>,
    /// The meter's group-by properties that the event has, as text.
    pub group: BTreeMap<String, String>,
}

impl Contribution {
    /// The group as canonical JSON; empty for a meter without group-by.
    pub fn group_json(&self, meter: &MeterSpec) -> String {
        if meter.group_by.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.group).expect("a map of strings always serializes")
    }
}

/// Why a meter cannot use an event that it counts. Codes are stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineReason {
    #[error("the event has no property {property:?}")]
    MissingProperty { property: String },
    #[error("property {property:?} is {found}, not a number")]
    NotANumber { property: String, found: String },
    #[error("property {property:?} is {found}: a value must not be negative")]
    NegativeValue { property: String, found: String },
    #[error("property {property:?} is {found}: it has more than 20 digits before the decimal point")]
    NumberTooLarge { property: String, found: String },
    #[error("property {property:?} is {found}: it has more than 18 digits after the decimal point")]
    TooManyDecimals { property: String, found: String },
    #[error("property {property:?} is {found}, which has no single value to tell apart")]
    NotAScalar { property: String, found: String },
}

impl QuarantineReason {
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingProperty { .. } => "missing_property",
            Self::NotANumber { .. } => "not_a_number",
            Self::NegativeValue { .. } => "negative_value",
            Self::NumberTooLarge { .. } => "number_too_large",
            Self::TooManyDecimals { .. } => "too_many_decimals",
            Self::NotAScalar { .. } => "not_a_scalar",
        }
    }
}

/// What `event` adds to `meter`; None when the meter does not count it (another type, or a filter says no).
pub fn quantity_of(meter: &MeterSpec, event: &UsageEvent) -> Result<Option<Contribution>, QuarantineReason> {
    if event.event_type != meter.event_type || !meter.filters.iter().all(|filter| passes(filter, event)) {
        return Ok(None);
    }
    let property = meter.value_property.as_deref().unwrap_or_default();
    let (quantity, unique_value) = match meter.aggregation {
        AggregationKind::Count => (Quantity::ONE, None),
        AggregationKind::Sum | AggregationKind::Max => (number(event, property)?, None),
        AggregationKind::UniqueCount => (Quantity::ONE, Some(distinct_text(event, property)?)),
    };
    let group = meter.group_by.iter().filter_map(|name| Some((name.clone(), text(event, name)?))).collect();
    Ok(Some(Contribution { quantity, unique_value, group }))
}

fn passes(filter: &FilterSpec, event: &UsageEvent) -> bool {
    let listed = text(event, &filter.property).is_some_and(|value| filter.values.contains(&value));
    match filter.operator {
        FilterOperator::In | FilterOperator::Eq => listed,
        FilterOperator::NotIn | FilterOperator::NotEq => !listed,
    }
}

/// A property that is there: null is as good as absent.
fn present<'a>(event: &'a UsageEvent, property: &str) -> Option<&'a Value> {
    event.properties.get(property).filter(|value| !value.is_null())
}

/// A property's value as text, for filters and groups. A number reads the same however it was spelled: 1, 1.0 and 1e0 are "1".
fn text(event: &UsageEvent, property: &str) -> Option<String> {
    present(event, property).map(|value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let spelled = number.to_string();
            Decimal::parse_scientific(&spelled).map_or(spelled, |decimal| decimal.to_string())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    })
}

fn number(event: &UsageEvent, property: &str) -> Result<Quantity, QuarantineReason> {
    let value = required(event, property)?;
    let (property, found) = (property.to_owned(), shown(value));
    let parsed = match value {
        Value::Number(number) => Decimal::parse_scientific(&number.to_string()),
        Value::String(text) => Decimal::parse_scientific(text.trim()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(ParseDecimalError::NotANumber)
        }
    };
    match parsed {
        Ok(decimal) if decimal.is_negative() => Err(QuarantineReason::NegativeValue { property, found }),
        Ok(decimal) => Ok(Quantity(decimal)),
        Err(ParseDecimalError::NotANumber) => Err(QuarantineReason::NotANumber { property, found }),
        Err(ParseDecimalError::TooManyIntegerDigits) => {
            Err(QuarantineReason::NumberTooLarge { property, found })
        }
        Err(ParseDecimalError::TooManyDecimals) => Err(QuarantineReason::TooManyDecimals { property, found }),
    }
}

/// The text by which a UniqueCount tells values apart. An empty text names nothing and counts as missing.
fn distinct_text(event: &UsageEvent, property: &str) -> Result<String, QuarantineReason> {
    let value = required(event, property)?;
    if value.is_array() || value.is_object() {
        return Err(QuarantineReason::NotAScalar { property: property.to_owned(), found: shown(value) });
    }
    text(event, property)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| QuarantineReason::MissingProperty { property: property.to_owned() })
}

fn required<'a>(event: &'a UsageEvent, property: &str) -> Result<&'a Value, QuarantineReason> {
    present(event, property)
        .ok_or_else(|| QuarantineReason::MissingProperty { property: property.to_owned() })
}

/// A value for a person to read, cut to a length that fits a row.
fn shown(value: &Value) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{cut}…")
}

/// What is known of a meter's usage so far. See the module's table for the laws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partial {
    Count(Quantity),
    Sum(Quantity),
    Max(Quantity),
    UniqueCount(BTreeSet<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("usage of different aggregations cannot be merged")]
    DifferentAggregations,
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl Partial {
    pub fn empty(aggregation: AggregationKind) -> Self {
        match aggregation {
            AggregationKind::Count => Self::Count(Quantity::ZERO),
            AggregationKind::Sum => Self::Sum(Quantity::ZERO),
            AggregationKind::Max => Self::Max(Quantity::ZERO),
            AggregationKind::UniqueCount => Self::UniqueCount(BTreeSet::new()),
        }
    }

    pub fn of(aggregation: AggregationKind, contribution: &Contribution) -> Self {
        match aggregation {
            AggregationKind::Count => Self::Count(contribution.quantity),
            AggregationKind::Sum => Self::Sum(contribution.quantity),
            AggregationKind::Max => Self::Max(contribution.quantity),
            AggregationKind::UniqueCount => {
                Self::UniqueCount(contribution.unique_value.iter().cloned().collect())
            }
        }
    }

    pub fn merge(self, other: Self) -> Result<Self, MergeError> {
        match (self, other) {
            (Self::Count(a), Self::Count(b)) => Ok(Self::Count(a.checked_add(b)?)),
            (Self::Sum(a), Self::Sum(b)) => Ok(Self::Sum(a.checked_add(b)?)),
            // Values are never negative, so nothing yet (0) is below every value.
            (Self::Max(a), Self::Max(b)) => Ok(Self::Max(a.max(b))),
            (Self::UniqueCount(mut a), Self::UniqueCount(b)) => {
                a.extend(b);
                Ok(Self::UniqueCount(a))
            }
            (Self::Count(_) | Self::Sum(_) | Self::Max(_) | Self::UniqueCount(_), _) => {
                Err(MergeError::DifferentAggregations)
            }
        }
    }

    pub fn finish(&self) -> Result<Quantity, Overflow> {
        match self {
            Self::Count(quantity) | Self::Sum(quantity) | Self::Max(quantity) => Ok(*quantity),
            Self::UniqueCount(values) => {
                i64::try_from(values.len()).map(Quantity::from_integer).map_err(|_| Overflow)
            }
        }
    }
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
