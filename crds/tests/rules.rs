//! Every validation rule accepts what it should and refuses what it should, without a cluster.
//! The table is in crds/cases; apiserver.rs runs the same one against a real API server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there and then")]

mod cases;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use cases::{Case, RuleId, Step};
use kube::core::cel::ValidationErrors;
use meridian_billing::catalogue::{MeterSpec, PlanSpec, TenantSpec};
use meridian_crds::{BillingRegion, Meter, Plan, Tenant};
use serde::de::DeserializeOwned;
use serde_json::Value;

#[test]
fn every_case_is_judged_as_the_table_says_and_by_the_rule_that_it_names() {
    let cases = cases::all();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| judge(case).err().map(|problem| format!("{}\n  {problem}", case.title())))
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn judge(case: &Case) -> Result<(), String> {
    let schema = schema::of_kind(&case.kind);
    if let Some(old) = &case.old {
        let violations = schema::check(schema, old);
        if !violations.is_empty() {
            return Err(format!("the object before the change is not valid: {violations:?}"));
        }
    }
    let violations = schema::check(schema, &case.new);
    if case.accepted {
        if !violations.is_empty() {
            return Err(format!("the schema refuses it: {violations:?}"));
        }
        return match cel(case)? {
            messages if messages.is_empty() => Ok(()),
            messages => Err(format!("CEL refuses it: {messages:?}")),
        };
    }
    match &case.rule {
        RuleId::Schema { field, keyword } => {
            // A double entry is reported at the entry, a length or a pattern at the field itself.
            let named =
                violations.iter().any(|v| v.keyword == *keyword && v.path.starts_with(field.as_str()));
            if named {
                Ok(())
            } else {
                Err(format!("{keyword} at {field} does not refuse it, but: {violations:?}"))
            }
        }
        RuleId::Cel(message) => {
            if !violations.is_empty() {
                return Err(format!("the schema already refuses it, CEL is not asked: {violations:?}"));
            }
            let messages = cel(case)?;
            if messages.contains(message) {
                Ok(())
            } else {
                Err(format!("the rule does not refuse it, but: {messages:?}"))
            }
        }
    }
}

/// The messages of the CEL rules that are violated.
fn cel(case: &Case) -> Result<BTreeSet<String>, String> {
    let Case { old, new, .. } = case;
    let verdict = match case.kind.as_str() {
        "BillingRegion" => {
            evaluate(old, new, BillingRegion::validate_cel, BillingRegion::validate_cel_update)
        }
        "Meter" => evaluate(old, new, Meter::validate_cel, Meter::validate_cel_update),
        "Plan" => evaluate(old, new, Plan::validate_cel, Plan::validate_cel_update),
        "Tenant" => evaluate(old, new, Tenant::validate_cel, Tenant::validate_cel_update),
        other => panic!("no such kind: {other}"),
    }?;
    Ok(match verdict {
        Ok(()) => BTreeSet::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    })
}

type Verdict = Result<(), ValidationErrors>;

fn evaluate<K: DeserializeOwned>(
    old: &Option<Value>,
    new: &Value,
    create: fn(&K) -> Verdict,
    update: fn(&K, &K) -> Verdict,
) -> Result<Verdict, String> {
    let read = |value: &Value| {
        serde_json::from_value::<K>(value.clone())
            .map_err(|error| format!("the Rust type cannot read it: {error}"))
    };
    let new = read(new)?;
    Ok(match old {
        None => create(&new),
        Some(old) => update(&new, &read(old)?),
    })
}

