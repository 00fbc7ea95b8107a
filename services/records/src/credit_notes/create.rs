//! Writing a credit note. The invoice's row is locked before its earlier notes are read, so that two at once never give back
//! more together than was asked for; the number is taken like an invoice's, in the same transaction, and has no gaps.

use meridian_billing::{
    credit_note::{self, CreditNoteInput, InvoicedLine},
    ids::InvoiceId,
    invoice_state::{InvoiceStatus, Refusal},
};
use serde_json::json;
use sqlx::{Postgres, Transaction, types::Json};
use uuid::Uuid;

use super::{CreditNote, CreditNoteError, PriceCredit, named, read};
use crate::{
    By, TenantRecords, audit,
    error::Doing,
    id::{self, Kind},
    invoices,
};

const DOING: &str = "writing a credit note";

impl TenantRecords {
    /// The same seed again returns the first note.
    pub async fn create_credit_note(
        &self,
        invoice: &InvoiceId,
        requests: &[PriceCredit],
        reason: &str,
        seed: Uuid,
        by: &By,
    ) -> Result<CreditNote, CreditNoteError> {
        let tenant = self.scope.tenant().as_str();
        let id = id::from_seed(Kind::CreditNote, seed);
        let mut transaction = self.scope.begin(&self.pool).await?;
        let row =
            invoices::locked(&mut transaction, tenant, invoice).await?.ok_or(CreditNoteError::NotFound)?;
        let asked = read::asked(&row)?;
        let earlier = read::of_invoice(&mut transaction, tenant, invoice, &asked).await?;
        if let Some(first) = earlier.iter().find(|note| note.shown.id == id) {
            return Ok(first.shown.clone());
        }
        match invoices::state(&row)?.status {
            InvoiceStatus::Draft => return Err(Refusal::NotIssued.into()),
            InvoiceStatus::Void => return Err(Refusal::Void.into()),
            InvoiceStatus::Skipped => return Err(Refusal::Skipped.into()),
            InvoiceStatus::Issued | InvoiceStatus::Paid => {}
        }
        let input = CreditNoteInput {
            currency: asked.currency,
            lines: InvoicedLine::of_invoice(&asked.charged, &asked.taxes)?,
            earlier: earlier.into_iter().map(|note| note.computed).collect(),
            requests: named::placed(&asked.charged, requests)?,
        };
        let note =
            credit_note::compute(&input).map_err(|error| named::in_their_words(error, &input.requests))?;
        insert(&mut transaction, tenant, &id, invoice, &note, reason, by).await?;
        let notes = read::of_invoice(&mut transaction, tenant, invoice, &asked).await?;
        let made = notes.into_iter().map(|note| note.shown).find(|note| note.id == id);
        let made = made.ok_or(CreditNoteError::NotFound)?;
        transaction.commit().await.doing(DOING)?;
        Ok(made)
    }
}

async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &str,
    invoice: &InvoiceId,
    note: &credit_note::CreditNote,
    reason: &str,
    by: &By,
) -> Result<(), CreditNoteError> {
    let sequence: i64 = sqlx::query_scalar(
        "INSERT INTO credit_note_sequences (tenant, last) VALUES ($1, 1)
         ON CONFLICT (tenant) DO UPDATE SET last = credit_note_sequences.last + 1 RETURNING last",
    )
    .bind(tenant)
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)?;
    let number = format!("CN-{sequence:06}");
    sqlx::query(
        "INSERT INTO credit_notes (credit_note_id, tenant, invoice_id, sequence, number, currency, total, note, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id)
    .bind(tenant)
    .bind(invoice.as_str())
    .bind(sequence)
    .bind(&number)
    .bind(note.currency.code())
    .bind(note.total.to_bigdecimal())
    .bind(Json(note))
    .bind(reason)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    let detail = json!({"invoice": invoice, "number": number, "total": note.total, "reason": reason});
    audit::record(transaction, Some(tenant), by, "credit_note.create", id, detail).await?;
    Ok(())
}
