//! A subscription as it is written down, all of it: in `simulate` files and on the API.
//!
//! [`SubscriptionSpec`] lists the fields of [`CustomTerms`] beside the plan, the time and the grants, which on the API are the
//! subscription's and the customer's own. Nothing is decided here; the first mistake is named by its field.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    custom_terms::{CustomTerms, Frame},
    overrides::OverrideSpec,
    terms::{BillingAnchor, Proration},
    terms_spec::{AddOnSpec, ChangeSpec, QuantitySpec, TermsSpec, TrialSpec},
    threshold::ThresholdSpec,
};
use crate::{
    catalogue::{NameRef, SpecError, SpecErrorCode},
    coupon::CouponSpec,
    ledger::{GrantSpec, Overage},
    tax::{TaxRateSpec, TaxRounding},
};

/// Most coupons, tax rates, grants, thresholds and overrides of one subscription.
pub const ADJUSTMENTS_MAX: usize = 100;

/// `Subscription.spec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionSpec {
    pub plan_ref: NameRef,
    pub start: Timestamp,
    /// The first instant that is no longer billed. Absent: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// An IANA name.
    #[serde(default = "utc")]
    pub time_zone: String,
    #[serde(default)]
    pub anchor: BillingAnchor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantities: Vec<QuantitySpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_ons: Vec<AddOnSpec>,
    #[serde(default)]
    pub proration: Proration,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeSpec>,
    /// What is other than in the plan, by price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OverrideSpec>,
    /// In the order in which they apply; redeemed at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coupons: Vec<CouponSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_rates: Vec<TaxRateSpec>,
    #[serde(default)]
    pub tax_rounding: TaxRounding,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantSpec>,
    /// What becomes of what no grant covers.
    #[serde(default)]
    pub overage: Overage,
    /// Usage of a period is billed before its end whenever it reaches one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdSpec>,
    #[serde(default)]
    pub zero_invoices: ZeroInvoices,
    #[serde(default)]
    pub first_invoice: FirstInvoice,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What becomes of an invoice that asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ZeroInvoices {
    #[default]
    Emit,
    /// It is not made, unless a line of it says something other than nothing.
    Skip,
}

/// When what the first period is charged in advance, and once, is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum FirstInvoice {
    /// With the first period's invoice, when that period is over.
    #[default]
    WithPeriod,
    /// By an invoice of its own when billing starts.
    AtStart,
}

impl SubscriptionSpec {
    /// Checks everything that the document alone shows.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.terms().validate()?;
        self.custom().validate()?;
        for (index, grant) in self.grants.iter().enumerate() {
            grant.validate().map_err(|error| error.below(&format!("grants[{index}]")))?;
        }
        distinct("grants", self.grants.iter().map(|grant| grant.name.as_str()))
    }

    /// The part that decides periods.
    pub fn terms(&self) -> TermsSpec {
        let Self { plan_ref, start, end, time_zone, anchor, .. } = self;
        let frame = Frame { plan: &plan_ref.name, start: *start, end: *end, time_zone, anchor: *anchor };
        self.custom().terms_spec(frame)
    }

    /// All that is the subscription's own beside its plan and its time.
    pub fn custom(&self) -> CustomTerms {
        let Self {
            plan_ref: _,
            start: _,
            end: _,
            time_zone: _,
            anchor: _,
            trial,
            quantities,
            add_ons,
            proration,
            changes,
            overrides,
            coupons,
            tax_rates,
            tax_rounding,
            grants: _,
            overage,
            thresholds,
            zero_invoices,
            first_invoice,
        } = self.clone();
        CustomTerms {
            trial,
            quantities,
            add_ons,
            proration,
            changes,
            overrides,
            coupons,
            tax_rates,
            tax_rounding,
            overage,
            thresholds,
            zero_invoices,
            first_invoice,
        }
    }
}

pub(super) fn distinct<'a>(
    list: &str,
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Result<(), SpecError> {
    if names.len() > ADJUSTMENTS_MAX {
        return Err(too_many(list));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            let detail = format!("{name:?} is in the list twice");
            return Err(SpecError::new(format!("{list}[{index}]"), SpecErrorCode::InvalidName, detail));
        }
    }
    Ok(())
}

pub(super) fn too_many(list: &str) -> SpecError {
    let detail = format!("at most {ADJUSTMENTS_MAX} are possible");
    SpecError::new(list, SpecErrorCode::OutOfRange, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rest: &str) -> Result<SubscriptionSpec, String> {
        let yaml = format!("{{planRef: {{name: p}}, start: '2026-03-01T00:00:00Z'{rest}}}");
        let spec: SubscriptionSpec = serde_saphyr::from_str(&yaml).map_err(|error| error.to_string())?;
        spec.validate().map_err(|SpecError { field, code, detail }| format!("{field} {code:?}: {detail}"))?;
        Ok(spec)
    }

    #[test]
    fn a_mistake_names_its_field() {
        for (rest, expected) in [
            (", thresholds: [{amount: '0'}]", "thresholds[0].amount OutOfRange: must be above zero"),
            (
                ", thresholds: [{amount: '1', recurring: true}, {amount: '2', recurring: true}]",
                "thresholds[1].recurring Conflicting: one threshold recurs already",
            ),
            (
                ", coupons: [{name: a, percent: '10'}, {name: a, percent: '20'}]",
                "coupons[1] InvalidName: \"a\" is in the list twice",
            ),
            (
                ", timeZone: Mars/Olympus",
                "timeZone UnknownTimeZone: \"Mars/Olympus\" is not a time zone of the IANA database, such as \"Europe/Berlin\"",
            ),
        ] {
            assert_eq!(spec(rest).expect_err(rest), expected);
        }
        assert!(spec(", coupons: [{name: a}]").expect_err("no amount").starts_with("coupons[0]"));
        assert!(
            spec(", taxRates: [{name: a, percent: '-1'}]")
                .expect_err("negative")
                .starts_with("taxRates[0].percent")
        );
        assert!(
            spec(", grants: [{name: a, amount: '0', effectiveAt: '2026-03-01T00:00:00Z'}]")
                .expect_err("zero")
                .starts_with("grants[0].amount")
        );
    }
}