#[test]
fn every_cel_rule_has_an_accept_case_and_two_reject_cases() {
    let cases = cases::all();
    let mut wrong = Vec::new();
    for kind in ["BillingRegion", "Meter", "Plan", "Tenant"] {
        let mut rules = BTreeSet::new();
        visit(schema::of_kind(kind), "", &mut |path, node| {
            for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message = rule["message"].as_str();
                rules.insert(
                    message.unwrap_or_else(|| panic!("{kind} {path}: a rule without a message")).to_owned(),
                );
            }
        });
        assert!(!rules.is_empty(), "{kind} has rules");
        for message in rules {
            let rule = RuleId::Cel(message);
            let count = |accepted| {
                cases.iter().filter(|c| c.kind == kind && c.rule == rule && c.accepted == accepted).count()
            };
            if count(true) < 1 || count(false) < 2 {
                wrong.push(format!("{kind}: {} accept, {} reject: {rule:?}", count(true), count(false)));
            }
        }
        for case in cases.iter().filter(|case| case.kind == kind) {
            if let RuleId::Schema { field, .. } = &case.rule {
                assert!(node_at(schema::of_kind(kind), field).is_some(), "{kind} has no field {field}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A pattern that is used in twenty places is one rule; so is a set of words or a bound.
#[test]
fn every_pattern_enum_bound_and_format_has_an_accept_case_and_two_reject_cases() {
    let cases = cases::all();
    let mut wrong = Vec::new();
    for kind in ["BillingRegion", "Meter", "Plan", "Tenant"] {
        let schema = schema::of_kind(kind);
        let mut counts: BTreeMap<(String, String), (usize, usize, String)> = BTreeMap::new();
        visit(&schema["properties"]["spec"], "spec", &mut |path, node| {
            for (keyword, value) in constraints(node) {
                counts.entry((keyword, value)).or_default().2 = path.to_owned();
            }
        });
        for case in cases.iter().filter(|case| case.kind == kind) {
            let RuleId::Schema { field, keyword } = &case.rule else { continue };
            let node = node_at(schema, field).unwrap();
            if let Some((_, value)) = constraints(&node).into_iter().find(|(name, _)| name == keyword) {
                let (accepted, rejected, _) = counts.get_mut(&(keyword.clone(), value)).unwrap();
                *if case.accepted { accepted } else { rejected } += 1;
            }
        }
        for ((keyword, value), (accepted, rejected, path)) in counts {
            if accepted < 1 || rejected < 2 {
                wrong.push(format!(
                    "{kind}: {accepted} accept, {rejected} reject: {keyword} {value} (at {path})"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn constraints(node: &Value) -> Vec<(String, String)> {
    ["pattern", "enum", "minimum", "maximum", "format"]
        .into_iter()
        .filter_map(|keyword| node.get(keyword).map(|value| (keyword.to_owned(), value.to_string())))
        // How wide an integer is says nothing that its bounds do not say.
        .filter(|(keyword, value)| !(keyword == "format" && value.starts_with("\"int")))
        .collect()
}

fn node_at(schema: &Value, field: &str) -> Option<Value> {
    cases::steps(field).into_iter().try_fold(schema.clone(), |node, step| match step {
        Step::Key(key) if key == "metadata" => Some(node),
        Step::Key(key) => node["properties"].get(&key).cloned(),
        Step::Index(_) => node.get("items").cloned(),
    })
}

#[test]
fn a_required_field_cannot_be_left_out() {
    let mut tried = BTreeSet::new();
    for case in cases::all().into_iter().filter(|case| case.accepted) {
        let schema = schema::of_kind(&case.kind);
        assert!(
            schema["required"].as_array().unwrap().contains(&"spec".into()),
            "{} needs a spec",
            case.kind
        );
        for pointer in required_pointers(&schema["properties"]["spec"], &case.new["spec"], "/spec") {
            let mut without = case.new.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
            let path = pointer[1..].replace('/', ".");
            let found = schema::check(schema, &without);
            assert!(found.iter().any(|v| v.keyword == "required"), "{} without {path}", case.kind);
            tried.insert((case.kind.clone(), path));
        }
    }
    assert!(tried.len() > 30, "only {} required fields are in the table", tried.len());
}

/// JSON pointers of the required fields that `value` has.
fn required_pointers(schema: &Value, value: &Value, pointer: &str) -> Vec<String> {
    let own = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut found: Vec<String> =
        own.filter(|name| value.get(name).is_some()).map(|name| format!("{pointer}/{name}")).collect();
    for (name, child) in value.as_object().into_iter().flatten() {
        found.extend(required_pointers(&schema["properties"][name], child, &format!("{pointer}/{name}")));
    }
    for (index, child) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(required_pointers(&schema["items"], child, &format!("{pointer}/{index}")));
    }
    found
}

/// The billing crate reads the same specs by its own types. What the API server accepts must mean something there.
#[test]
fn what_the_schema_accepts_the_billing_engine_accepts_too() {
    for case in cases::all().into_iter().filter(|case| case.accepted) {
        let spec = |spec: Result<Value, serde_json::Error>| spec.unwrap();
        let new = case.new.clone();
        let refused = match case.kind.as_str() {
            "BillingRegion" => None,
            "Meter" => {
                let meter: Meter = serde_json::from_value(new).unwrap();
                MeterSpec::from_json(&spec(serde_json::to_value(meter.spec))).err()
            }
            "Plan" => {
                let plan: Plan = serde_json::from_value(new).unwrap();
                PlanSpec::from_json(&spec(serde_json::to_value(plan.spec))).err()
            }
            "Tenant" => {
                let tenant: Tenant = serde_json::from_value(new).unwrap();
                TenantSpec::from_json(&spec(serde_json::to_value(tenant.spec))).err()
            }
            other => panic!("no such kind: {other}"),
        };
        assert!(refused.is_none(), "{}\n  billing refuses it: {}", case.title(), refused.unwrap());
    }
}

/// Calls `visit` with every node of a schema, and the path of the node (`[]` stands for any index).
fn visit(schema: &Value, path: &str, visitor: &mut impl FnMut(&str, &Value)) {
    visitor(path, schema);
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        visit(schema, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, visitor);
    }
    if schema.get("items").is_some() {
        visit(&schema["items"], &format!("{path}[]"), visitor);
    }
}
