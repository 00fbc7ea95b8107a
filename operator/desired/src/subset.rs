//! Whether a cached object already says what we want: the reason why a pass in which nothing changed sends nothing.
//!
//! "Wanted is a JSON subset of cached" forgives everything that the API server or another writer adds. Lists follow the
//! merge keys of server-side apply, because an entry that somebody else added to `env` survives our apply: comparing whole
//! lists would apply again for ever. A field that we no longer want is not seen here: `object::stamp` puts a hash of the
//! wanted object into an annotation, so that such a change differs too.

use serde_json::Value;

/// Every value of `want` is in `have`; `have` may hold more.
pub fn is_subset(want: &Value, have: &Value) -> bool {
    subset(want, Some(have), "")
}

fn subset(want: &Value, have: Option<&Value>, field: &str) -> bool {
    match (want, have) {
        // The server drops empty values of optional fields.
        (want, None) => is_empty(want),
        (Value::Object(want), Some(Value::Object(have))) => want
            .iter()
            .all(|(key, value)| subset(value, have.get(key), if is_quantities(field) { field } else { key })),
        (Value::Array(want), Some(Value::Array(have))) => match merge_key(field, want) {
            Some(key) => want.iter().all(|item| {
                have.iter()
                    .find(|other| other.get(key) == item.get(key))
                    .is_some_and(|other| subset(item, Some(other), field))
            }),
            None => want.len() == have.len() && want.iter().zip(have).all(|(a, b)| subset(a, Some(b), field)),
        },
        (Value::String(want), Some(Value::String(have))) => {
            want == have || ((is_quantities(field) || is_quantity(field)) && same_quantity(want, have))
        }
        (want, Some(have)) => want == have,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Maps whose every value is a quantity.
fn is_quantities(field: &str) -> bool {
    matches!(field, "requests" | "limits" | "capacity" | "hard")
}

fn is_quantity(field: &str) -> bool {
    field == "sizeLimit"
}

fn same_quantity(a: &str, b: &str) -> bool {
    canonical_quantity(a).is_some_and(|a| Some(a) == canonical_quantity(b))
}

/// The key by which server-side apply merges a list of objects; None for lists that are replaced whole.
fn merge_key(field: &str, items: &[Value]) -> Option<&'static str> {
    let key = match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => "name",
        "volumeMounts" => "mountPath",
        "ownerReferences" => "uid",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    };
    items.iter().all(|item| item.get(key).is_some()).then_some(key)
}

/// A quantity as (digits, power of ten or of two): equal quantities are equal here, however they were written.
/// None for text that is no quantity; then only equal text is equal.
fn canonical_quantity(text: &str) -> Option<i128> {
    let split =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let nano: i128 = 1_000_000_000;
    let factor: i128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => nano,
        "k" => nano * 1_000,
        "M" => nano * 1_000_000,
        "G" => nano * 1_000_000_000,
        "T" => nano * 1_000_000_000_000,
        "P" => nano * 1_000_000_000_000_000,
        "Ki" => nano << 10,
        "Mi" => nano << 20,
        "Gi" => nano << 30,
        "Ti" => nano << 40,
        "Pi" => nano << 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(factor)?;
    (scaled % scale == 0).then(|| scaled / scale)
}

/// A quantity in thousandths of its base unit (bytes or cores), to compare sizes. None when it is no quantity.
pub fn quantity_millis(text: &str) -> Option<i128> {
    canonical_quantity(text).map(|nano| nano / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(want: Value, have: Value, expected: bool) {
        assert_eq!(is_subset(&want, &have), expected, "want {want}\nhave {have}");
    }

    #[test]
    fn what_the_server_adds_is_forgiven() {
        check(json!({"a": 1}), json!({"a": 1, "b": 2}), true);
        check(json!({"a": {"x": "y"}}), json!({"a": {"x": "y", "default": true}}), true);
        check(json!({"spec": {"podSelector": {}, "egress": []}}), json!({"spec": {}}), true);
        check(json!({"data": null}), json!({}), true);
    }

    #[test]
    fn what_differs_is_seen() {
        check(json!({"a": 1}), json!({"a": 2}), false);
        check(json!({"a": 1}), json!({}), false);
        check(json!({"a": ""}), json!({}), false);
        check(json!({"command": ["x", "y"]}), json!({"command": ["x"]}), false);
        check(json!({"command": ["x"]}), json!({"command": ["x", "y"]}), false);
    }

    #[test]
    fn lists_with_a_merge_key_forgive_entries_of_others_in_any_order() {
        let want = json!({"env": [{"name": "A", "value": "1"}]});
        check(want.clone(), json!({"env": [{"name": "Z", "value": "9"}, {"name": "A", "value": "1"}]}), true);
        check(want.clone(), json!({"env": [{"name": "A", "value": "2"}]}), false);
        check(want, json!({"env": []}), false);
    }

    #[test]
    fn quantities_are_compared_by_size() {
        let want = |v: &str| json!({"resources": {"requests": {"cpu": v}}});
        check(want("1000m"), want("1"), true);
        check(want("0.5"), want("500m"), true);
        check(want("1024Mi"), want("1Gi"), true);
        check(want("1G"), want("1Gi"), false);
        check(json!({"sizeLimit": "1024Ki"}), json!({"sizeLimit": "1Mi"}), true);
        check(want("nonsense"), want("other"), false);
        // Elsewhere text is text.
        check(json!({"image": "1000m"}), json!({"image": "1"}), false);
    }

    #[test]
    fn odd_quantities_do_not_panic() {
        for text in
            ["", "-", ".", "1e9Gi", "1.2.3", "99999999999999999999999999999999999999999Ti", "½", "--1"]
        {
            let _does_not_panic = canonical_quantity(text);
        }
    }
}
