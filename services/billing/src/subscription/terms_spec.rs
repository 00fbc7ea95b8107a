//! A subscription's terms as they are written down, in `simulate` files and on the API: the part of a Subscription document
//! that decides its periods. Coupons, taxes, grants and the like are the document's other fields and unknown here.
//!
//! The document lists these fields among its own and builds a [`TermsSpec`]. It does not flatten one: serde then reads through
//! floats, which this crate does not have, and loses the path of a mistyped field.
//! [`TermsSpec::to_terms`] checks everything that the text alone shows and names the field of the first mistake.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Span, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::terms::{AddOn, Amendment, BillingAnchor, Cancel, Change, Effect, Proration, Terms, Turn, When};
use crate::{
    catalogue::{NameRef, SpecError, SpecErrorCode, read_shape},
    decimal::Quantity,
    ids::{PlanName, PriceName},
    period,
};

/// Most changes of one subscription, and most quantities and add-ons at a time.
pub const CHANGES_MAX: usize = 1000;
pub const QUANTITIES_MAX: usize = 100;
pub const ADD_ONS_MAX: usize = 100;
const TRIAL_DAYS_MAX: u32 = 3650;

/// The fields of a subscription that decide its periods. Times are whole microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TermsSpec {
    pub plan_ref: NameRef,
    pub start: Timestamp,
    /// The first instant that is no longer billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// IANA name.
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
    /// In order of `at`; those of one instant take effect in the order of the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeSpec>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// How long nothing is billed from the start: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrialSpec {
    /// Civil days in the subscription's zone: the trial ends at the start's time of day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
}

/// How often a price's flat amount is charged: seats, licences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuantitySpec {
    pub price: String,
    pub quantity: Quantity,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddOnSpec {
    pub plan_ref: NameRef,
    /// Absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
}

/// What changes at an instant: at least one of the fields between `at` and `when`; `cancel` stands alone and last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeSpec {
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_ref: Option<NameRef>,
    /// Of these prices; others keep theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantities: Option<Vec<QuantitySpec>>,
    /// The whole new list; an empty one removes all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_ons: Option<Vec<AddOnSpec>>,
    /// Only `true` can be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<bool>,
    /// Only `true` can be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    #[serde(default)]
    pub when: When,
}

impl TermsSpec {
    pub fn validate(&self) -> Result<(), SpecError> {
        self.to_terms().map(drop)
    }

    pub fn to_terms(&self) -> Result<Terms, SpecError> {
        let Self { plan_ref, start, end, time_zone, anchor, trial, quantities, add_ons, proration, changes } =
            self;
        let zone = period::zone(time_zone).map_err(|_| {
            let detail =
                format!("{time_zone:?} is not a time zone of the IANA database, such as \"Europe/Berlin\"");
            SpecError::new("timeZone", SpecErrorCode::UnknownTimeZone, detail)
        })?;
        whole_micros("start", *start)?;
        if let Some(end) = *end {
            whole_micros("end", end)?;
            if end <= *start {
                return Err(out_of_range("end", "must be after start"));
            }
        }
        let billing_start = match trial {
            Some(trial) => trial.ends_at(*start, &zone).map_err(|error| error.below("trial"))?,
            None => *start,
        };
        Ok(Terms {
            plan: plan_name(plan_ref)?,
            quantities: quantity_map(quantities)?,
            add_ons: add_on_list(add_ons)?,
            billing_start,
            end: *end,
            time_zone: time_zone.clone(),
            zone,
            anchor: *anchor,
            proration: *proration,
            changes: change_list(changes, *start, *end)?,
        })
    }
}

impl TrialSpec {
    fn ends_at(&self, start: Timestamp, zone: &TimeZone) -> Result<Timestamp, SpecError> {
        match (self.days, self.end) {
            (Some(days @ 1..=TRIAL_DAYS_MAX), None) => {
                let local = zone.to_datetime(start).checked_add(Span::new().days(i64::from(days)));
                let end = local.and_then(|local| zone.to_ambiguous_timestamp(local).compatible());
                end.map_err(|_| {
                    out_of_range("days", "the trial ends outside the years that can be represented")
                })
            }
            (Some(_), None) => Err(out_of_range("days", format!("must be 1 to {TRIAL_DAYS_MAX}"))),
            (None, Some(end)) if end <= start => Err(out_of_range("end", "must be after start")),
            (None, Some(end)) => whole_micros("end", end).map(|()| end),
            (None, None) => Err(SpecError::new("", SpecErrorCode::Missing, "give days or end")),
            (Some(_), Some(_)) => {
                Err(SpecError::new("", SpecErrorCode::Conflicting, "has both days and end: give one"))
            }
        }
    }
}

