//! The table of what the API accepts and refuses, read from the YAML files in crds/cases. Two tests run it: one without a
//! cluster (rules.rs) and one against a real API server (apiserver.rs).
//!
//! A file names a `kind`, a valid `base` spec, and `cases`. A case is about one rule: a CEL rule, named by its message
//! (`rule`), or a keyword of the schema at a field (`field` and `keyword`). Each entry of `accept` and `reject` makes one
//! object: a value for `field` if the case names one, else a merge patch on the spec. `with` is a patch that comes first.
//! With `update: true` the object before the change is base and `with`, and the entry is the change.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    base: Value,
    cases: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    rule: Option<String>,
    field: Option<String>,
    keyword: Option<String>,
    #[serde(default)]
    update: bool,
    with: Option<Value>,
    accept: Vec<Value>,
    reject: Vec<Value>,
}

/// The rule that a case is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleId {
    /// A CEL rule, by its message.
    Cel(String),
    /// A keyword of the schema at a field, such as `pattern` at `spec.prices[0].name`.
    Schema { field: String, keyword: String },
}

/// One object, or one change of an object, and what must become of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub kind: String,
    pub rule: RuleId,
    /// The object before the change; None: the object is created.
    pub old: Option<Value>,
    pub new: Value,
    pub accepted: bool,
}

impl Case {
    /// What a failed assertion prints.
    pub fn title(&self) -> String {
        let Self { kind, rule, old, new, accepted } = self;
        let wanted = if *accepted { "accept" } else { "reject" };
        let before = old.as_ref().map(|old| format!("\n  before: {}", old["spec"])).unwrap_or_default();
        format!("{wanted} {kind} by {rule:?}{before}\n  object: {} {}", new["metadata"]["name"], new["spec"])
    }
}

/// The whole table.
pub fn all() -> Vec<Case> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    let File { kind, base, cases } =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    cases.into_iter().flat_map(|entry| expand(&kind, &base, entry)).collect()
}

fn expand(kind: &str, base: &Value, entry: Entry) -> Vec<Case> {
    let Entry { rule, field, keyword, update, with, accept, reject } = entry;
    let rule = match (rule, &field, keyword) {
        (Some(message), _, None) => RuleId::Cel(message),
        (None, Some(field), Some(keyword)) => RuleId::Schema { field: field.clone(), keyword },
        (rule, field, keyword) => {
            panic!("{kind}: name `rule`, or `field` and `keyword`: {rule:?} {field:?} {keyword:?}")
        }
    };
    let mut start = object(kind, base.clone());
    if let Some(with) = with {
        merge(&mut start["spec"], with);
    }
    let case = |value: Value, accepted: bool| {
        let mut new = start.clone();
        match &field {
            Some(field) => *at(&mut new, field) = value,
            None => merge(&mut new["spec"], value),
        }
        Case { kind: kind.to_owned(), rule: rule.clone(), old: update.then(|| start.clone()), new, accepted }
    };
    let accepted: Vec<Case> = accept.into_iter().map(|value| case(value, true)).collect();
    let rejected: Vec<Case> = reject.into_iter().map(|value| case(value, false)).collect();
    accepted.into_iter().chain(rejected).collect()
}

/// An object of `kind` with a name that no rule minds.
fn object(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("{}/{}", meridian_crds::GROUP, meridian_crds::VERSION),
        "kind": kind,
        "metadata": {"name": "sample", "namespace": "default"},
        "spec": spec,
    })
}

/// JSON merge patch (RFC 7386): null removes.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// The place that a path such as `spec.prices[0].name` names; objects on the way are made.
fn at<'a>(object: &'a mut Value, path: &str) -> &'a mut Value {
    steps(path).into_iter().fold(object, |value, step| match step {
        Step::Key(key) => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            value.as_object_mut().unwrap().entry(key).or_insert(Value::Null)
        }
        Step::Index(index) => &mut value[index],
    })
}

/// One step of a path.
pub enum Step {
    Key(String),
    Index(usize),
}

/// `spec.prices[0].name` as `spec`, `prices`, 0, `name`.
pub fn steps(path: &str) -> Vec<Step> {
    path.split('.')
        .flat_map(|part| {
            let (key, indexes) = part.split_once('[').map_or((part, None), |(key, rest)| (key, Some(rest)));
            let indexes =
                indexes.into_iter().flat_map(|rest| rest.split(['[', ']'])).filter(|index| !index.is_empty());
            std::iter::once(Step::Key(key.to_owned()))
                .chain(indexes.map(|index| Step::Index(index.parse().unwrap())))
                .collect::<Vec<_>>()
        })
        .collect()
}
