//! Reading credit notes, and what their invoice asked for.

use meridian_billing::{credit_note, ids::InvoiceId, invoice::Charged, money::Currency, tax::AppliedTax};
use serde::Deserialize;
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};

use super::{CreditNote, named};
use crate::{Listed, Page, StoreError, TenantRecords, catalogue::parsed, error::Doing, instant::Instant};

const DOING: &str = "reading credit notes";

/// What an invoice asked for, out of its stored computation. The rest of the computation is not read: a later engine may
/// have other inputs, and what was charged can be given back all the same.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub currency: Currency,
    pub charged: Vec<Charged>,
    pub taxes: Vec<AppliedTax>,
}

/// A note as the rules count it and as people read it.
pub(super) struct Note {
    pub computed: credit_note::CreditNote,
    pub shown: CreditNote,
}

impl TenantRecords {
    /// The notes of an invoice, in the order of their making. None when there is no such invoice.
    pub async fn credit_notes(
        &self,
        invoice: &InvoiceId,
        page: &Page,
    ) -> Result<Option<Listed<CreditNote>>, StoreError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin_snapshot(&self.pool).await?;
        let row = sqlx::query("SELECT computation FROM invoices WHERE tenant = $1 AND invoice_id = $2")
            .bind(tenant)
            .bind(invoice.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .doing(DOING)?;
        let Some(row) = row else { return Ok(None) };
        let (after, limit) = (page.after_id(), Some(page.fetch()));
        let notes = read(&mut transaction, tenant, invoice, &asked(&row)?, after, limit).await?;
        let shown = notes.into_iter().map(|note| note.shown).collect();
        Ok(Some(page.cut(shown, |note: &CreditNote| note.id.clone())))
    }
}

/// Whether the invoice has any.
pub(crate) async fn any_of(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoice: &InvoiceId,
) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM credit_notes WHERE tenant = $1 AND invoice_id = $2)")
        .bind(tenant)
        .bind(invoice.as_str())
        .fetch_one(&mut **transaction)
        .await
        .doing(DOING)
}

/// All of them.
pub(super) async fn of_invoice(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoice: &InvoiceId,
    asked: &Asked,
) -> Result<Vec<Note>, StoreError> {
    read(transaction, tenant, invoice, asked, "", None).await
}

async fn read(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoice: &InvoiceId,
    asked: &Asked,
    after: &str,
    limit: Option<i64>,
) -> Result<Vec<Note>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM credit_notes WHERE tenant = $1 AND invoice_id = $2 AND credit_note_id > $3
         ORDER BY credit_note_id LIMIT $4",
    )
    .bind(tenant)
    .bind(invoice.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    rows.iter().map(|row| note(row, asked)).collect()
}

pub(super) fn asked(row: &PgRow) -> Result<Asked, StoreError> {
    #[derive(Deserialize)]
    struct Stored {
        invoice: Asked,
    }
    let computation: &str = row.try_get("computation").doing(DOING)?;
    let stored: Stored = serde_json::from_str(computation)
        .map_err(|error| StoreError::unreadable(DOING, format!("the invoice's computation: {error}")))?;
    Ok(stored.invoice)
}

fn note(row: &PgRow, asked: &Asked) -> Result<Note, StoreError> {
    let computed = row.try_get::<Json<credit_note::CreditNote>, _>("note").doing(DOING)?.0;
    let credit_note::CreditNote { currency, lines, amount, taxes, total } = computed.clone();
    let lines = named::by_name(&asked.charged, lines)
        .ok_or_else(|| StoreError::unreadable(DOING, "a note gives back what its invoice never charged"))?;
    let shown = CreditNote {
        id: row.try_get("credit_note_id").doing(DOING)?,
        invoice: parsed(row, "invoice_id")?,
        number: row.try_get("number").doing(DOING)?,
        currency,
        lines,
        amount,
        taxes,
        total,
        reason: row.try_get("reason").doing(DOING)?,
        created_at: row.try_get::<Instant, _>("created_at").doing(DOING)?.0,
    };
    Ok(Note { computed, shown })
}
