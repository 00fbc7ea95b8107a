//! Every invoice that was issued, with the computation that it is proved by: for the nightly check.

use meridian_billing::ids::{InvoiceId, TenantId};
use sqlx::Row;

use crate::{Records, StoreError, catalogue::parsed, error::Doing, scope::begin_for_every_tenant};

/// An invoice's computation as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredComputation {
    pub tenant: TenantId,
    pub invoice: InvoiceId,
    pub engine_version: u32,
    /// The engine's input and output as one canonical text.
    pub text: String,
}

impl Records {
    /// The computations of all invoices but drafts, in the order of their making, behind the one that is named. It sweeps over
    /// every tenant, because the check does; it changes nothing.
    pub async fn computations(
        &self,
        after: Option<&InvoiceId>,
        limit: u32,
    ) -> Result<Vec<StoredComputation>, StoreError> {
        const DOING: &str = "reading computations of invoices";
        let mut transaction = begin_for_every_tenant(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT tenant, invoice_id, engine_version, computation FROM invoices
             WHERE invoice_id > $1 AND state <> 'draft' ORDER BY invoice_id LIMIT $2",
        )
        .bind(after.map_or("", InvoiceId::as_str))
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
        rows.iter()
            .map(|row| {
                Ok(StoredComputation {
                    tenant: parsed(row, "tenant")?,
                    invoice: parsed(row, "invoice_id")?,
                    engine_version: u32::try_from(row.try_get::<i64, _>("engine_version").doing(DOING)?)
                        .map_err(|error| StoreError::unreadable(DOING, error))?,
                    text: row.try_get("computation").doing(DOING)?,
                })
            })
            .collect()
    }
}
