//! What a subscription has of its own beside its plan: seats, other prices, coupons, taxes. The part of a Subscription document
//! that moves no period, as the API takes it and the records keep it.

use serde::{Deserialize, Serialize};

use super::{OverrideSpec, QuantitySpec};
use crate::{
    catalogue::{SpecError, SpecErrorCode},
    coupon::CouponSpec,
    decimal::Quantity,
    ids::PriceName,
    tax::{TaxRateSpec, TaxRounding},
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomTerms {
    /// By how much the flat amount of a price is multiplied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantities: Vec<QuantitySpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideSpec>,
    /// In the order in which they apply; redeemed at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<CouponSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_rates: Vec<TaxRateSpec>,
    #[serde(default)]
    pub tax_rounding: TaxRounding,
}

impl CustomTerms {
    /// Checks everything that the terms alone show, and names the field of the first mistake.
    pub fn from_json(terms: &serde_json::Value) -> Result<Self, SpecError> {
        let terms: Self = crate::catalogue::read_shape(terms)?;
        terms.validate()?;
        Ok(terms)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        let Self { quantities, overrides, coupons, tax_rates, tax_rounding: _ } = self;
        for (index, taken) in quantities.iter().enumerate() {
            let below = |error: SpecError| error.below(&format!("quantities[{index}]"));
            if taken.quantity.is_negative() {
                let detail = "must not be negative";
                return Err(below(SpecError::new("quantity", SpecErrorCode::OutOfRange, detail)));
            }
            price_name(&taken.price).map_err(below)?;
        }
        for (index, coupon) in coupons.iter().enumerate() {
            coupon.validate().map_err(|error| error.below(&format!("coupons[{index}]")))?;
        }
        for (index, rate) in tax_rates.iter().enumerate() {
            rate.validate().map_err(|error| error.below(&format!("taxRates[{index}]")))?;
        }
        super::document::distinct("quantities", quantities.iter().map(|taken| taken.price.as_str()))?;
        super::document::distinct("overrides", overrides.iter().map(|change| change.price.as_str()))?;
        super::document::distinct("coupons", coupons.iter().map(|coupon| coupon.name.as_str()))?;
        super::document::distinct("taxRates", tax_rates.iter().map(|rate| rate.name.as_str()))
    }

    /// Quantities by price. The terms are valid.
    pub fn quantities(&self) -> Result<std::collections::BTreeMap<PriceName, Quantity>, SpecError> {
        self.quantities.iter().map(|taken| Ok((price_name(&taken.price)?, taken.quantity))).collect()
    }
}

fn price_name(name: &str) -> Result<PriceName, SpecError> {
    PriceName::new(name).map_err(|error| SpecError::new("price", SpecErrorCode::InvalidName, error.problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> String {
        let json: serde_json::Value = serde_saphyr::from_str(yaml).expect("YAML");
        match CustomTerms::from_json(&json) {
            Ok(terms) => serde_json::to_string(&terms).expect("serializes"),
            Err(SpecError { field, detail, .. }) => format!("{field}: {detail}"),
        }
    }

    #[test]
    fn terms_are_written_back_as_they_were_and_mistakes_name_their_field() {
        for (yaml, expected) in [
            ("{}", r#"{"taxRounding":"Invoice"}"#),
            (
                "{quantities: [{price: seats, quantity: '5'}], taxRates: [{name: vat, percent: '19'}]}",
                r#"{"quantities":[{"price":"seats","quantity":"5"}],"taxRates":[{"name":"vat","percent":"19","inclusive":false}],"taxRounding":"Invoice"}"#,
            ),
            (
                "{quantities: [{price: seats, quantity: '-5'}]}",
                "quantities[0].quantity: must not be negative",
            ),
            (
                "{quantities: [{price: a, quantity: '1'}, {price: a, quantity: '1'}]}",
                "quantities[1]: \"a\" is in the list twice",
            ),
            ("{taxRates: [{name: vat, percent: '1000'}]}", "taxRates[0].percent: must be at most 100"),
        ] {
            let found = check(yaml);
            assert!(
                found == expected
                    || (expected.starts_with("taxRates") && found.starts_with("taxRates[0].percent")),
                "{found}"
            );
        }
    }
}
