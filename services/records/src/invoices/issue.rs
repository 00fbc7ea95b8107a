//! Issuing: the customer's credits pay what they can of the draft (spend.rs), it gets its number, and never changes again. All
//! of it is one transaction. The number is taken last, under the lock of the tenant's counter row, so numbers have no gaps: a
//! transaction that fails gives its number back, and the credits too. That lock is held for the few statements below and
//! nothing else; nothing waits on another system inside it.

use jiff::Timestamp;
use meridian_billing::{ids::InvoiceId, ledger::Overage};
use serde_json::json;
use sqlx::{Postgres, Row, Transaction};

use super::{Invoice, InvoiceError, InvoiceState, read, spend};
use crate::{
    By, LedgerKey, TenantRecords, audit,
    catalogue::parsed,
    error::{Doing, LINES_DO_NOT_ADD_UP, StoreError},
    instant::Instant,
    subscriptions,
};

const DOING: &str = "issuing an invoice";

impl TenantRecords {
    /// Issuing an issued invoice returns it as it is, and spends nothing.
    pub async fn issue_invoice(
        &self,
        id: &InvoiceId,
        issued_at: Timestamp,
        by: &By,
    ) -> Result<Invoice, InvoiceError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        // Locks are taken in one order: the invoice, the customer's ledger, the tenant's counter, the subscription.
        let row = sqlx::query(
            "SELECT invoice_id, state, subscription_id, customer_id, currency FROM invoices
             WHERE tenant = $1 AND invoice_id = $2 FOR UPDATE",
        )
        .bind(tenant)
        .bind(id.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?
        .ok_or(InvoiceError::NotFound)?;
        if read::state(&row)? == InvoiceState::Draft {
            let ledger = LedgerKey {
                tenant: self.scope.tenant().clone(),
                customer_id: row.try_get("customer_id").doing(DOING)?,
                currency: parsed(&row, "currency")?,
            };
            // Until subscriptions say what becomes of usage that no credit covers, the invoice asks for it.
            spend::credits(&mut transaction, &ledger, id, Overage::default(), issued_at).await?;
            number_and_freeze(&mut transaction, tenant, id, issued_at, by).await?;
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
    issued_at: Timestamp,
    by: &By,
) -> Result<(), InvoiceError> {
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
        "UPDATE invoices SET state = 'issued', sequence = $3, number = $4, issued_at = $5, updated_at = now()
         WHERE tenant = $1 AND invoice_id = $2",
    )
    .bind(tenant)
    .bind(id.as_str())
    .bind(sequence)
    .bind(&number)
    .bind(Instant(issued_at))
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
