//! A draft is paid from the customer's credits, in the transaction that issues it: the ledger is asked under its lock, the
//! invoice is computed again with the answer, and its rows say what the computation says.
//!
//! Which grant pays what is the ledger's to decide (credits/), and what then is left to pay the engine's; a draft that does not
//! follow from its own input is refused, because nobody could say what was paid for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    ids::{InvoiceId, MeterName},
    invoice::{Computation, InvoiceError as RatingError, InvoiceInput, RecomputeError},
    ledger::Overage,
};
use sqlx::{Postgres, Row, Transaction};

use super::{DraftLine, InvoiceError, draft};
use crate::{
    LedgerKey, StoreError,
    catalogue::parsed,
    credits::{HeldLedger, burn::burn},
    error::Doing,
};

const DOING: &str = "spending credits on an invoice";

/// Leaves the draft as it is where the customer was never given credits in its currency; that look is all it costs then.
/// `overage` says what becomes of the rest that no grant covers.
pub(super) async fn credits(
    transaction: &mut Transaction<'_, Postgres>,
    ledger: &LedgerKey,
    id: &InvoiceId,
    overage: Overage,
    now: Timestamp,
) -> Result<(), InvoiceError> {
    let Some(held) = HeldLedger::hold(transaction, ledger).await? else { return Ok(()) };
    let tenant = ledger.tenant.as_str();
    let mut input = input(transaction, tenant, id).await?;
    // What a draft showed of credits was a forecast.
    input.adjustments.credits = None;
    let burned = burn(transaction, held, id, &input, overage, now).await?;
    input.adjustments.credits = Some(burned);
    let computation = Computation::of(input).map_err(RecomputeError::from)?;
    rewrite(transaction, tenant, id, &computation).await
}

/// What the draft was computed from, proved.
async fn input(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
) -> Result<InvoiceInput, InvoiceError> {
    let row =
        sqlx::query("SELECT engine_version, computation FROM invoices WHERE tenant = $1 AND invoice_id = $2")
            .bind(tenant)
            .bind(id.as_str())
            .fetch_one(&mut **transaction)
            .await
            .doing(DOING)?;
    let draft: i64 = row.try_get("engine_version").doing(DOING)?;
    if draft != i64::from(ENGINE_VERSION) {
        return Err(InvoiceError::OtherEngine { draft });
    }
    match Computation::verify(row.try_get("computation").doing(DOING)?) {
        Ok(computation) => Ok(computation.input),
        Err(RecomputeError::Invoice(RatingError::EngineVersion(draft))) => {
            Err(InvoiceError::OtherEngine { draft: draft.into() })
        }
        Err(error) => Err(error.into()),
    }
}

/// The amounts and lines of the draft become those of the computation. What it was computed from stays.
async fn rewrite(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
    computation: &Computation,
) -> Result<(), InvoiceError> {
    let Computation { input: _, invoice } = computation;
    let meters = meters(transaction, tenant, id).await?;
    let lines: Vec<DraftLine> =
        invoice.lines.iter().map(|line| DraftLine::of(line, |name| meters.get(name).cloned())).collect();
    draft::delete_lines(transaction, tenant, id.as_str()).await?;
    draft::insert_lines(transaction, tenant, &[(id.as_str(), &lines)]).await?;
    sqlx::query(
        "UPDATE invoices SET subtotal = $3, discounts = $4, credits = $5, tax = $6, total = $7, computation = $8,
             updated_at = now()
         WHERE tenant = $1 AND invoice_id = $2",
    )
    .bind(tenant)
    .bind(id.as_str())
    .bind(invoice.subtotal.to_bigdecimal())
    .bind(invoice.discounts.to_bigdecimal())
    .bind(invoice.credits.to_bigdecimal())
    .bind(invoice.tax.to_bigdecimal())
    .bind(invoice.total.to_bigdecimal())
    .bind(computation.canonical_json())
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok(())
}

/// The ids of the meters that the draft's lines count.
async fn meters(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
) -> Result<BTreeMap<MeterName, String>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT m.name, l.metric_id FROM invoice_line_items l JOIN metrics m USING (metric_id)
         WHERE l.tenant = $1 AND l.invoice_id = $2",
    )
    .bind(tenant)
    .bind(id.as_str())
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    rows.iter().map(|row| Ok((parsed(row, "name")?, row.try_get("metric_id").doing(DOING)?))).collect()
}
