//! What a subscription has of its own beside its plan and its time: trial, seats, add-ons, dated changes, other prices, coupons,
//! taxes, thresholds. The API takes it as `terms` and the records keep it; in a Subscription document its fields stand among
//! the others.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    document::{FirstInvoice, ZeroInvoices, distinct},
    overrides::OverrideSpec,
    terms::{BillingAnchor, Proration},
    terms_spec::{AddOnSpec, ChangeSpec, QuantitySpec, TermsSpec, TrialSpec},
    threshold::{self, ThresholdSpec},
};
use crate::{
    catalogue::{NameRef, SpecError, SpecErrorCode},
    coupon::CouponSpec,
    ids::PriceName,
    ledger::Overage,
    tax::{TaxRateSpec, TaxRounding},
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomTerms {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialSpec>,
    /// By how much the flat amount of a price is multiplied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantities: Vec<QuantitySpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_ons: Vec<AddOnSpec>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub proration: Proration,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideSpec>,
    /// In the order in which they apply; redeemed at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<CouponSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_rates: Vec<TaxRateSpec>,
    #[serde(default)]
    pub tax_rounding: TaxRounding,
    /// What becomes of what no grant covers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overage: Overage,
    /// Usage of a period is billed before its end whenever it reaches one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdSpec>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub zero_invoices: ZeroInvoices,
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_invoice: FirstInvoice,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What of a subscription is not its own terms, but decides its periods with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The plan's name.
    pub plan: &'a str,
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    /// An IANA name.
    pub time_zone: &'a str,
    pub anchor: BillingAnchor,
}

impl CustomTerms {
    /// Checks everything that the terms alone show, and names the field of the first mistake. What depends on the
    /// subscription's time is checked by [`CustomTerms::terms_spec`] and what it leads to.
    pub fn from_json(terms: &serde_json::Value) -> Result<Self, SpecError> {
        let terms: Self = crate::catalogue::read_shape(terms)?;
        terms.validate()?;
        Ok(terms)
    }

    pub fn validate(&self) -> Result<(), SpecError> {
        let Self {
            trial: _,
            quantities,
            add_ons: _,
            proration: _,
            changes: _,
            overrides,
            coupons,
            tax_rates,
            tax_rounding: _,
            overage: _,
            thresholds,
            zero_invoices: _,
            first_invoice: _,
        } = self;
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
        distinct("quantities", quantities.iter().map(|taken| taken.price.as_str()))?;
        distinct("overrides", overrides.iter().map(|change| change.price.as_str()))?;
        distinct("coupons", coupons.iter().map(|coupon| coupon.name.as_str()))?;
        distinct("taxRates", tax_rates.iter().map(|rate| rate.name.as_str()))?;
        threshold::validate(thresholds)
    }

    /// What decides the periods of a subscription of this frame.
    pub fn terms_spec(&self, frame: Frame<'_>) -> TermsSpec {
        let Frame { plan, start, end, time_zone, anchor } = frame;
        TermsSpec {
            plan_ref: NameRef { name: plan.to_owned() },
            start,
            end,
            time_zone: time_zone.to_owned(),
            anchor,
            trial: self.trial.clone(),
            quantities: self.quantities.clone(),
            add_ons: self.add_ons.clone(),
            proration: self.proration,
            changes: self.changes.clone(),
        }
    }

    /// Puts a change among the others: behind those of the same instant.
    pub fn add_change(&mut self, change: ChangeSpec) {
        let place = self.changes.partition_point(|known| known.at <= change.at);
        self.changes.insert(place, change);
    }

    /// Every plan that is named beside the one that the subscription begins with.
    pub fn plans_named(&self) -> impl Iterator<Item = &str> {
        let of_changes = self.changes.iter().flat_map(|change| {
            let add_ons = change.add_ons.iter().flatten().map(|add_on| add_on.plan_ref.name.as_str());
            change.plan_ref.iter().map(|plan| plan.name.as_str()).chain(add_ons)
        });
        self.add_ons.iter().map(|add_on| add_on.plan_ref.name.as_str()).chain(of_changes)
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
