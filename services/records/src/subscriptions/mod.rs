//! Subscriptions: which customer pays by which plan, and which period is to be billed next. The next period is kept in
//! the row, so that finding what is due is one index scan; it moves on in the transaction that issues an invoice. All else
//! about periods is computed from the terms: `meridian_billing::subscription` lays them out.
//!
//! Whom a new version of a plan moves, and when, its update policy says (`meridian_billing::subscription::version_in_force`):
//! mostly everybody from their next period on.
//!
//! find.rs reads, plan_book.rs and course.rs lay out periods and plans, edit.rs creates, changes and cancels (billable.rs says what
//! terms may not say), read_terms.rs reads
//! by which rules periods are billed (with charged.rs and plan_charges.rs) and terms.rs hands them to the engine, proposed.rs asks
//! the same of a plan's version that is not there yet, due.rs finds what is to be billed and moves on.

mod billable;
mod charged;
mod course;
mod due;
mod edit;
mod find;
mod plan_book;
mod plan_charges;
mod proposed;
mod read_terms;
mod terms;

pub use terms::meters;

pub(crate) use charged::{charged_by_invoice, is_settled};
pub(crate) use course::Course;
pub(crate) use due::{Billed, advance, advance_all};
pub use edit::CancelAt;
pub(crate) use edit::{cancel, insert, invoiced_until, plan_named, raise_terms_version, store};
pub(crate) use find::{find, has_invoices, kept_by_kubernetes, read, rows};
pub(crate) use plan_book::read_plan_version;
pub use proposed::ProposedVersion;

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{PlanSpec, SpecError},
    coupon::CouponSpec,
    decimal::Amount,
    ids::{CustomerKey, PlanName, SubscriptionId, TenantId},
    invoice::{AdvanceCharge, BilledSegment, NextTerms, Progress},
    period::{Period, PeriodError},
    subscription::{BillingAnchor, CustomTerms, Frame, TimelineError},
};
use serde::{Deserialize, Serialize};
use sqlx::{Row, postgres::PgRow};

use crate::{
    Charge, Customer, MeterRow,
    error::{Doing, StoreError},
};

/// No subscription begins before.
pub const BILLED_FROM: Timestamp = Timestamp::UNIX_EPOCH;
/// 2200-01-01T00:00:00Z: no subscription changes or ends, and no period is looked for, after it.
pub const BILLED_UNTIL: Timestamp = Timestamp::constant(7_258_118_400, 0);

/// Who keeps a row: the operator from Kubernetes objects, or the tenant by the REST API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    Kubernetes,
    Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionState {
    Active,
    /// Ends at `ends_at`; what was used until then is still billed.
    Cancelled,
    /// Nothing is left to bill.
    Ended,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub tenant: TenantId,
    /// `cus_…`
    pub customer_id: String,
    pub customer: CustomerKey,
    /// `plan_…`: the plan that it began with.
    pub plan_id: String,
    pub plan: PlanName,
    /// The other plans that its terms name: `plan_…` of each.
    pub plans: BTreeMap<PlanName, String>,
    pub state: SubscriptionState,
    pub time_zone: String,
    pub anchor: BillingAnchor,
    pub starts_at: Timestamp,
    pub ends_at: Option<Timestamp>,
    /// The first period without an issued invoice; None when nothing is left to bill.
    pub next_period: Option<Period>,
    /// What it has of its own beside the plan.
    pub terms: CustomTerms,
    /// Raised whenever what it is billed by changes.
    pub terms_version: i64,
    pub managed_by: ManagedBy,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewSubscription {
    /// `cus_…`
    pub customer_id: String,
    /// The tenant's own plan of this name, else the shared one.
    pub plan: PlanName,
    pub starts_at: Timestamp,
    pub ends_at: Option<Timestamp>,
    pub anchor: BillingAnchor,
    /// None: the customer's.
    pub time_zone: Option<String>,
    pub terms: CustomTerms,
}

/// A version of a plan, which never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanVersion {
    /// `plan_…`
    pub plan_id: String,
    pub name: PlanName,
    pub version: i32,
    pub spec: PlanSpec,
    pub created_at: Timestamp,
}

