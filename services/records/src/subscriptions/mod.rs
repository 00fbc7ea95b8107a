//! Subscriptions: which customer pays by which plan, and which period is to be billed next. The next period is kept in
//! the row, so that finding what is due is one index scan; it moves on in the transaction that issues an invoice.
//!
//! A new version of a plan holds for the periods that start after it was made. A period that started before the plan
//! existed at all (billing began in the past) is billed by the newest version, because nothing else was ever promised.
//!
//! find.rs reads, edit.rs creates and cancels, terms.rs says what a period costs by which rules, due.rs finds what is to
//! be billed and moves on.

mod due;
mod edit;
mod find;
mod terms;

pub(crate) use due::advance;
pub(crate) use edit::{cancel, insert, plan_named, store_terms};
pub(crate) use find::{has_invoices, kept_by_kubernetes};
pub(crate) use terms::{first_period, period_from, read_plan_version};

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{PlanSpec, SpecError},
    ids::{CustomerKey, PlanName, SubscriptionId, TenantId},
    invoice::AdvanceCharge,
    period::{Anchor, Period, PeriodError},
    subscription::{CustomTerms, Share},
};
use serde::{Deserialize, Serialize};
use sqlx::{Row, postgres::PgRow};

use crate::{
    Charge, Customer, MeterRow,
    error::{Doing, StoreError},
};

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
    /// `plan_…`
    pub plan_id: String,
    pub plan: PlanName,
    pub state: SubscriptionState,
    pub time_zone: String,
    pub anchor: Anchor,
    pub starts_at: Timestamp,
    pub ends_at: Option<Timestamp>,
    /// The first period without an issued invoice; None when nothing is left to bill.
    pub next_period: Option<Period>,
    /// What it has of its own beside the plan.
    pub terms: CustomTerms,
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
    pub anchor: Anchor,
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
    /// How much of a whole period of the plan's interval it is: less where the subscription starts or ends within one.
    pub share: Share,
    /// None when the subscription ends with this period.
    pub next: Option<(Period, Share)>,
    pub plan: PlanVersion,
    /// What the invoice of the period before did; None where there is none: it is still to come, or this period is the first.
    pub before: Option<PeriodBefore>,
    /// Which period of the subscription it is, from zero.
    pub index: u32,
    /// What each counting price of the plan counts, with the meter as it is now.
    pub charges: Vec<(Charge, MeterRow)>,
    pub catalogue_version: i64,
}

/// What the invoice of the period before leaves to this one.
#[derive(Debug, Clone, PartialEq)]
pub struct PeriodBefore {
    pub plan: PlanName,
    /// What it charged for this period.
    pub charged_in_advance: Vec<AdvanceCharge>,
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
    #[error("the subscription's own terms do not fit the plan: {0}")]
    Terms(#[from] SpecError),
    #[error("the terms of the period cannot be billed: {0}")]
    Unbillable(String),
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error(transparent)]
    Store(#[from] StoreError),
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