fn change_list(
    changes: &[ChangeSpec],
    start: Timestamp,
    end: Option<Timestamp>,
) -> Result<Vec<Change>, SpecError> {
    if changes.len() > CHANGES_MAX {
        return Err(out_of_range("changes", format!("at most {CHANGES_MAX} changes are possible")));
    }
    let mut list: Vec<Change> = Vec::with_capacity(changes.len());
    for (index, spec) in changes.iter().enumerate() {
        let after = list.last();
        let change = spec.to_change(after, start, end);
        list.push(change.map_err(|error| error.below(&format!("changes[{index}]")))?);
    }
    Ok(list)
}

impl ChangeSpec {
    /// A change at an instant, which is still to say what it changes.
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            plan_ref: None,
            quantities: None,
            add_ons: None,
            pause: None,
            resume: None,
            cancel: None,
            when: When::Immediate,
        }
    }

    /// One change by itself; where it stands among the others is checked with them.
    pub fn from_json(change: &serde_json::Value) -> Result<Self, SpecError> {
        let change: Self = read_shape(change)?;
        whole_micros("at", change.at)?;
        change.effect()?;
        Ok(change)
    }

    fn to_change(
        &self,
        after: Option<&Change>,
        start: Timestamp,
        end: Option<Timestamp>,
    ) -> Result<Change, SpecError> {
        whole_micros("at", self.at)?;
        if self.at < start {
            return Err(out_of_range("at", format!("is before the subscription's start, {start}")));
        }
        if let Some(end) = end.filter(|end| *end <= self.at) {
            return Err(out_of_range("at", format!("is not before the subscription's end, {end}")));
        }
        match after {
            Some(Change { at, effect: _ }) if self.at < *at => {
                return Err(out_of_range("at", format!("is before the change above it, at {at}")));
            }
            Some(Change { at, effect: Effect::Cancel(Cancel::AtOnce | Cancel::AtPeriodEnd) }) => {
                let detail = format!("comes after the cancellation at {at}, which ends the subscription");
                return Err(SpecError::new("", SpecErrorCode::Conflicting, detail));
            }
            Some(Change { at: _, effect: Effect::Amend { amendment: _, when: _ } }) | None => {}
        }
        Ok(Change { at: self.at, effect: self.effect()? })
    }

    fn effect(&self) -> Result<Effect, SpecError> {
        let Self { at: _, plan_ref, quantities, add_ons, pause, resume, cancel, when } = self;
        let turn = turn(*pause, *resume)?;
        let amends = plan_ref.is_some() || quantities.is_some() || add_ons.is_some() || turn.is_some();
        match (cancel, amends) {
            (None, true) => {
                let amendment = Amendment {
                    plan: plan_ref.as_ref().map(plan_name).transpose()?,
                    quantities: changed_quantities(quantities.as_deref())?,
                    add_ons: add_ons.as_deref().map(add_on_list).transpose()?,
                    turn,
                };
                Ok(Effect::Amend { amendment, when: *when })
            }
            (None, false) => {
                let detail = "changes nothing: give planRef, quantities, addOns, pause, resume or cancel";
                Err(SpecError::new("", SpecErrorCode::Missing, detail))
            }
            (Some(_), true) => {
                let detail = "ends the subscription: leave the other changes out";
                Err(SpecError::new("cancel", SpecErrorCode::Conflicting, detail))
            }
            (Some(_), false) if *when == When::NextPeriod => {
                let detail = "cancel says when it takes effect (AtPeriodEnd): leave when out";
                Err(SpecError::new("when", SpecErrorCode::Conflicting, detail))
            }
            (Some(cancel), false) => Ok(Effect::Cancel(*cancel)),
        }
    }
}

