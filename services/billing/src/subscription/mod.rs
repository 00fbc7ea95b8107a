//! A subscription's terms and its dated changes become billing periods made of segments, each with the plan, quantities and
//! add-ons in force and the share of the scheduled period that it is charged for.
//!
//! [`SubscriptionSpec`] (the whole document) or [`CustomTerms`] (what is the subscription's own) → [`TermsSpec`] (what decides
//! periods) → [`Terms`] (as checked) → [`periods`] → [`BillingPeriod`]s. Nothing here knows an amount, an invoice or a clock:
//! which amounts a share applies to is decided by invoice.rs, when to bill by the worker.
//! Neighbours: period.rs says where boundaries lie, catalogue/ what a plan is.

mod billing_period;
mod custom_terms;
mod document;
mod overrides;
mod plan_change;
mod plan_versions;
mod proration;
mod share;
mod terms;
mod terms_spec;
mod threshold;
mod timeline;

#[cfg(test)]
mod plan_versions_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod random_life;

pub use billing_period::{BillingPeriod, NextPeriod, Segment, SegmentState};
pub use custom_terms::{CustomTerms, Frame};
pub use document::{FirstInvoice, SubscriptionSpec, ZeroInvoices};
pub use overrides::{OverrideSpec, overridden, unknown_override};
pub use plan_change::{FieldChange, PlanChange, plan_changes};
pub use plan_versions::{HeldPlan, PlanCut, VersionMade, cuts, version_in_force};
pub use share::{NoShare, Share, split};
pub use terms::{AddOn, BillingAnchor, Cancel, Proration, Terms, When};
pub use terms_spec::{
    ADD_ONS_MAX, AddOnSpec, CHANGES_MAX, ChangeSpec, QUANTITIES_MAX, QuantitySpec, TermsSpec, TrialSpec,
};
pub use threshold::{ThresholdSpec, next_threshold};
pub use timeline::{PERIODS_MAX, Periods, TimelineError, periods, timeline};