/// All that decides what one period of one subscription costs, but for the usage itself.
#[derive(Debug, Clone, PartialEq)]
pub struct PeriodTerms {
    pub subscription: Subscription,
    pub customer: Customer,
    pub period: Period,
    /// The terms that held in the period, one after the other; together they are the period.
    pub segments: Vec<BilledSegment>,
    /// None when the subscription ends with this period.
    pub next: Option<NextTerms>,
    /// What is charged once was charged with these.
    pub plans_before: Vec<PlanName>,
    /// What the period began with.
    pub plan: PlanVersion,
    pub charged_ahead: ChargedAhead,
    /// What an invoice at the period's start charges, where the subscription begins with one and nothing of it is billed yet.
    pub at_start: Option<NextTerms>,
    /// What was billed of the period before its end: at the subscription's start, and because its usage reached thresholds.
    pub progress: Progress,
    /// The amount of usage that the last of those invoices had reached; nothing where there is none.
    pub billed_on_the_way: Amount,
    /// Coupons that were redeemed while it ran, each with the index of the period that it was redeemed in.
    pub redeemed: Vec<(CouponSpec, u32)>,
    /// Which period of the subscription it is, from zero.
    pub index: u32,
    /// What each counting price of the plans counts, with the meter as it is now.
    pub charges: Vec<(Charge, MeterRow)>,
    pub catalogue_version: i64,
}

/// What was charged in advance for a period.
#[derive(Debug, Clone, PartialEq)]
pub enum ChargedAhead {
    Known(Vec<AdvanceCharge>),
    /// The invoice of the period before is not there yet; it will charge what these terms ask for.
    Expected(Box<NextTerms>),
}

/// A period whose end and grace are over and that has no issued invoice yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePeriod {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub customer: CustomerKey,
    pub period: Period,
}

#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    #[error("there is no such subscription")]
    NotFound,
    #[error("there is no such customer, or it is archived")]
    NoSuchCustomer,
    #[error("there is no plan {0:?}, or it is archived")]
    NoSuchPlan(String),
    #[error("nothing is left to bill on this subscription")]
    NothingToBill,
    #[error("no period of this subscription starts at {0}")]
    NoSuchPeriod(Timestamp),
    #[error("the subscription is kept by the operator: change the Tenant object instead")]
    ManagedByKubernetes,
    #[error("the end must not be before the start")]
    EndsBeforeStart,
    #[error("{at} is not between {BILLED_FROM} and {BILLED_UNTIL}")]
    OutOfRange { field: &'static str, at: Timestamp },
    #[error("the time until {until} is billed: nothing changes before it any more")]
    AlreadyBilled { until: Timestamp },
    #[error(
        "the time until {until} is charged in advance: what is given back for it is told by its own invoice, so it cannot end at {at}"
    )]
    ChargedAhead { at: Timestamp, until: Timestamp },
    #[error("no change of this subscription takes effect at {0}")]
    NoSuchChange(Timestamp),
    #[error("the change at {0} has taken effect")]
    ChangeInForce(Timestamp),
    #[error("the subscription's own terms do not fit the plan: {0}")]
    Terms(#[from] SpecError),
    #[error("the terms of the period cannot be billed: {0}")]
    Unbillable(String),
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Subscription {
    /// What decides its periods beside its own terms.
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame {
            plan: self.plan.as_str(),
            start: self.starts_at,
            end: self.ends_at,
            time_zone: &self.time_zone,
            anchor: self.anchor,
        }
    }

    /// The plan that holds once all of its changes have taken effect, and its id.
    pub(crate) fn current_plan(&self) -> (&PlanName, &String) {
        let last = self.terms.changes.iter().rev().find_map(|change| change.plan_ref.as_ref());
        let changed = last.and_then(|plan| self.plans.iter().find(|(name, _)| name.as_str() == plan.name));
        changed.unwrap_or((&self.plan, &self.plan_id))
    }

    /// Whether its terms can name this plan: a name stands for one plan only.
    pub(crate) fn may_name(&self, plan: &PlanName, plan_id: &str) -> bool {
        self.plan_ids().find(|(name, _)| *name == plan).is_none_or(|(_, id)| id == plan_id)
    }

    /// Every plan of its terms with its id.
    pub(crate) fn plan_ids(&self) -> impl Iterator<Item = (&PlanName, &String)> {
        self.plans.iter().chain([(&self.plan, &self.plan_id)])
    }
}

impl SubscriptionState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cancelled => "cancelled",
            Self::Ended => "ended",
        }
    }
}

impl ManagedBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Api => "api",
        }
    }

    pub(crate) fn read(row: &PgRow, doing: &'static str) -> Result<Self, StoreError> {
        match row.try_get::<&str, _>("managed_by").doing(doing)? {
            "kubernetes" => Ok(Self::Kubernetes),
            "api" => Ok(Self::Api),
            other => Err(StoreError::unreadable(doing, format!("managed_by is {other:?}"))),
        }
    }
}
