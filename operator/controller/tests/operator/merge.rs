//! Server-side apply, good enough: who owns which field, what conflicts, what goes when its owner stops applying it.
//!
//! Lists are one field each. That is coarser than the real thing and errs on the side of conflicts.

use std::collections::BTreeMap;

use serde_json::Value;

/// Owner by field path.
pub type Owners = BTreeMap<String, String>;

/// Applies `wanted` to `object`. Returns what conflicts, and then nothing was changed.
pub fn apply(
    object: &mut Value,
    owners: &mut Owners,
    manager: &str,
    force: bool,
    wanted: &Value,
) -> Vec<(String, String)> {
    let wanted = leaves(wanted);
    let current = leaves(object);
    let mut conflicts = Vec::new();
    for (path, value) in &wanted {
        let owner = owners.get(path).filter(|owner| *owner != manager);
        if let Some(owner) = owner
            && current.get(path).is_some_and(|current| current != value)
        {
            conflicts.push((path.clone(), owner.clone()));
        }
    }
    if !force && !conflicts.is_empty() {
        return conflicts;
    }
    let dropped: Vec<String> = owners
        .iter()
        .filter(|(path, owner)| *owner == manager && !wanted.contains_key(*path))
        .map(|(path, _)| path.clone())
        .collect();
    for path in dropped {
        owners.remove(&path);
        remove(object, &path);
    }
    for (path, value) in wanted {
        set(object, &path, value);
        owners.insert(path, manager.to_owned());
    }
    Vec::new()
}

/// An update takes what it changes.
pub fn take_changed(owners: &mut Owners, manager: &str, before: &Value, after: &Value) {
    let before = leaves(before);
    let after = leaves(after);
    for (path, value) in &after {
        if before.get(path) != Some(value) {
            owners.insert(path.clone(), manager.to_owned());
        }
    }
    owners.retain(|path, _| after.contains_key(path));
}

/// RFC 7386.
pub fn merge_patch(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(serde_json::Map::new());
    }
    let map = object.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge_patch(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Every field but identity, by path. A `/` in a key is written `~1`, as in JSON pointers.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found.retain(|path, _| {
        let identity = [
            "/apiVersion",
            "/kind",
            "/metadata/name",
            "/metadata/namespace",
            "/metadata/uid",
            "/metadata/resourceVersion",
            "/metadata/generation",
            "/metadata/creationTimestamp",
            "/metadata/deletionTimestamp",
        ];
        !identity.contains(&path.as_str()) && !path.starts_with("/status")
    });
    found
}

fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                walk(&format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), value, found);
            }
        }
        Value::Null => {}
        other => {
            found.insert(path.to_owned(), other.clone());
        }
    }
}

fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for key in path.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        at = at.as_object_mut().unwrap().entry(key).or_insert(Value::Null);
    }
    *at = value;
}

fn remove(object: &mut Value, path: &str) {
    let Some((parent, key)) = path.rsplit_once('/') else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    if let Some(map) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        map.remove(&key);
    }
}
