//! What workflows, activities and those who start them say to each other, as JSON in Temporal's histories.
//!
//! A running workflow outlives a release, so these shapes only grow: a new field has a default, and none is renamed or
//! removed. Times are UTC microseconds since 1970. Nothing here holds usage, an amount of events, or a secret.

use jiff::Timestamp;
use meridian_billing::{
    ids::{InvoiceId, SubscriptionId, TenantId},
    money::Currency,
    period::Period,
};
use serde::{Deserialize, Serialize};

/// Names that histories and other programs rely on.
pub const CLOSE_BILLING_PERIOD: &str = "CloseBillingPeriod";
pub const CLOSE_BILLING_PERIODS: &str = "CloseBillingPeriods";
pub const BILLING_CYCLE: &str = "BillingCycle";
/// The same as `CloseBillingPeriod`, by the name that ruling C9 keeps.
pub const GENERATE_INVOICE: &str = "GENERATE_INVOICE";
pub const AGGREGATE_USAGE: &str = "AGGREGATE_USAGE";
pub const VERIFY_INVOICES: &str = "VerifyInvoices";
pub const BILL_THRESHOLDS: &str = "BillThresholds";
pub const ADVANCE_LEDGERS: &str = "AdvanceLedgers";

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

/// Input of `CloseBillingPeriods`: due periods, as a sweep found them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosePeriods {
    pub due: Vec<DueCursor>,
}

impl ClosePeriods {
    /// By the first of them: a sweep that finds the same ones again, because their pipeline is late, joins the run that is under
    /// way. One that finds others in between starts a run over some of them again, which makes the same invoices.
    pub fn workflow_id(&self) -> String {
        match self.due.first() {
            Some(DueCursor { tenant, subscription, period }) => {
                format!("close-many/{tenant}/{subscription}/{}", period.start.as_microsecond())
            }
            None => "close-many/nothing".to_owned(),
        }
    }
}

/// Input of `close-periods`: due periods as of one cutoff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodsAsOf {
    pub due: Vec<DueCursor>,
    pub stored_before_us: i64,
}

/// Output of `close-periods`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedPeriods {
    /// Whose invoices are issued, or were before.
    pub closed: u64,
    /// Those that could not be billed among the others: each is closed by itself, where it shows why.
    pub left: Vec<DueCursor>,
}

/// Output of `CloseBillingPeriods`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosePeriodsReport {
    pub closed: u64,
    /// Closed by themselves.
    pub left: CycleReport,
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

/// Output of `BillingCycle`. Both count periods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleReport {
    pub started: u64,
    /// Periods that somebody is closing already, or the page of a sweep that begins with the same one.
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

/// Input of `BillThreshold`: a running period of which a part may be billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillThresholdInput {
    pub tenant: TenantId,
    pub subscription: SubscriptionId,
    pub period_start_us: i64,
}

impl BillThresholdInput {
    /// One run for a period at a time.
    pub fn workflow_id(&self) -> String {
        let Self { tenant, subscription, period_start_us } = self;
        format!("threshold/{tenant}/{subscription}/{period_start_us}")
    }
}

/// Output of `BillThreshold` and `bill-threshold`. Amounts are decimal strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BilledThreshold {
    /// What the period's usage came to; zero where the invoice at the start was made, or there is no threshold.
    pub reached: String,
    /// The threshold that it was held against; none where there is none any more, or not yet.
    #[serde(default)]
    pub threshold: Option<String>,
    /// None: there was nothing to bill yet.
    #[serde(default)]
    pub invoice: Option<ClosedPeriod>,
}

/// Input of `VerifyInvoices`; empty at the start, filled in where a long check continues as a new run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyInvoicesInput {
    #[serde(default)]
    pub after: Option<InvoiceId>,
    #[serde(default)]
    pub so_far: VerifiedInvoices,
}

/// Output of `VerifyInvoices`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedInvoices {
    /// Computed again to the byte.
    pub identical: u64,
    /// Of another version of the engine, which this one does not compute.
    pub other_engine: u64,
    /// Those that do not prove themselves.
    pub differing: u64,
    /// The first of them, by id.
    #[serde(default)]
    pub examples: Vec<InvoiceId>,
}

impl VerifiedInvoices {
    /// A report stays small, whatever it reports.
    pub const EXAMPLES_MAX: usize = 100;

    pub fn add(&mut self, page: Self) {
        let Self { identical, other_engine, differing, examples } = page;
        self.identical += identical;
        self.other_engine += other_engine;
        self.differing += differing;
        let room = Self::EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(examples.into_iter().take(room));
    }
}

/// Input of `verify-invoices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyPage {
    #[serde(default)]
    pub after: Option<InvoiceId>,
}

/// Output of `verify-invoices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedPage {
    pub report: VerifiedInvoices,
    /// The last one that was looked at.
    pub last: Option<InvoiceId>,
    /// Whether there may be more behind it.
    pub more: bool,
}

/// Input of `AdvanceLedgers`; empty at the start, filled in where a long sweep continues as a new run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceLedgersInput {
    #[serde(default)]
    pub after: Option<LedgerCursor>,
    #[serde(default)]
    pub so_far: AdvancedLedgers,
}

/// Output of `AdvanceLedgers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvancedLedgers {
    pub ledgers: u64,
    /// Appended to them.
    pub entries: u64,
    /// Ledgers that could not be brought up to date; the log says why, and the next night tries again.
    pub failed: u64,
}

impl AdvancedLedgers {
    pub fn add(&mut self, page: Self) {
        let Self { ledgers, entries, failed } = page;
        self.ledgers += ledgers;
        self.entries += entries;
        self.failed += failed;
    }
}

/// Where a sweep of ledgers goes on: behind this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCursor {
    pub due_at: Timestamp,
    pub tenant: TenantId,
    /// `cus_…`
    pub customer_id: String,
    pub currency: Currency,
}

/// Input of `advance-ledgers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    #[serde(default)]
    pub after: Option<LedgerCursor>,
}

/// Output of `advance-ledgers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvancedPage {
    pub report: AdvancedLedgers,
    /// None: that was the last page.
    pub next: Option<LedgerCursor>,
}
