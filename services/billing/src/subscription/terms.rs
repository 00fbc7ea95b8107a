//! The terms of a subscription as they were checked: what is in force from the start, and the dated changes to it.
//!
//! Terms come from [`TermsSpec`](super::TermsSpec) alone, so whoever holds them knows that times are in order, names are
//! names and nothing follows a cancellation. What only the course of the subscription shows (a resumption without a pause,
//! an unknown plan) is found by timeline.rs.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    decimal::Quantity,
    ids::{PlanName, PriceName},
};

/// What [`timeline`](super::timeline) lays out in periods.
#[derive(Debug, Clone)]
pub struct Terms {
    pub(super) plan: PlanName,
    pub(super) quantities: BTreeMap<PriceName, Quantity>,
    pub(super) add_ons: Vec<AddOn>,
    /// The trial's end, or the subscription's start where there is no trial.
    pub(super) billing_start: Timestamp,
    pub(super) end: Option<Timestamp>,
    pub(super) time_zone: String,
    pub(super) zone: TimeZone,
    pub(super) anchor: BillingAnchor,
    pub(super) proration: Proration,
    /// In the order in which they take effect at the same instant.
    pub(super) changes: Vec<Change>,
}

impl Terms {
    /// The first instant that is billed: the trial's end, or the start where there is no trial.
    pub fn billing_start(&self) -> Timestamp {
        self.billing_start
    }

    /// Every plan that the terms name, by the field that names it.
    pub(super) fn plans_named(&self) -> Vec<(String, &PlanName)> {
        let mut named = vec![("planRef.name".to_owned(), &self.plan)];
        named.extend(add_on_plans("addOns", &self.add_ons));
        for (index, change) in self.changes.iter().enumerate() {
            match &change.effect {
                Effect::Amend { amendment, when: When::Immediate | When::NextPeriod } => {
                    let field = format!("changes[{index}]");
                    named.extend(amendment.plan.iter().map(|plan| (format!("{field}.planRef.name"), plan)));
                    let add_ons = amendment.add_ons.as_deref().unwrap_or_default();
                    named.extend(add_on_plans(&format!("{field}.addOns"), add_ons));
                }
                Effect::Cancel(Cancel::AtOnce | Cancel::AtPeriodEnd) => {}
            }
        }
        named
    }
}

fn add_on_plans<'a>(list: &str, add_ons: &'a [AddOn]) -> impl Iterator<Item = (String, &'a PlanName)> {
    let named =
        move |(index, add_on): (usize, &'a AddOn)| (format!("{list}[{index}].planRef.name"), &add_on.plan);
    add_ons.iter().enumerate().map(named)
}

/// A plan that is billed beside the subscription's own, in the same periods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddOn {
    pub plan: PlanName,
    /// Multiplies the add-on's flat amounts.
    pub quantity: Quantity,
}

/// Where the boundaries of the periods lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum BillingAnchor {
    /// On the calendar's boundaries; the first period runs from the start to the next of them.
    #[default]
    Calendar,
    /// On the day and time at which billing started, or at which the plan's interval last changed.
    Anniversary,
}

/// What part of a flat amount a part of a period pays. See proration.rs for each policy's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Proration {
    #[default]
    BySecond,
    ByDay,
    None,
}

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum When {
    /// At its instant.
    #[default]
    Immediate,
    /// At the first boundary of a period after its instant.
    NextPeriod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cancel {
    /// The period is cut at the change's instant.
    AtOnce,
    /// The subscription ends with the period that the change's instant lies in.
    AtPeriodEnd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub at: Timestamp,
    pub effect: Effect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Amend { amendment: Amendment, when: When },
    Cancel(Cancel),
}

/// What a change sets; what it leaves out stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Amendment {
    pub plan: Option<PlanName>,
    /// By price; other prices keep theirs.
    pub quantities: BTreeMap<PriceName, Quantity>,
    /// The whole new list.
    pub add_ons: Option<Vec<AddOn>>,
    pub turn: Option<Turn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Pause,
    Resume,
}
