//! What workflows, activities and those who start them say to each other, as JSON in Temporal's histories.
//!
//! A running workflow outlives a release, so these shapes only grow: a new field has a default, and none is renamed or
//! removed. Times are UTC microseconds since 1970. Nothing here holds usage, an amount of events, or a secret.

use meridian_billing::{
    ids::{InvoiceId, SubscriptionId, TenantId},
    period::Period,
};
use serde::{Deserialize, Serialize};

/// Names that histories and other programs rely on.
pub const CLOSE_BILLING_PERIOD: &str = "CloseBillingPeriod";
pub const BILLING_CYCLE: &str = "BillingCycle";
/// The same as `CloseBillingPeriod`, by the name that ruling C9 keeps.
pub const GENERATE_INVOICE: &str = "GENERATE_INVOICE";
pub const AGGREGATE_USAGE: &str = "AGGREGATE_USAGE";

/// Input of `CloseBillingPeriod` and `GENERATE_INVOICE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosePeriod {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub period_start_us: i64,
    /// Whether the invoice is issued too, or left a draft.
    #[serde(default = "yes")]
    pub issue: bool,
    /// Asked for by a person: does not wait for the grace of late events, but always for the pipeline.
    #[serde(default)]
    pub on_demand: bool,
}

fn yes() -> bool {
    true
}

impl ClosePeriod {
    /// One id for a period: whoever starts it a second time joins the run that is under way.
    pub fn workflow_id(&self) -> String {
        close_workflow_id(&self.tenant, &self.subscription, self.period_start_us)
    }
}

/// See [`ClosePeriod::workflow_id`].
pub fn close_workflow_id(tenant: &TenantId, subscription: &SubscriptionId, period_start_us: i64) -> String {
    format!("close/{tenant}/{subscription}/{period_start_us}")
}

/// Output of `CloseBillingPeriod`, `rate-period` and `issue-invoice`. Amounts are decimal strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedPeriod {
    pub invoice: InvoiceId,
    /// `draft` or `issued`
    pub state: String,
    #[serde(default)]
    pub number: Option<String>,
    pub currency: String,
    pub total: String,
    pub lines: u32,
}

/// Input of `check-period`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPeriod {
    pub close: ClosePeriod,
    pub requested_at_us: i64,
}

/// Output of `check-period`: the period exists and is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosablePeriod {
    pub period: Period,
    /// Not before this instant: the end, and the grace of late events unless it was asked for on demand.
    pub closable_at_us: i64,
}

/// Input of `wait-for-pipeline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitPipeline {
    /// Every event that was acknowledged before this instant has to be stored.
    pub acknowledged_before_us: i64,
}

/// Output of `wait-for-pipeline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelinePassed {
    /// The cutoff: nothing will ever be stored under an earlier instant any more.
    pub stored_before_us: i64,
}

/// Input of `aggregate-usage` and `rate-period`: one period as of one cutoff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodAsOf {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub period_start_us: i64,
    pub stored_before_us: i64,
}

/// Input of `issue-invoice`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueInvoice {
    pub tenant: TenantId,
    pub invoice: InvoiceId,
}

/// Input of `AGGREGATE_USAGE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateUsage {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub period_start_us: i64,
}

/// Output of `aggregate-usage` and `AGGREGATE_USAGE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatedUsage {
    pub meters: u32,
    pub stored_before_us: i64,
}

/// Input of `BillingCycle`; empty at the start, filled in where a long sweep continues as a new run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    #[serde(default)]
    pub after: Option<DueCursor>,
    #[serde(default)]
    pub so_far: CycleReport,
}

/// Output of `BillingCycle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleReport {
    pub started: u64,
    /// Periods that somebody is closing already.
    pub under_way: u64,
}

/// Where a sweep goes on: behind this due period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DueCursor {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub period: Period,
}

/// Input of `find-due-periods`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindDue {
    #[serde(default)]
    pub after: Option<DueCursor>,
}

/// Output of `find-due-periods`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuePage {
    pub due: Vec<DueCursor>,
    /// Whether there may be more behind the last one.
    pub more: bool,
}
