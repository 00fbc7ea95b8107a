//! What becomes of an issued invoice: paid, void, issued again. The rules decide (`meridian_billing::invoice_state`); this file
//! loads the row under its lock, asks them, and stores what they say together with its row of the audit log.
//!
//! It never touches what the invoice says (the database would refuse) and starts no computation: a void invoice that is
//! issued again is marked here, and whoever computes its period next makes the new draft (draft.rs).

use meridian_billing::{
    ids::{InvoiceId, TenantId},
    invoice_state::{InvoiceAction, InvoiceCommand, InvoiceState, Refusal, Transition, transition},
};
use serde_json::{Value, json};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};
use uuid::Uuid;

use super::{Invoice, InvoiceChange, InvoiceError, InvoiceStep, late, read};
use crate::{
    By, TenantRecords, audit,
    catalogue::parsed,
    credit_notes,
    credits::burn::take_back,
    error::{Doing, StoreError},
    instant::Instant,
    subscriptions,
};

const DOING: &str = "changing an invoice";

impl TenantRecords {
    /// The same seed again returns the invoice as it is: the first attempt made the change.
    pub async fn change_invoice(
        &self,
        id: &InvoiceId,
        change: &InvoiceChange,
        by: &By,
    ) -> Result<Invoice, InvoiceError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let row = read::locked(&mut transaction, tenant, id).await?.ok_or(InvoiceError::NotFound)?;
        if row.try_get::<Option<Uuid>, _>("change_seed").doing(DOING)? != Some(change.seed) {
            carry_out(&mut transaction, tenant, id, &row, change, by).await?;
        }
        let invoice =
            read::find(&mut transaction, tenant, id.as_str()).await?.ok_or(InvoiceError::NotFound)?;
        transaction.commit().await.doing(DOING)?;
        Ok(invoice)
    }
}

async fn carry_out(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
    row: &PgRow,
    change: &InvoiceChange,
    by: &By,
) -> Result<(), InvoiceError> {
    let InvoiceChange { step, seen_version, at, seed: _ } = change;
    let state = read::state(row)?;
    let command = InvoiceCommand {
        action: action(step, &state),
        seen_version: seen_version.unwrap_or(state.version),
        at: *at,
    };
    // The next revision is made by the next computation of the period, not here.
    let Transition { next, replacement: _ } = transition(&state, &command)?;
    match step {
        InvoiceStep::Pay { reference: _ } => {}
        InvoiceStep::Reissue { reason: _ } => terms_changed(transaction, tenant, row).await?,
        InvoiceStep::Void { reason: _ } => {
            // What a note gave back cannot go back a second time with the whole invoice.
            if row.try_get::<i32, _>("part").doing(DOING)? > 0 {
                return Err(InvoiceError::BuiltUpon);
            }
            if late::is_built_upon(transaction, tenant, row).await? {
                return Err(InvoiceError::LateUsageBilled);
            }
            if credit_notes::any_of(transaction, tenant, id).await? {
                return Err(InvoiceError::Credited);
            }
            let tenant: TenantId = parsed(row, "tenant")?;
            take_back(transaction, &tenant, id, *at).await?;
            terms_changed(transaction, tenant.as_str(), row).await?;
            // Under the subscription's lock, so that the next period's invoice is there or will see that this one is void.
            if subscriptions::is_settled(transaction, tenant.as_str(), row).await? {
                return Err(InvoiceError::ChargedAhead);
            }
        }
    }
    store(transaction, tenant, id, &state, &next, change).await?;
    let (action, detail) = audited(step, next.version);
    audit::record(transaction, Some(tenant), by, action, id.as_str(), detail).await?;
    Ok(())
}

/// What others of the subscription count on changes with this invoice.
async fn terms_changed(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    row: &PgRow,
) -> Result<(), StoreError> {
    let subscription: &str = row.try_get("subscription_id").doing(DOING)?;
    subscriptions::raise_terms_version(transaction, tenant, subscription).await
}

fn action(step: &InvoiceStep, state: &InvoiceState) -> InvoiceAction {
    match step {
        InvoiceStep::Pay { reference: _ } => InvoiceAction::Pay,
        InvoiceStep::Void { reason: _ } => InvoiceAction::Void,
        // The period was over before the void one was issued: there is no other grace window to wait for.
        InvoiceStep::Reissue { reason: _ } => InvoiceAction::Reissue { grace_until: state.grace_until },
    }
}

fn audited(step: &InvoiceStep, version: u64) -> (&'static str, Value) {
    match step {
        InvoiceStep::Pay { reference } => {
            ("invoice.pay", json!({"version": version, "reference": reference}))
        }
        InvoiceStep::Void { reason } => ("invoice.void", json!({"version": version, "reason": reason})),
        InvoiceStep::Reissue { reason } => ("invoice.reissue", json!({"version": version, "reason": reason})),
    }
}

/// Only on the version that was read.
async fn store(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
    seen: &InvoiceState,
    next: &InvoiceState,
    change: &InvoiceChange,
) -> Result<(), InvoiceError> {
    let InvoiceChange { step, seen_version: _, at, seed } = change;
    let (paid_at, reference, voided_at, reason) = match step {
        InvoiceStep::Pay { reference } => (Some(Instant(*at)), reference.as_deref(), None, None),
        InvoiceStep::Void { reason } => (None, None, Some(Instant(*at)), Some(reason.as_str())),
        InvoiceStep::Reissue { reason: _ } => (None, None, None, None),
    };
    let stored = sqlx::query(
        "UPDATE invoices SET state = $4, version = $5, reissued = $6, change_seed = $7, updated_at = now(),
             paid_at = coalesce($8, paid_at), payment_reference = coalesce($9, payment_reference),
             voided_at = coalesce($10, voided_at), void_reason = coalesce($11, void_reason)
         WHERE tenant = $1 AND invoice_id = $2 AND version = $3",
    )
    .bind(tenant)
    .bind(id.as_str())
    .bind(stored_version(seen.version)?)
    .bind(next.status.as_str())
    .bind(stored_version(next.version)?)
    .bind(next.reissued)
    .bind(seed)
    .bind(paid_at)
    .bind(reference)
    .bind(voided_at)
    .bind(reason)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    match stored.rows_affected() {
        1 => Ok(()),
        rows => {
            Err(StoreError::unreadable(DOING, format!("{rows} rows were at the version that is locked"))
                .into())
        }
    }
}

/// As the column counts.
pub(super) fn stored_version(version: u64) -> Result<i64, InvoiceError> {
    i64::try_from(version).map_err(|_| Refusal::Exhausted.into())
}
