//! Prepaid credits: the grants of a customer, and the ledger that says what became of them. What a ledger is and every rule of
//! it is the core's (`meridian_billing::ledger`); here are the rows, the lock and the transaction. No amount is computed
//! here, and no balance is stored: whoever asks gets a fold over the entries.
//!
//! **The lock.** A ledger is a list that the next entry follows from, so of two that write to it at once one must see what the
//! other wrote. Whoever writes locks the ledger's row in `ledgers` first and holds it until the transaction ends. A row and
//! not an advisory lock: the wall between tenants holds for it, it never stands for two ledgers at once as a hash may, a
//! customer without one is told by the same look, and the sweep finds in it what is due. If the lock were ever forgotten,
//! the unique (ledger, seq) and (ledger, key) would refuse the second writer.
//!
//! Locks are taken in one order: the customer or the invoice, the ledger, the tenant's counter of invoices, the subscription.
//! Nobody holds two ledgers.
//!
//! Reading order: grants.rs (what is given) → held.rs (a ledger in a transaction) → entries.rs (its rows) → burn.rs (an invoice
//! spends, asks, or gives back) → standing.rs (what people read) → sweep.rs (what time does). Neighbour: invoices/spend.rs.

pub(crate) mod burn;
mod entries;
mod grants;
mod held;
mod standing;
mod sweep;

use meridian_billing::{
    catalogue::SpecError,
    ids::{InvalidId, TenantId},
    invoice::InvoiceError,
    ledger::{GrantError, LedgerError},
    money::Currency,
};

pub use grants::Grant;
pub(crate) use held::HeldLedger;
pub use standing::Standing;
pub use sweep::{AdvancedLedger, DueLedger, FailedLedger, LedgerSweep};

use crate::StoreError;

/// Which ledger: a customer has one in each currency that it was given credits in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerKey {
    pub tenant: TenantId,
    /// `cus_…`
    pub customer_id: String,
    pub currency: Currency,
}

#[derive(Debug, thiserror::Error)]
pub enum CreditError {
    #[error("there is no such customer")]
    NoSuchCustomer,
    #[error("the customer is archived: nothing more is given to it")]
    CustomerArchived,
    #[error("the grant is not valid: {0}")]
    Spec(#[from] SpecError),
    #[error("the customer has a grant with the name {0:?} in this currency")]
    NameTaken(String),
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("what the grants are asked to pay: {0}")]
    Invoice(#[from] InvoiceError),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Store(#[from] StoreError),
}
