//! Invoices. A draft may be computed again; an issued invoice never changes: the database itself refuses. One invoice
//! exists for a subscription, period and revision, whoever computes it and however often.
//!
//! draft.rs saves, issue.rs issues, spend.rs lets credits pay just before, read.rs reads. Amounts are computed elsewhere
//! (`meridian-billing`) and only checked here.

mod draft;
mod issue;
mod read;
mod spend;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    decimal::{Amount, Quantity},
    ids::{CustomerKey, InvoiceId, MeterName, PlanName, PriceName, SubscriptionId},
    invoice::RecomputeError,
    money::Currency,
};
use serde_json::Value;

use crate::{CreditError, StoreError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceState {
    Draft,
    Issued,
}

impl InvoiceState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Issued => "issued",
        }
    }
}

/// A computed invoice, to be saved.
#[derive(Debug, Clone, PartialEq)]
pub struct InvoiceDraft {
    pub subscription: SubscriptionId,
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    /// 0, or the number of the correction.
    pub revision: i32,
    /// `plan_…` and the version that it was computed by.
    pub plan_id: String,
    pub plan_version: i32,
    pub catalogue_version: i64,
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
    pub revision: i32,
    pub state: InvoiceState,
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
    /// There was an issued invoice, or a draft with the same or a later cutoff; it is returned as it is.
    Kept,
}

#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    #[error("there is no such invoice")]
    NotFound,
    #[error("there is no such subscription")]
    NoSuchSubscription,
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
