//! Postgres, the system of record: who the tenants, customers and subscriptions are, the catalogue they are billed by,
//! and every invoice. This crate owns the migrations and every query; nobody else writes SQL for Postgres.
//!
//! It never computes money (that is `meridian-billing`), never sees a usage event (that is `meridian-usage-store`) and
//! knows no HTTP. Its neighbours: `ingest` reads API keys; `consumer` reads the catalogue and reports progress; `worker`
//! finds due periods, saves and issues invoices; `api` does the rest; `migrate` runs the migrations.
//!
//! Start at [`connect`]. What belongs to one tenant is reached through [`Records::tenant`], which takes a [`Scope`]; the
//! database enforces the same scope once more by row-level security. What spans tenants is a method of [`Records`]
//! itself, and each says why it may:
//!
//! | who | calls |
//! |---|---|
//! | ingest, api | [`Records::api_key`] |
//! | consumer | [`Records::catalogue`], [`Records::catalogue_version`], [`Records::catalogue_changes`], [`Records::report_progress`] |
//! | ingest's drainer | [`Records::report_progress`] |
//! | worker | [`Records::due_periods`], [`Records::processed_through`], [`TenantRecords::period_terms`], [`TenantRecords::save_invoice`], [`TenantRecords::issue_invoice`], [`TenantRecords::period_terms_of`], [`TenantRecords::save_and_issue`], [`TenantRecords::billed_periods`], [`TenantRecords::save_aggregated_usage`], [`Records::running_to_bill`], [`Records::computations`], [`Records::advance_ledgers`] |
//! | api | [`TenantRecords::change_invoice`] (pay, void, issue again), [`TenantRecords::create_credit_note`] |
//! | api's control port | `Records::put_meter`, `put_plan`, `put_tenant`, `archive_…`, `catalogue_entries` |
//!
//! Every change of money or catalogue writes its `audit_logs` row in the same transaction ([`By`] says who and why).

mod api_keys;
mod audit;
mod catalogue;
mod connect;
mod control;
mod coupons;
mod credit_notes;
mod credits;
mod customers;
mod error;
mod id;
mod idempotency;
mod instant;
mod invoices;
mod offered;
mod page;
mod progress;
mod schema;
mod scope;
mod subscriptions;
mod usage_totals;

// A test inside this crate shares the region of the tests beside it, which knows the crate by its name.
#[cfg(all(test, feature = "stores-tests"))]
extern crate self as meridian_records;

use std::sync::Arc;

use sqlx::{PgPool, postgres::PgConnectOptions};

pub use api_keys::ApiKeyGrant;
pub use audit::{AuditEntry, By};
pub use catalogue::{
    CHANNEL, CatalogueChanges, CatalogueSnapshot, Charge, CustomerRow, MeterRow, SubscriptionRow,
};
pub use connect::{PostgresOptions, connect};
pub use control::{
    ApiKeyHash, CatalogueEntry, CatalogueListing, ControlError, Source, Synced, TenantRequest,
};
pub use coupons::{Coupon, CouponError, RedeemedCoupon};
pub use credit_notes::{CreditNote, CreditNoteError, CreditNoteLine, PriceCredit};
pub use credits::{
    AdvancedLedger, CreditError, DueLedger, FailedLedger, Grant, LedgerKey, LedgerSweep, Standing,
};
pub use customers::{Customer, CustomerChange, CustomerError, NewCustomer};
pub use error::StoreError;
pub use idempotency::Claim;
pub use invoices::{
    BilledPeriod, DraftLine, Invoice, InvoiceChange, InvoiceDraft, InvoiceError, InvoiceLine, InvoiceStep,
    IssuedPeriod, LineMeter, SaveOutcome, SavedInvoice, StoredComputation,
};
pub use offered::OfferedPlan;
pub use page::{Listed, Page};
pub use schema::{MigrationReport, ProgramVersion, SchemaError};
pub use scope::Scope;
pub use subscriptions::{
    CancelAt, ChargedAhead, DuePeriod, ManagedBy, NewSubscription, PeriodTerms, PlanVersion, ProposedVersion,
    Subscription, SubscriptionError, SubscriptionState, meters,
};
pub use usage_totals::AggregatedUsage;

/// The system of record. Cheap to clone; connects when first used.
#[derive(Clone)]
pub struct Records {
    pub(crate) pool: PgPool,
    /// For connections outside the pool: the migrations and the listener.
    pub(crate) connect_options: Arc<PgConnectOptions>,
}

/// The system of record as one tenant sees it. Every query here runs under row-level security for that tenant.
#[derive(Clone)]
pub struct TenantRecords {
    pub(crate) pool: PgPool,
    pub(crate) scope: Scope,
}

impl Records {
    pub fn tenant(&self, scope: Scope) -> TenantRecords {
        TenantRecords { pool: self.pool.clone(), scope }
    }
}

impl TenantRecords {
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}
