//! What a subscription has other than its plan: of a price, any of its fields. A model that is given replaces the plan's model;
//! when a flat price is billed stays as it is where nothing is said of it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::catalogue::{PlanSpec, PriceSpec, SpecError, SpecErrorCode};

/// The fields of a price that are models: a price has one of them.
const MODELS: [&str; 9] = [
    "flat",
    "perUnit",
    "package",
    "graduated",
    "volume",
    "percentage",
    "graduatedPercentage",
    "dynamic",
    "matrix",
];

/// Fields of one price, as they are written in a plan. A field that is null is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideSpec {
    pub price: String,
    fields: Map<String, Value>,
}

impl Serialize for OverrideSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = self.fields.clone();
        fields.insert("price".to_owned(), Value::String(self.price.clone()));
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OverrideSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut fields = Map::deserialize(deserializer)?;
        match fields.remove("price") {
            Some(Value::String(price)) => Ok(Self { price, fields }),
            Some(_) => Err(D::Error::custom("price must be the name of a price")),
            None => Err(D::Error::missing_field("price")),
        }
    }
}

/// The plan as it holds for the subscription. A price that the plan does not have is none of its business: another plan of
/// the subscription may have it (see [`unknown_override`]).
pub fn overridden(plan: &PlanSpec, overrides: &[OverrideSpec]) -> Result<PlanSpec, SpecError> {
    let mut plan = plan.clone();
    for (index, change) in overrides.iter().enumerate() {
        let Some(price) = plan.prices.iter_mut().find(|price| price.name == change.price) else { continue };
        *price = change.of(price).map_err(|error| error.below(&format!("overrides[{index}]")))?;
    }
    plan.validate()?;
    Ok(plan)
}

/// The first override of a price that none of the plans has.
pub fn unknown_override(plans: &[&PlanSpec], overrides: &[OverrideSpec]) -> Option<SpecError> {
    let has = |name: &str| plans.iter().any(|plan| plan.prices.iter().any(|price| price.name == name));
    let index = overrides.iter().position(|change| !has(&change.price))?;
    let detail = format!("no plan of the subscription has a price {:?}", overrides[index].price);
    Some(SpecError::new(format!("overrides[{index}].price"), SpecErrorCode::Missing, detail))
}

impl OverrideSpec {
    fn of(&self, price: &PriceSpec) -> Result<PriceSpec, SpecError> {
        let malformed = |problem: String| SpecError::new("", SpecErrorCode::Malformed, problem);
        let mut fields = match serde_json::to_value(price) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => return Err(malformed("the plan's price cannot be read".to_owned())),
        };
        if self.fields.contains_key("name") {
            return Err(SpecError::new("name", SpecErrorCode::Conflicting, "a price keeps its name"));
        }
        if self.fields.iter().any(|(name, value)| MODELS.contains(&name.as_str()) && !value.is_null()) {
            fields.retain(|name, _| !MODELS.contains(&name.as_str()));
        }
        let billed = price.flat.as_ref().and_then(|flat| serde_json::to_value(flat.billed).ok());
        for (name, value) in &self.fields {
            if value.is_null() {
                fields.remove(name)
            } else {
                fields.insert(name.clone(), value.clone())
            };
        }
        // Another amount of a flat price is no word on when it is billed: in advance stays in advance.
        if let (Some(Value::Object(flat)), Some(billed)) = (fields.get_mut("flat"), billed) {
            flat.entry("billed").or_insert(billed);
        }
        let price: PriceSpec = serde_path_to_error::deserialize(&Value::Object(fields)).map_err(|error| {
            let path = error.path().to_string();
            SpecError::new(
                if path == "." { String::new() } else { path },
                SpecErrorCode::Malformed,
                error.into_inner().to_string(),
            )
        })?;
        price.validate()?;
        Ok(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Billed;

    fn plan() -> PlanSpec {
        serde_saphyr::from_str(
            "{regionRef: {name: eu}, currency: USD, interval: {unit: Month}, prices: [{name: base, flat: {amount: '10'}},
                {name: calls, meterRef: {name: m}, included: '100', perUnit: {amount: '0.01'}}]}",
        )
        .expect("a plan in YAML")
    }

    fn check(overrides: &str) -> String {
        let overrides: Vec<OverrideSpec> = match serde_saphyr::from_str(overrides) {
            Ok(overrides) => overrides,
            Err(error) => return error.to_string(),
        };
        match overridden(&plan(), &overrides) {
            Ok(plan) => serde_json::to_string(&plan.prices[1]).expect("serializes"),
            Err(SpecError { field, detail, .. }) => format!("{field}: {detail}"),
        }
    }

    #[test]
    fn a_field_replaces_the_plans_and_a_model_the_plans_model() {
        assert_eq!(
            check("[{price: calls, included: '500'}]"),
            r#"{"name":"calls","meterRef":{"name":"m"},"included":"500","perUnit":{"amount":"0.01"}}"#
        );
        assert_eq!(
            check("[{price: calls, included: null, package: {size: '10', amount: '1'}}]"),
            r#"{"name":"calls","meterRef":{"name":"m"},"package":{"size":"10","amount":"1","rounding":"Up"}}"#
        );
        assert_eq!(
            check("[{price: calls, discount: {percent: '10'}}]"),
            r#"{"name":"calls","meterRef":{"name":"m"},"included":"100","perUnit":{"amount":"0.01"},"discount":{"percent":"10"}}"#
        );
    }

    #[test]
    fn another_amount_is_billed_when_the_plans_amount_is() {
        let mut plan = plan();
        let advance = "{name: base, flat: {amount: '10', billed: InAdvance}}";
        plan.prices[0] = serde_saphyr::from_str(advance).expect("a price in YAML");
        for (overrides, expected) in [
            ("[{price: base, flat: {amount: '8'}}]", r#"{"amount":"8","billed":"InAdvance"}"#),
            ("[{price: base, flat: {amount: '8', billed: OneTime}}]", r#"{"amount":"8","billed":"OneTime"}"#),
            ("[{price: calls, perUnit: null, meterRef: null, included: null, flat: {amount: '8'}}]", "calls"),
        ] {
            let overrides: Vec<OverrideSpec> = serde_saphyr::from_str(overrides).expect("YAML");
            let plan = overridden(&plan, &overrides).expect("valid");
            match expected {
                "calls" => {
                    assert_eq!(plan.prices[1].flat.as_ref().map(|flat| flat.billed), Some(Billed::InArrears))
                }
                flat => assert_eq!(serde_json::to_string(&plan.prices[0].flat).expect("serializes"), flat),
            }
        }
    }

    #[test]
    fn a_mistake_names_its_field() {
        assert_eq!(
            check("[{price: base, flat: {amount: '-1'}}]"),
            "overrides[0].flat.amount: must not be negative: a discount is not a price"
        );
        assert_eq!(check("[{price: calls, name: other}]"), "overrides[0].name: a price keeps its name");
        assert!(check("[{price: calls, ladder: {}}]").starts_with("overrides[0].ladder: unknown field"));
        assert!(check("[{included: '1'}]").contains("missing field `price`"));
        let overrides: Vec<OverrideSpec> =
            serde_saphyr::from_str("[{price: nothing, included: '1'}]").expect("YAML");
        let error = unknown_override(&[&plan()], &overrides).expect("unknown");
        assert_eq!(
            error.to_string(),
            "overrides[0].price: no plan of the subscription has a price \"nothing\""
        );
    }
}
