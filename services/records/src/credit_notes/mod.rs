//! Credit notes: what an issued invoice asked for too much goes back by a document of its own, with a number of its own. A
//! note never changes: the database itself refuses.
//!
//! named.rs finds the price that a request means, create.rs writes a note, read.rs lists them. How much may go back, and
//! with which tax, is decided elsewhere (`meridian_billing::credit_note`). No money moves here.

mod create;
mod named;
mod read;

use jiff::Timestamp;
use meridian_billing::{
    credit_note::{self, LineTax},
    decimal::{Amount, Overflow},
    ids::{InvoiceId, PlanName, PriceName},
    invoice_state::Refusal,
    money::Currency,
};

pub(crate) use read::any_of;

use crate::StoreError;

/// Gives back a part of what a price came to on the invoice, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceCredit {
    /// Needed where prices of several plans have the same name.
    pub plan: Option<PlanName>,
    pub price: PriceName,
    /// Positive, in minor units, exclusive taxes not in it.
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditNote {
    /// `cn_…`
    pub id: String,
    pub invoice: InvoiceId,
    /// Without gaps within the tenant.
    pub number: String,
    pub currency: Currency,
    pub lines: Vec<CreditNoteLine>,
    /// The sum of the lines.
    pub amount: Amount,
    /// Each tax that goes back.
    pub taxes: Vec<LineTax>,
    /// All that goes back: the lines and their exclusive taxes.
    pub total: Amount,
    pub reason: String,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditNoteLine {
    pub plan: PlanName,
    pub price: PriceName,
    pub amount: Amount,
    pub taxes: Vec<LineTax>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreditNoteError {
    #[error("there is no such invoice")]
    NotFound,
    /// Only an issued or a paid invoice has notes.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("line {request}: the invoice charges nothing for price {price}")]
    NoSuchPrice { request: usize, price: PriceName },
    #[error("line {request}: several plans have a price {price}: name the plan")]
    SeveralPlans { request: usize, price: PriceName },
    /// A line in it is the place of a request.
    #[error(transparent)]
    Rule(#[from] credit_note::CreditNoteError),
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error(transparent)]
    Store(#[from] StoreError),
}
