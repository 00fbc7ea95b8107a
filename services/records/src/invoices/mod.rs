//! Invoices. A draft may be computed again; what an issued invoice says never changes: the database itself refuses. One
//! invoice exists for a subscription, period and revision, whoever computes it and however often.
//!
//! draft.rs saves, issue.rs issues, together.rs does both for many periods at once, spend.rs lets credits pay just before, change.rs pays, voids and issues again, prove.rs hands
//! out what proves them, late.rs what usage that became known later is counted from, read.rs reads. Amounts are computed elsewhere (`meridian-billing`) and only checked here; which step may
//! follow which is decided there too (`invoice_state`).

mod change;
mod draft;
mod issue;
mod late;
mod prove;
mod read;
mod spend;
mod together;

pub use late::BilledPeriod;
pub use prove::StoredComputation;
pub(crate) use read::{locked, state};
pub use together::IssuedPeriod;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    decimal::{Amount, Quantity},
    ids::{CustomerKey, InvoiceId, MeterName, PlanName, PriceName, SubscriptionId},
    invoice::RecomputeError,
    invoice_state::{InvoiceStatus, Refusal},
    money::Currency,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{CreditError, StoreError};

/// A computed invoice, to be saved.
#[derive(Debug, Clone, PartialEq)]
pub struct InvoiceDraft {
    pub subscription: SubscriptionId,
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    /// 0 for the period's own invoice; those before its end, at the start or at a threshold, are counted from 1.
    pub part: i32,
    /// `plan_…` and the version that it was computed by.
    pub plan_id: String,
    pub plan_version: i32,
    pub catalogue_version: i64,
    /// Of the subscription, as they were when its terms were read.
    pub terms_version: i64,
    pub engine_version: u32,
    /// Only events stored before this instant are in it.
    pub stored_before: Timestamp,
    pub currency: Currency,
    pub subtotal: Amount,
    pub discounts: Amount,
    pub credits: Amount,
    /// The taxes that are added.
    pub tax: Amount,
    pub total: Amount,
    /// The engine's input and output as one canonical text, kept to the byte.
    pub computation: String,
    pub lines: Vec<DraftLine>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DraftLine {
    pub price: PriceName,
    pub description: String,
    /// `mtr_…` and its version, for a line that counts usage.
    pub meter: Option<(String, i32)>,
    pub quantity: Quantity,
    /// Rounded to the currency's minor units.
    pub amount: Amount,
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    /// How the amount came about, as the engine said it.
    pub detail: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Invoice {
    pub id: InvoiceId,
    /// `cus_…`
    pub customer_id: String,
    pub customer: CustomerKey,
    pub subscription: SubscriptionId,
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    /// 0, and one more for each that replaces a void one.
    pub revision: i32,
    /// 0 for the period's own invoice; those before its end, at the start or at a threshold, are counted from 1.
    pub part: i32,
    pub state: InvoiceStatus,
    /// Raised by one with each change; what a change may say that it saw.
    pub version: u64,
    /// It is void, and its period is computed again as the next revision.
    pub reissued: bool,
    /// Given at issue, without gaps within the tenant.
    pub number: Option<String>,
    pub currency: Currency,
    pub subtotal: Amount,
    pub discounts: Amount,
    pub credits: Amount,
    /// The taxes that are added.
    pub tax: Amount,
    pub total: Amount,
    pub plan_id: String,
    pub plan: PlanName,
    pub plan_version: i32,
    pub catalogue_version: i64,
    pub engine_version: u32,
    pub stored_before: Timestamp,
    pub computation: String,
    pub created_at: Timestamp,
    pub issued_at: Option<Timestamp>,
    pub paid_at: Option<Timestamp>,
    /// What the payment is called where it was made.
    pub payment_reference: Option<String>,
    pub voided_at: Option<Timestamp>,
    pub void_reason: Option<String>,
    pub lines: Vec<InvoiceLine>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct InvoiceLine {
    /// `line_…`
    pub id: String,
    pub price: PriceName,
    pub description: String,
    pub meter: Option<LineMeter>,
    pub quantity: Quantity,
    pub amount: Amount,
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    pub detail: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineMeter {
    /// `mtr_…`
    pub id: String,
    pub name: MeterName,
    pub version: i32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SavedInvoice {
    pub invoice: Invoice,
    pub outcome: SaveOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveOutcome {
    Created,
    /// There was a draft with an earlier cutoff; it now says what this computation says, under the same id.
    Refreshed,
    /// There was an issued invoice, a void one that nobody issued again, or a draft with the same or a later cutoff; it is
    /// returned as it is.
    Kept,
}

/// What somebody wants to become of an issued invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceChange {
    pub step: InvoiceStep,
    /// The version that the decision was made on; None: whatever it is now.
    pub seen_version: Option<u64>,
    pub at: Timestamp,
    /// The same seed again finds the change made.
    pub seed: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvoiceStep {
    Pay {
        reference: Option<String>,
    },
    Void {
        reason: String,
    },
    /// The period of a void invoice is to be computed again. This marks it; whoever computes the period next makes the draft.
    Reissue {
        reason: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    #[error("there is no such invoice")]
    NotFound,
    #[error("there is no such subscription")]
    NoSuchSubscription,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the invoice has credit notes, so it cannot be void: give back the rest by another note")]
    Credited,
    #[error(
        "what a threshold billed within a period counts in the period's own invoice: give it back by a credit note"
    )]
    BuiltUpon,
    #[error("a later invoice charges what became known of this period: make that one void first")]
    LateUsageBilled,
    #[error(
        "what the draft charges of earlier periods was charged or given back meanwhile: close its period again"
    )]
    LateUsageOutdated,
    #[error(
        "what the subscription is billed by changed after the draft was computed: close its period again"
    )]
    TermsOutdated,
    #[error(
        "the invoice of the next period counts what this one charged in advance: make that one void first, or give back by a credit note"
    )]
    ChargedAhead,
    #[error("the lines add up to {lines}, the total says {total}")]
    LinesDoNotAddUp { lines: String, total: Amount },
    /// A bug somewhere above: nothing was issued, and trying again will not help.
    #[error("the stored lines of the invoice do not add up to its total; it was not issued")]
    Corrupt(#[source] StoreError),
    #[error(
        "the draft was computed by engine version {draft}, this program has {ENGINE_VERSION}: close its period again"
    )]
    OtherEngine { draft: i64 },
    /// A bug, or a change behind our back: nothing was issued, and trying again will not help.
    #[error("the draft does not follow from what it was computed from: {0}")]
    Unproven(#[from] RecomputeError),
    #[error("spending the customer's credits: {0}")]
    Credits(#[source] CreditError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CreditError> for InvoiceError {
    fn from(error: CreditError) -> Self {
        match error {
            // A store that is away stays what it is: it may be tried again.
            CreditError::Store(error) => Self::Store(error),
            other => Self::Credits(other),
        }
    }
}
