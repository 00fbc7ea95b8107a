//! Issuing: the customer's credits pay what they can of the draft (spend.rs), it gets its number, and never changes again. All
//! of it is one transaction. The number is taken last, under the lock of the tenant's counter row, so numbers have no gaps: a
//! transaction that fails gives its number back, and the credits too. That lock is held for the few statements below and
//! nothing else; nothing waits on another system inside it.

use jiff::Timestamp;
use meridian_billing::{
    ids::InvoiceId,
    invoice_state::{InvoiceAction, InvoiceCommand, InvoiceStatus, Refusal, transition},
    subscription::{CustomTerms, ZeroInvoices},
};
use serde_json::{Value, json};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};

use super::{Invoice, InvoiceError, change::stored_version, late, read, spend};
use crate::{
    By, LedgerKey, TenantRecords, audit,
    catalogue::parsed,
    error::{Doing, LINES_DO_NOT_ADD_UP, StoreError},
    instant::Instant,
    subscriptions,
};

const DOING: &str = "issuing an invoice";

impl TenantRecords {
    /// Issuing an issued or paid invoice returns it as it is, and spends nothing; a void one is refused.
    pub async fn issue_invoice(
        &self,
        id: &InvoiceId,
        issued_at: Timestamp,
        by: &By,
    ) -> Result<Invoice, InvoiceError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        // Locks are taken in one order: the invoice, the customer's ledger, the tenant's counter, the subscription.
        let row = read::locked(&mut transaction, tenant, id).await?.ok_or(InvoiceError::NotFound)?;
        let state = read::state(&row)?;
        match state.status {
            InvoiceStatus::Draft => {
                let command = |action| InvoiceCommand { action, seen_version: state.version, at: issued_at };
                let issued = transition(&state, &command(InvoiceAction::Issue))?.next;
                late::check(&mut transaction, tenant, &row).await?;
                let ledger = LedgerKey {
                    tenant: self.scope.tenant().clone(),
                    customer_id: row.try_get("customer_id").doing(DOING)?,
                    currency: parsed(&row, "currency")?,
                };
                let subscription: &str = row.try_get("subscription_id").doing(DOING)?;
                let subscription = subscriptions::find(&mut transaction, tenant, subscription).await?;
                let CustomTerms { overage, zero_invoices, .. } =
                    subscription.ok_or(InvoiceError::NoSuchSubscription)?.terms;
                spend::credits(&mut transaction, &ledger, id, overage, issued_at).await?;
                if zero_invoices == ZeroInvoices::Skip && says_nothing(&mut transaction, tenant, id).await? {
                    let skipped = transition(&state, &command(InvoiceAction::Skip))?.next;
                    skip(&mut transaction, tenant, id, skipped.version, by).await?;
                } else {
                    number_and_freeze(&mut transaction, tenant, id, issued.version, issued_at, by).await?;
                }
                hold_terms(&mut transaction, tenant, &row).await?;
            }
            InvoiceStatus::Issued | InvoiceStatus::Paid | InvoiceStatus::Skipped => {}
            InvoiceStatus::Void => return Err(Refusal::Void.into()),
        }
        let subscription: String = row.try_get("subscription_id").doing(DOING)?;
        subscriptions::advance(&mut transaction, tenant, &subscription).await?;
        let invoice =
            read::find(&mut transaction, tenant, id.as_str()).await?.ok_or(InvoiceError::NotFound)?;
        transaction.commit().await.doing(DOING)?;
        Ok(invoice)
    }
}

/// The subscription's row, held from here on: what the draft was computed by still holds. A part is no more issued when its period
/// has an invoice of its own, and that one is computed again when a part came before it.
async fn hold_terms(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    draft: &PgRow,
) -> Result<(), InvoiceError> {
    let subscription: &str = draft.try_get("subscription_id").doing(DOING)?;
    let current: i64 = sqlx::query_scalar(
        "SELECT terms_version FROM subscriptions WHERE tenant = $1 AND subscription_id = $2 FOR NO KEY UPDATE",
    )
    .bind(tenant)
    .bind(subscription)
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)?;
    if current != draft.try_get::<i64, _>("terms_version").doing(DOING)? {
        return Err(InvoiceError::TermsOutdated);
    }
    if draft.try_get::<i32, _>("part").doing(DOING)? == 0 {
        return Ok(());
    }
    let billed: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM invoices WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3 AND part = 0
             AND state <> 'draft')",
    )
    .bind(tenant)
    .bind(subscription)
    .bind(draft.try_get::<Instant, _>("period_start").doing(DOING)?)
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)?;
    if billed {
        return Err(InvoiceError::TermsOutdated);
    }
    Ok(subscriptions::raise_terms_version(transaction, tenant, subscription).await?)
}

/// Whether no line asks for anything or gives anything back.
async fn says_nothing(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT 1 FROM invoice_line_items WHERE tenant = $1 AND invoice_id = $2 AND amount <> 0)",
    )
    .bind(tenant)
    .bind(id.as_str())
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)
}

/// Its period is done, and nobody is sent an invoice of nothing: it takes no number.
async fn skip(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
    version: u64,
    by: &By,
) -> Result<(), InvoiceError> {
    sqlx::query(
        "UPDATE invoices SET state = 'skipped', version = $3, updated_at = now() WHERE tenant = $1 AND invoice_id = $2",
    )
    .bind(tenant)
    .bind(id.as_str())
    .bind(stored_version(version)?)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    audit::record(transaction, Some(tenant), by, "invoice.skip", id.as_str(), json!({})).await?;
    Ok(())
}

async fn number_and_freeze(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
    version: u64,
    issued_at: Timestamp,
    by: &By,
) -> Result<(), InvoiceError> {
    let version = stored_version(version)?;
    let sequence: i64 = sqlx::query_scalar(
        "INSERT INTO invoice_sequences (tenant, last) VALUES ($1, 1)
         ON CONFLICT (tenant) DO UPDATE SET last = invoice_sequences.last + 1 RETURNING last",
    )
    .bind(tenant)
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)?;
    let number = number(sequence);
    let frozen = sqlx::query(
        "UPDATE invoices SET state = 'issued', version = $6, sequence = $3, number = $4, issued_at = $5, updated_at = now()
         WHERE tenant = $1 AND invoice_id = $2",
    )
    .bind(tenant)
    .bind(id.as_str())
    .bind(sequence)
    .bind(&number)
    .bind(Instant(issued_at))
    .bind(version)
    .execute(&mut **transaction)
    .await
    .doing(DOING);
    frozen.map_err(sum_error)?;
    let detail = audited(&number, issued_at);
    audit::record(transaction, Some(tenant), by, "invoice.issue", id.as_str(), detail).await?;
    Ok(())
}

/// How an invoice's place in the tenant's sequence is written.
pub(super) fn number(sequence: i64) -> String {
    format!("INV-{sequence:06}")
}

/// What the audit log says of an issued invoice.
pub(super) fn audited(number: &str, issued_at: Timestamp) -> Value {
    json!({"number": number, "issued_at": issued_at})
}

fn sum_error(error: StoreError) -> InvoiceError {
    if error.sqlstate().as_deref() == Some(LINES_DO_NOT_ADD_UP) {
        InvoiceError::Corrupt(error)
    } else {
        InvoiceError::Store(error)
    }
}
