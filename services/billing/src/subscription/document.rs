//! A subscription as it is written down, all of it: in `simulate` files and on the API.
//!
//! [`SubscriptionSpec`] lists the fields of [`TermsSpec`] (when and what is billed) beside what adjusts its invoices. Nothing
//! is decided here; the first mistake is named by its field.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    overrides::OverrideSpec,
    terms::{BillingAnchor, Proration},
    terms_spec::{AddOnSpec, ChangeSpec, QuantitySpec, TermsSpec, TrialSpec},
};
use crate::{
    catalogue::{NameRef, SpecError, SpecErrorCode},
    coupon::CouponSpec,
    decimal::Amount,
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
}

fn utc() -> String {
    "UTC".to_owned()
}

/// An amount of usage in a period, before discounts, credits and taxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThresholdSpec {
    pub amount: Amount,
    /// After the highest of the others: again and again, so far apart. At most one threshold recurs.
    #[serde(default)]
    pub recurring: bool,
}

/// What becomes of an invoice that asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ZeroInvoices {
    #[default]
    Emit,
    /// It is not made, unless a line of it says something other than nothing.
    Skip,
}

impl SubscriptionSpec {
    /// Checks everything that the document alone shows.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.terms().validate()?;
        for (index, coupon) in self.coupons.iter().enumerate() {
            coupon.validate().map_err(|error| error.below(&format!("coupons[{index}]")))?;
        }
        for (index, rate) in self.tax_rates.iter().enumerate() {
            rate.validate().map_err(|error| error.below(&format!("taxRates[{index}]")))?;
        }
        for (index, grant) in self.grants.iter().enumerate() {
            grant.validate().map_err(|error| error.below(&format!("grants[{index}]")))?;
        }
        distinct("coupons", self.coupons.iter().map(|coupon| coupon.name.as_str()))?;
        distinct("taxRates", self.tax_rates.iter().map(|rate| rate.name.as_str()))?;
        distinct("grants", self.grants.iter().map(|grant| grant.name.as_str()))?;
        distinct("overrides", self.overrides.iter().map(|change| change.price.as_str()))?;
        self.validate_thresholds()
    }

    fn validate_thresholds(&self) -> Result<(), SpecError> {
        if self.thresholds.len() > ADJUSTMENTS_MAX {
            return Err(too_many("thresholds"));
        }
        let mut recurring = 0;
        for (index, threshold) in self.thresholds.iter().enumerate() {
            if threshold.amount <= Amount::ZERO {
                let field = format!("thresholds[{index}].amount");
                return Err(SpecError::new(field, SpecErrorCode::OutOfRange, "must be above zero"));
            }
            recurring += usize::from(threshold.recurring);
            if recurring > 1 {
                let field = format!("thresholds[{index}].recurring");
                return Err(SpecError::new(
                    field,
                    SpecErrorCode::Conflicting,
                    "one threshold recurs already",
                ));
            }
        }
        Ok(())
    }

    /// The part that decides periods.
    pub fn terms(&self) -> TermsSpec {
        let Self {
            plan_ref,
            start,
            end,
            time_zone,
            anchor,
            trial,
            quantities,
            add_ons,
            proration,
            changes,
            overrides: _,
            coupons: _,
            tax_rates: _,
            tax_rounding: _,
            grants: _,
            overage: _,
            thresholds: _,
            zero_invoices: _,
        } = self;
        TermsSpec {
            plan_ref: plan_ref.clone(),
            start: *start,
            end: *end,
            time_zone: time_zone.clone(),
            anchor: *anchor,
            trial: trial.clone(),
            quantities: quantities.clone(),
            add_ons: add_ons.clone(),
            proration: *proration,
            changes: changes.clone(),
        }
    }

    /// The amount of usage at which the next invoice within a period is due, after `billed` of it; none without thresholds.
    pub fn next_threshold(&self, billed: Amount) -> Result<Option<Amount>, crate::decimal::Overflow> {
        let mut fixed: Vec<Amount> = self
            .thresholds
            .iter()
            .filter(|threshold| !threshold.recurring)
            .map(|threshold| threshold.amount)
            .collect();
        fixed.sort();
        if let Some(next) = fixed.iter().find(|amount| **amount > billed) {
            return Ok(Some(*next));
        }
        let Some(step) = self.thresholds.iter().find(|threshold| threshold.recurring) else {
            return Ok(None);
        };
        let mut next = fixed.last().copied().unwrap_or_default().checked_add(step.amount)?;
        while next <= billed {
            next = next.checked_add(step.amount)?;
        }
        Ok(Some(next))
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

fn too_many(list: &str) -> SpecError {
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

    #[test]
    fn thresholds_follow_one_another_and_then_recur() {
        let spec = spec(", thresholds: [{amount: '500'}, {amount: '100'}, {amount: '200', recurring: true}]")
            .expect("valid");
        for (billed, next) in
            [("0", "100"), ("99.99", "100"), ("100", "500"), ("500", "700"), ("700", "900"), ("1234", "1300")]
        {
            let billed: Amount = billed.parse().expect("a decimal");
            assert_eq!(
                spec.next_threshold(billed).expect("fits"),
                Some(next.parse().expect("a decimal")),
                "{billed}"
            );
        }
        let once = self::spec(", thresholds: [{amount: '100'}]").expect("valid");
        assert_eq!(once.next_threshold("100".parse().expect("a decimal")).expect("fits"), None);
    }
}
