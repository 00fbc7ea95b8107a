//! How things are written for clients, and checks of what clients write.

use jiff::Timestamp;
use meridian_billing::{
    decimal::{Amount, Quantity},
    ids::SubscriptionId,
    money::Currency,
    period,
};
use serde_json::Value;

use crate::problem::Problem;

/// The current instant in whole microseconds, the unit of every time that is kept.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

pub(super) fn instant(at: Timestamp) -> String {
    at.to_string()
}

pub(super) fn instant_us(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us).map_or_else(|_| at_us.to_string(), instant)
}

/// An enum's variant as it is written in documents.
pub(super) fn word<T: serde::Serialize>(variant: &T) -> String {
    match serde_json::to_value(variant) {
        Ok(Value::String(word)) => word,
        Ok(other) => unreachable!("a variant without fields is a word, not {other}"),
        Err(error) => unreachable!("a word always serializes: {error}"),
    }
}

/// With the currency's digits after the point: "120.00".
pub(super) fn amount(currency: Currency, amount: Amount) -> String {
    currency.format(amount)
}

/// Without trailing zeros: "12000".
pub(super) fn quantity(quantity: Quantity) -> String {
    quantity.to_string()
}

/// An id out of a path. One that could be nobody's is answered like one that is somebody else's.
pub(super) fn id<'a>(what: &str, text: &'a str) -> Result<&'a str, Problem> {
    let possible =
        text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if possible { Ok(text) } else { Err(Problem::not_found(what)) }
}

pub(super) fn subscription_id(text: &str) -> Result<SubscriptionId, Problem> {
    let text = id("subscription", text)?;
    SubscriptionId::new(text).map_err(|_| Problem::not_found("subscription"))
}

/// Text that Postgres can hold and a person would write.
pub(super) fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<(), Problem> {
    if text.len() > bytes_max {
        return Err(Problem::invalid(field, format!("must not be longer than {bytes_max} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid(field, "must not hold control characters"));
    }
    Ok(())
}

pub(super) fn check_time_zone(field: &str, name: &str) -> Result<(), Problem> {
    period::zone(name).map(|_| ()).map_err(|error| Problem::invalid(field, error.to_string()))
}

/// Bytes of a metadata object, and how deep it may nest.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// A JSON object of bounded size, without the one character that Postgres cannot hold.
pub(super) fn check_metadata(field: &str, metadata: &Value) -> Result<(), Problem> {
    if !metadata.is_object() {
        return Err(Problem::invalid(field, "must be a JSON object"));
    }
    let text = metadata.to_string();
    if text.len() > METADATA_BYTES_MAX {
        return Err(Problem::invalid(field, format!("must not be larger than {METADATA_BYTES_MAX} bytes")));
    }
    if text.contains("\\u0000") {
        return Err(Problem::invalid(field, "must not hold the character U+0000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn impossible_ids_are_not_found() {
        assert!(id("invoice", "inv_01k2h8v9x0e6t8w4y2z0a1b2c3").is_ok());
        for wrong in ["inv_X", "a/b", "a\0b", "inv-1", "'; DROP TABLE invoices", &"x".repeat(65)] {
            assert_eq!(id("invoice", wrong).expect_err("refused").status, 404, "{wrong:?}");
        }
    }

    #[test]
    fn metadata_is_a_bounded_object_that_postgres_can_hold() {
        assert!(check_metadata("metadata", &json!({"a": {"b": [1, null, "ä"]}})).is_ok());
        for wrong in [
            json!([]),
            json!("x"),
            json!(null),
            json!({"a": "\u{0}"}),
            json!({"\u{0}": 1}),
            json!({"a": "x".repeat(17_000)}),
        ] {
            let problem = check_metadata("metadata", &wrong).expect_err("refused");
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some("metadata")));
        }
    }
}
