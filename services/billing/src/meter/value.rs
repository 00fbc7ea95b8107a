//! An event's property as what a meter reads: a text, a number, a text to tell apart. A value that cannot be read is
//! named, never guessed: [`QuarantineReason`].

use serde_json::Value;

use crate::{
    catalogue::ResetPolicy,
    decimal::{Decimal, ParseDecimalError, Quantity},
    event::UsageEvent,
};

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

/// A property that is there: null is as good as absent.
pub(super) fn present<'a>(event: &'a UsageEvent, property: &str) -> Option<&'a Value> {
    event.properties.get(property).filter(|value| !value.is_null())
}

/// A property's value as text, for filters and groups. A number reads the same however it was spelled: 1, 1.0 and 1e0 are "1".
pub(super) fn text(event: &UsageEvent, property: &str) -> Option<String> {
    present(event, property).map(|value| match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let spelled = number.to_string();
            Decimal::parse_scientific(&spelled).map_or(spelled, |decimal| decimal.to_string())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    })
}

/// A property that is there as a number, of either sign.
pub(super) fn decimal(property: &str, value: &Value) -> Result<Decimal, QuarantineReason> {
    let parsed = match value {
        Value::Number(number) => Decimal::parse_scientific(&number.to_string()),
        Value::String(text) => Decimal::parse_scientific(text.trim()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(ParseDecimalError::NotANumber)
        }
    };
    parsed.map_err(|error| {
        let (property, found) = (property.to_owned(), shown(value));
        match error {
            ParseDecimalError::NotANumber => QuarantineReason::NotANumber { property, found },
            ParseDecimalError::TooManyIntegerDigits => QuarantineReason::NumberTooLarge { property, found },
            ParseDecimalError::TooManyDecimals => QuarantineReason::TooManyDecimals { property, found },
        }
    })
}

/// The number that a meter counts. Below zero it is refused, unless the meter says that values may lower a level.
pub(super) fn number(event: &UsageEvent, property: &str, sign: Sign) -> Result<Quantity, QuarantineReason> {
    let value = required(event, property)?;
    let number = decimal(property, value)?;
    match sign {
        Sign::NotNegative if number.is_negative() => {
            Err(QuarantineReason::NegativeValue { property: property.to_owned(), found: shown(value) })
        }
        Sign::NotNegative | Sign::Any => Ok(Quantity(number)),
    }
}

/// Which values a meter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    NotNegative,
    Any,
}

impl Sign {
    /// Of the values of a Sum: those of a level that is never reset may lower it.
    pub(super) fn of_sum(reset: ResetPolicy) -> Self {
        match reset {
            ResetPolicy::EachPeriod => Self::NotNegative,
            ResetPolicy::Never => Self::Any,
        }
    }
}

/// The text by which a UniqueCount tells values apart. An empty text names nothing and counts as missing.
pub(super) fn distinct_text(event: &UsageEvent, property: &str) -> Result<String, QuarantineReason> {
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
