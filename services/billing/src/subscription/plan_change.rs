//! What differs between two versions of a plan, price by price, for the preview of a plan change.
//!
//! The comparison goes over the plan as it is written down and knows two fields by name: the list of prices, and
//! `updatePolicy`, which it leaves out, because that says whom a version moves and nothing of what it bills. A field that a
//! plan gets tomorrow is compared the day it exists. It says what changes, never what that costs: amounts come from
//! invoice.rs, run once with each version. The order of prices alone is no change. Neighbour: plan_versions.rs says who
//! moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue::{PlanSpec, PriceSpec};

/// One difference. Displayed, it is a sentence without its full stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", deny_unknown_fields)]
pub enum PlanChange {
    /// A field of the plan besides its prices.
    PlanField(FieldChange),
    PriceAdded {
        price: String,
    },
    PriceRemoved {
        price: String,
    },
    /// A price that both versions have, by its name.
    PriceChanged {
        price: String,
        fields: Vec<FieldChange>,
    },
}

/// A field that was set, unset, or has another value. Values are shown as YAML has them on one line: `{unit: Month, count: 1}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Path below the plan or the price, such as `graduated.tiers[1].unitAmount`.
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// From the plan's own fields to its prices: those that are gone or differ in the order of `before`, then the new ones.
/// Empty when both versions bill alike.
pub fn plan_changes(before: &PlanSpec, after: &PlanSpec) -> Vec<PlanChange> {
    let mut fields = Vec::new();
    compare_objects("", &own_fields(before), &own_fields(after), &mut fields);
    let mut changes: Vec<PlanChange> = fields.into_iter().map(PlanChange::PlanField).collect();

    let mut new: BTreeMap<&str, &PriceSpec> = by_name(after);
    for price in &before.prices {
        let name = price.name.clone();
        match new.remove(name.as_str()) {
            Some(now) => changes.extend(price_change(price, now)),
            None => changes.push(PlanChange::PriceRemoved { price: name }),
        }
    }
    let added = after.prices.iter().filter(|price| new.contains_key(price.name.as_str()));
    changes.extend(added.map(|price| PlanChange::PriceAdded { price: price.name.clone() }));
    changes
}

fn by_name(plan: &PlanSpec) -> BTreeMap<&str, &PriceSpec> {
    plan.prices.iter().map(|price| (price.name.as_str(), price)).collect()
}

fn price_change(before: &PriceSpec, after: &PriceSpec) -> Option<PlanChange> {
    let mut fields = Vec::new();
    compare_objects("", &written(before), &written(after), &mut fields);
    if fields.is_empty() {
        return None;
    }
    Some(PlanChange::PriceChanged { price: before.name.clone(), fields })
}

/// Those that bill, without the prices.
fn own_fields(plan: &PlanSpec) -> Map<String, Value> {
    let mut fields = written(plan);
    fields.remove("prices");
    fields.remove("updatePolicy");
    fields
}

fn written<T: Serialize>(spec: &T) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        Ok(other) => unreachable!("a spec is a struct, not {other}"),
        Err(error) => unreachable!("a spec has strings and string keys alone: {error}"),
    }
}

fn compare_objects(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<FieldChange>,
) {
    // Sorted, whatever order the maps keep.
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(&path, before.get(key), after.get(key), changes);
    }
}

/// Goes down as long as both sides have the same shape, so that a change is named by the deepest field that holds it.
fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            compare_objects(path, before, after, changes);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(&format!("{path}[{index}]"), before.get(index), after.get(index), changes);
            }
        }
        (before, after) => {
            let (before, after) = (before.map(show), after.map(show));
            changes.push(FieldChange { field: path.to_owned(), before, after });
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let shown: Vec<String> =
                sorted.into_iter().map(|(key, value)| format!("{key}: {}", show(value))).collect();
            format!("{{{}}}", shown.join(", "))
        }
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", shown.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

