//! The part of OpenAPI v3 that our CustomResourceDefinitions use, checked without a cluster. The API server remains the
//! judge: apiserver.rs runs the same table there. An unknown field is a violation here, as with kubectl's strict validation.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use regex::Regex;
use serde_json::Value;

/// One violation: where, and of which keyword.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub path: String,
    pub keyword: String,
}

/// The schema of `kind`, as it is in the CustomResourceDefinition.
pub fn of_kind(kind: &str) -> &'static Value {
    static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
        let schema = |crd: &CustomResourceDefinition| {
            serde_json::to_value(crd).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
        };
        meridian_crds::all_crds().iter().map(|crd| (crd.spec.names.kind.clone(), schema(crd))).collect()
    });
    &SCHEMAS[kind]
}

/// Every violation of `schema` by `object`.
pub fn check(schema: &Value, object: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    // The API server checks metadata by itself, not by the schema.
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("metadata");
    walk(schema, &object, "", &mut found);
    found
}

fn walk(schema: &Value, value: &Value, path: &str, found: &mut Vec<Violation>) {
    let mut violated =
        |keyword: &str, path: &str| found.push(Violation { path: path.into(), keyword: keyword.into() });
    if !has_type(schema, value) {
        violated("type", path);
        return;
    }
    if schema.get("enum").is_some_and(|allowed| !allowed.as_array().unwrap().contains(value)) {
        violated("enum", path);
    }
    match value {
        Value::String(text) => {
            let length = text.chars().count() as u64;
            check_range(schema, "minLength", "maxLength", length as f64, path, &mut violated);
            if schema["pattern"].as_str().is_some_and(|pattern| !Regex::new(pattern).unwrap().is_match(text))
            {
                violated("pattern", path);
            }
            if schema["format"] == "date-time" && text.parse::<jiff::Timestamp>().is_err() {
                violated("format", path);
            }
        }
        Value::Number(number) => {
            check_range(schema, "minimum", "maximum", number.as_f64().unwrap(), path, &mut violated);
        }
        Value::Array(items) => {
            check_range(schema, "minItems", "maxItems", items.len() as f64, path, &mut violated);
            if has_duplicates(schema, items) {
                violated("x-kubernetes-list-type", path);
            }
            for (index, item) in items.iter().enumerate() {
                walk(&schema["items"], item, &format!("{path}[{index}]"), found);
            }
        }
        Value::Object(fields) => {
            for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(required) {
                    violated("required", &join(path, required));
                }
            }
            for (name, value) in fields {
                match schema["properties"].get(name) {
                    Some(schema) => walk(schema, value, &join(path, name), found),
                    None if path.is_empty() && ["apiVersion", "kind"].contains(&name.as_str()) => {}
                    None => found.push(Violation { path: join(path, name), keyword: "unknown".into() }),
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        other => panic!("a type that this check does not know: {other:?}"),
    }
}

fn check_range(
    schema: &Value,
    least: &str,
    most: &str,
    measure: f64,
    path: &str,
    violated: &mut impl FnMut(&str, &str),
) {
    if schema[least].as_f64().is_some_and(|least| measure < least) {
        violated(least, path);
    }
    if schema[most].as_f64().is_some_and(|most| measure > most) {
        violated(most, path);
    }
}

fn has_duplicates(schema: &Value, items: &[Value]) -> bool {
    let identity = |item: &Value| match schema["x-kubernetes-list-map-keys"].as_array() {
        Some(keys) => Value::Array(keys.iter().map(|key| item[key.as_str().unwrap()].clone()).collect()),
        None => item.clone(),
    };
    ["map", "set"].iter().any(|kind| schema["x-kubernetes-list-type"] == **kind)
        && (1..items.len())
            .any(|index| items[..index].iter().any(|other| identity(other) == identity(&items[index])))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
