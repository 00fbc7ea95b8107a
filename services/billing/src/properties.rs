//! An event's properties, read from JSON text without losing a digit.
//!
//! A JSON number passes through a double in serde_json. Here every number keeps its value: one that a double (or a 64-bit
//! integer) holds exactly, by its shortest text, stays a number; any other becomes a string of the digits that were sent, and
//! meters read such strings as numbers. What is beyond a double's range (1e400) is refused: it must never become infinity or
//! zero. Objects are rebuilt with sorted keys, so that the canonical JSON does not depend on a map's ordering.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, value::RawValue};

/// Deepest nesting of a property's value.
pub const DEPTH_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    #[error("must be a JSON object")]
    NotAnObject,
    #[error("is nested more than 16 levels deep")]
    TooDeep { property: String },
    #[error("holds text that is not Unicode (half of a surrogate pair)")]
    NotUnicode { property: String },
    #[error("holds a number beyond what can be represented; send it as a string if it is not a quantity")]
    NumberOutOfRange { property: String },
}

impl PropertyError {
    /// The path of the offending property.
    pub fn field(&self) -> String {
        match self {
            Self::NotAnObject => "properties".to_owned(),
            Self::TooDeep { property }
            | Self::NotUnicode { property }
            | Self::NumberOutOfRange { property } => format!("properties.{property}"),
        }
    }
}

/// The properties in a JSON object's text; `null` is no properties.
pub fn from_json(text: &str) -> Result<BTreeMap<String, Value>, PropertyError> {
    let object: Option<BTreeMap<String, &RawValue>> = match serde_json::from_str(text) {
        Ok(object) => object,
        // Raw values take anything that is well-formed, so what is wrong is the object itself.
        Err(_) => return Err(PropertyError::NotAnObject),
    };
    object
        .unwrap_or_default()
        .into_iter()
        .map(|(name, raw)| {
            let value = exact(raw.get(), DEPTH_MAX).map_err(|loss| match loss {
                Loss::TooDeep => PropertyError::TooDeep { property: name.clone() },
                Loss::NotUnicode => PropertyError::NotUnicode { property: name.clone() },
                Loss::OutOfRange => PropertyError::NumberOutOfRange { property: name.clone() },
            })?;
            Ok((name, value))
        })
        .collect()
}

enum Loss {
    TooDeep,
    NotUnicode,
    OutOfRange,
}

/// One value of JSON text that is known to be well-formed.
fn exact(text: &str, depth_left: usize) -> Result<Value, Loss> {
    let below = depth_left.checked_sub(1).ok_or(Loss::TooDeep)?;
    match text.as_bytes().first() {
        Some(b'{') => {
            let object: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).map_err(|_| Loss::NotUnicode)?;
            let fields = object.into_iter().map(|(name, raw)| Ok((name, exact(raw.get(), below)?)));
            Ok(Value::Object(fields.collect::<Result<Map<_, _>, Loss>>()?))
        }
        Some(b'[') => {
            let array: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Loss::NotUnicode)?;
            Ok(Value::Array(
                array.into_iter().map(|raw| exact(raw.get(), below)).collect::<Result<_, Loss>>()?,
            ))
        }
        Some(b'-' | b'0'..=b'9') => exact_number(text),
        // A string, true, false or null: well-formed already, so half a surrogate pair is the one thing that can still fail.
        _ => serde_json::from_str(text).map_err(|_| Loss::NotUnicode),
    }
}

fn exact_number(text: &str) -> Result<Value, Loss> {
    let number: Number = serde_json::from_str(text).map_err(|_| Loss::OutOfRange)?;
    if same_number(text, &number.to_string()) {
        Ok(Value::Number(number))
    } else {
        Ok(Value::String(text.to_owned()))
    }
}

/// Whether two spellings of JSON numbers mean the same value, compared digit by digit.
fn same_number(a: &str, b: &str) -> bool {
    match (normal_form(a), normal_form(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// (negative, digits without outer zeros, exponent of the last digit); None when the exponent itself is absurd.
fn normal_form(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().ok()?;
    let digits = format!("{integer}{fraction}");
    let significant = digits.trim_end_matches('0');
    let exponent = exponent
        .checked_sub(fraction.len() as i64)?
        .checked_add((digits.len() - significant.len()) as i64)?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    Some((negative, significant.to_owned(), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<String, PropertyError> {
        from_json(&format!("{{\"n\":{value}}}")).map(|properties| properties["n"].to_string())
    }

    #[test]
    fn numbers_keep_their_value() {
        let cases = [
            ("12", "12"),
            ("-7", "-7"),
            ("0.1", "0.1"),
            ("1.50", "1.5"),
            ("1e2", "100.0"),
            ("18446744073709551615", "18446744073709551615"),
            // One more than u64, and more digits than a double has: kept as text.
            ("18446744073709551617", "\"18446744073709551617\""),
            ("1234567890.123456789012345678", "\"1234567890.123456789012345678\""),
            ("1e-400", "\"1e-400\""),
            ("0", "0"),
            ("-0", "-0.0"),
            ("0e99999", "0.0"),
        ];
        for (given, expected) in cases {
            assert_eq!(read(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn numbers_beyond_a_double_are_refused_not_made_infinite() {
        for given in ["1e400", "-1e400", "1e99999999999999999999"] {
            assert_eq!(
                read(given),
                Err(PropertyError::NumberOutOfRange { property: "n".to_owned() }),
                "{given}"
            );
        }
        assert_eq!(
            read("{\"a\":[1,1e400]}"),
            Err(PropertyError::NumberOutOfRange { property: "n".to_owned() })
        );
    }

    #[test]
    fn half_a_surrogate_pair_is_refused_for_what_it_is() {
        let refused = Err(PropertyError::NotUnicode { property: "n".to_owned() });
        assert_eq!(read("\"\\ud800\""), refused);
        assert_eq!(read("[{\"\\ud800\":1}]"), refused);
        assert_eq!(read("\"\\ud83d\\ude00\"").as_deref(), Ok("\"😀\""));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(DEPTH_MAX - 1)).is_ok());
        assert_eq!(read(&nested(DEPTH_MAX)), Err(PropertyError::TooDeep { property: "n".to_owned() }));
        assert_eq!(read(&nested(50_000)), Err(PropertyError::TooDeep { property: "n".to_owned() }));
    }

    #[test]
    fn what_was_read_is_read_again_unchanged() {
        let text = "{\"z\":{\"b\":[1,2.5,null,true],\"a\":\"x\"},\"a\":123456789.12345678}";
        let first = from_json(text).expect("valid");
        let json = serde_json::to_string(&first).expect("serializes");
        assert_eq!(json, "{\"a\":123456789.12345678,\"z\":{\"a\":\"x\",\"b\":[1,2.5,null,true]}}");
        assert_eq!(from_json(&json).as_ref(), Ok(&first));
        assert_eq!(serde_json::from_str::<BTreeMap<String, Value>>(&json).expect("valid"), first);
    }

    #[test]
    fn only_an_object_is_properties() {
        assert_eq!(from_json("[]"), Err(PropertyError::NotAnObject));
        assert_eq!(from_json("1"), Err(PropertyError::NotAnObject));
        assert_eq!(from_json("null"), Ok(BTreeMap::new()));
    }
}