impl fmt::Display for PlanChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlanField(field) => field.fmt(f),
            Self::PriceAdded { price } => write!(f, "price {price} is added"),
            Self::PriceRemoved { price } => write!(f, "price {price} is removed"),
            Self::PriceChanged { price, fields } => {
                let fields: Vec<String> = fields.iter().map(FieldChange::to_string).collect();
                write!(f, "price {price}: {}", fields.join("; "))
            }
        }
    }
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(f, "{field} changes from {before} to {after}"),
            (None, Some(after)) => write!(f, "{field} is set to {after}"),
            (Some(before), None) => write!(f, "{field} is taken away, it was {before}"),
            (None, None) => write!(f, "{field} does not change"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(fields: &str) -> PlanSpec {
        serde_saphyr::from_str(&format!("{{regionRef: {{name: eu}}, {fields}}}")).expect("a plan")
    }

    fn sentences(before: &str, after: &str) -> Vec<String> {
        plan_changes(&plan(before), &plan(after)).iter().map(PlanChange::to_string).collect()
    }

    const MONTHLY: &str = "currency: USD, interval: {unit: Month}";

    #[test]
    fn prices_are_compared_by_name_wherever_they_stand() {
        let before = format!(
            "{MONTHLY}, prices: [{{name: base, flat: {{amount: '100'}}}}, {{name: gone, flat: {{amount: '1'}}}},
             {{name: calls, meterRef: {{name: calls}}, included: '10', perUnit: {{amount: '0.01'}}, maximum: '50'}}]"
        );
        let after = format!(
            "{MONTHLY}, prices: [{{name: new, flat: {{amount: '1'}}}}, {{name: also-new, flat: {{amount: '1'}}}},
             {{name: calls, meterRef: {{name: calls}}, included: '20', perUnit: {{amount: '0.02'}}, minimum: '5'}},
             {{name: base, flat: {{amount: '100'}}}}]"
        );
        assert_eq!(
            sentences(&before, &after),
            [
                "price gone is removed",
                "price calls: included changes from 10 to 20; maximum is taken away, it was 50; minimum is set to 5; \
                 perUnit.amount changes from 0.01 to 0.02",
                "price new is added",
                "price also-new is added",
            ]
        );
    }

    #[test]
    fn another_model_and_another_tier_are_named_by_their_deepest_field() {
        let calls =
            |model: &str| format!("{MONTHLY}, prices: [{{name: calls, meterRef: {{name: calls}}, {model}}}]");
        let tiers = |tiers: &str| calls(&format!("graduated: {{tiers: [{tiers}]}}"));
        assert_eq!(
            sentences(
                &calls("perUnit: {amount: '0.01'}"),
                &calls("package: {size: '100', amount: '1', freeUnits: '5'}")
            ),
            ["price calls: package is set to {amount: 1, freeUnits: 5, rounding: Up, size: 100}; \
              perUnit is taken away, it was {amount: 0.01}"]
        );
        assert_eq!(
            sentences(
                &tiers("{upTo: '10', unitAmount: '3'}, {unitAmount: '2'}"),
                &tiers("{upTo: '10', unitAmount: '3'}, {upTo: '20', unitAmount: '2'}, {unitAmount: '1'}")
            ),
            [
                "price calls: graduated.tiers[1].upTo is set to 20; graduated.tiers[2] is set to {unitAmount: 1}"
            ]
        );
    }

    #[test]
    fn the_plans_own_fields_come_first() {
        let prices = "prices: [{name: base, flat: {amount: '100'}}]";
        assert_eq!(
            sentences(
                &format!("{MONTHLY}, {prices}"),
                &format!("currency: EUR, interval: {{unit: Month, count: 3}}, description: Base, {prices}")
            ),
            [
                "currency changes from USD to EUR",
                "description is set to Base",
                "interval.count changes from 1 to 3"
            ]
        );
    }

    #[test]
    fn versions_that_bill_alike_have_no_changes() {
        let prices = "prices: [{name: a, flat: {amount: '1'}}, {name: b, flat: {amount: '2'}}]";
        let other =
            "prices: [{name: b, flat: {amount: '2.00', billed: InArrears}}, {name: a, flat: {amount: '1'}}]";
        let interval = "interval: {unit: Month, count: 1}";
        let before = format!("{MONTHLY}, {prices}");
        let after = format!("currency: USD, {interval}, {other}");
        assert_eq!(sentences(&before, &after), Vec::<String>::new());
        let moved = format!("{after}, updatePolicy: Immediate");
        assert_eq!(sentences(&before, &moved), Vec::<String>::new(), "whom a version moves is not billed");
        assert_eq!(plan(&before).as_billed(), plan(&format!("{moved}, description: Base")).as_billed());
        assert_ne!(plan(&before).as_billed(), plan(&format!("{after}, minimum: '5'")).as_billed());
    }

    #[test]
    fn changes_come_back_from_json() {
        let before = plan(&format!("{MONTHLY}, prices: [{{name: a, flat: {{amount: '1'}}}}]"));
        let after = plan("currency: EUR, interval: {unit: Month}, prices: [{name: a, flat: {amount: '2'}}]");
        let changes = plan_changes(&before, &after);
        let json = serde_json::to_string(&changes).expect("serializes");
        assert_eq!(
            json,
            r#"[{"kind":"planField","field":"currency","before":"USD","after":"EUR"},{"kind":"priceChanged","price":"a","fields":[{"field":"flat.amount","before":"1","after":"2"}]}]"#
        );
        assert_eq!(serde_json::from_str::<Vec<PlanChange>>(&json).expect("the same shape"), changes);
    }
}
