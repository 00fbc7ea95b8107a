//! Issuing: the draft gets its number and never changes again. The number is taken in the same transaction that issues,
//! under the lock of the tenant's counter row, so numbers have no gaps: a transaction that fails gives its number back.
//! The lock is held for the few statements below and nothing else; nothing waits on another system inside it.

use jiff::Timestamp;
use meridian_billing::{
    ids::InvoiceId,
    invoice_state::{InvoiceAction, InvoiceCommand, InvoiceStatus, Refusal, transition},
};
use serde_json::json;
use sqlx::{Postgres, Row, Transaction};

use super::{Invoice, InvoiceError, change::stored_version, read};
use crate::{
    By, TenantRecords, audit,
    error::{Doing, LINES_DO_NOT_ADD_UP, StoreError},
    instant::Instant,
    subscriptions,
};

const DOING: &str = "issuing an invoice";

impl TenantRecords {
    /// Issuing an issued or paid invoice returns it as it is; a void one is refused.
    pub async fn issue_invoice(
        &self,
        id: &InvoiceId,
        issued_at: Timestamp,
        by: &By,
    ) -> Result<Invoice, InvoiceError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let row = read::locked(&mut transaction, tenant, id).await?.ok_or(InvoiceError::NotFound)?;
        let state = read::state(&row)?;
        match state.status {
            InvoiceStatus::Draft => {
                let seen_version = state.version;
                let command = InvoiceCommand { action: InvoiceAction::Issue, seen_version, at: issued_at };
                let issued = transition(&state, &command)?.next;
                number_and_freeze(&mut transaction, tenant, id, issued.version, issued_at, by).await?;
            }
            InvoiceStatus::Issued | InvoiceStatus::Paid => {}
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
    let number = format!("INV-{sequence:06}");
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
    let detail = json!({"number": number, "issued_at": issued_at});
    audit::record(transaction, Some(tenant), by, "invoice.issue", id.as_str(), detail).await?;
    Ok(())
}

fn sum_error(error: StoreError) -> InvoiceError {
    if error.sqlstate().as_deref() == Some(LINES_DO_NOT_ADD_UP) {
        InvoiceError::Corrupt(error)
    } else {
        InvoiceError::Store(error)
    }
}