fn turn(pause: Option<bool>, resume: Option<bool>) -> Result<Option<Turn>, SpecError> {
    let only_true = |field| {
        let detail = "can only be true: leave it out where nothing is meant";
        Err(SpecError::new(field, SpecErrorCode::OutOfRange, detail))
    };
    match (pause, resume) {
        (None, None) => Ok(None),
        (Some(true), None) => Ok(Some(Turn::Pause)),
        (None, Some(true)) => Ok(Some(Turn::Resume)),
        (Some(false), _) => only_true("pause"),
        (_, Some(false)) => only_true("resume"),
        (Some(true), Some(true)) => {
            Err(SpecError::new("resume", SpecErrorCode::Conflicting, "excludes pause: give one"))
        }
    }
}

fn changed_quantities(
    quantities: Option<&[QuantitySpec]>,
) -> Result<BTreeMap<PriceName, Quantity>, SpecError> {
    match quantities {
        Some([]) => Err(SpecError::new("quantities", SpecErrorCode::Missing, "give at least one price")),
        Some(quantities) => quantity_map(quantities),
        None => Ok(BTreeMap::new()),
    }
}

fn quantity_map(quantities: &[QuantitySpec]) -> Result<BTreeMap<PriceName, Quantity>, SpecError> {
    if quantities.len() > QUANTITIES_MAX {
        return Err(out_of_range("quantities", format!("at most {QUANTITIES_MAX} prices are possible")));
    }
    let mut map = BTreeMap::new();
    for (index, QuantitySpec { price, quantity }) in quantities.iter().enumerate() {
        let field = |field| format!("quantities[{index}].{field}");
        let name = PriceName::new(price.as_str())
            .map_err(|invalid| SpecError::new(field("price"), SpecErrorCode::InvalidName, invalid.problem))?;
        not_negative(field("quantity"), *quantity)?;
        if map.insert(name, *quantity).is_some() {
            return Err(in_the_list_twice(field("price"), price));
        }
    }
    Ok(map)
}

fn add_on_list(add_ons: &[AddOnSpec]) -> Result<Vec<AddOn>, SpecError> {
    if add_ons.len() > ADD_ONS_MAX {
        return Err(out_of_range("addOns", format!("at most {ADD_ONS_MAX} add-ons are possible")));
    }
    let mut seen = BTreeSet::new();
    let mut list = Vec::with_capacity(add_ons.len());
    for (index, AddOnSpec { plan_ref, quantity }) in add_ons.iter().enumerate() {
        let field = format!("addOns[{index}]");
        let plan = plan_name(plan_ref).map_err(|error| error.below(&field))?;
        let quantity = quantity.unwrap_or(Quantity::ONE);
        not_negative(format!("{field}.quantity"), quantity)?;
        if !seen.insert(plan.clone()) {
            return Err(in_the_list_twice(format!("{field}.planRef.name"), plan.as_str()));
        }
        list.push(AddOn { plan, quantity });
    }
    Ok(list)
}

fn plan_name(plan_ref: &NameRef) -> Result<PlanName, SpecError> {
    PlanName::new(plan_ref.name.as_str())
        .map_err(|invalid| SpecError::new("planRef.name", SpecErrorCode::InvalidName, invalid.problem))
}

fn not_negative(field: String, quantity: Quantity) -> Result<(), SpecError> {
    if quantity.is_negative() { Err(out_of_range(field, "must not be negative")) } else { Ok(()) }
}

/// Shares are counted in microseconds, as all times are stored: a finer time would be cut in one place and not in another.
fn whole_micros(field: &str, at: Timestamp) -> Result<(), SpecError> {
    if at.subsec_nanosecond() % 1000 == 0 {
        return Ok(());
    }
    Err(out_of_range(field, "is finer than a microsecond: give at most six decimals of a second"))
}

fn out_of_range(field: impl Into<String>, detail: impl Into<String>) -> SpecError {
    SpecError::new(field, SpecErrorCode::OutOfRange, detail)
}

fn in_the_list_twice(field: String, name: &str) -> SpecError {
    SpecError::new(field, SpecErrorCode::InvalidName, format!("{name:?} is in the list twice"))
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
