//! Saving a computed invoice. The unique key (tenant, subscription, period_start, revision) decides who made it; whoever
//! comes second finds it. A draft gives way to a computation with a later cutoff, because that one saw more, or by newer terms;
//! never to an earlier one, however late it arrives. A void invoice gives way to nothing until somebody issues it again: the next
//! computation of its period is then the next revision.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meridian_billing::{
    decimal::Amount,
    ids::MeterName,
    invoice::{Computation, InvoiceKind, Line},
    invoice_state::{InvoiceAction, InvoiceCommand, Refusal, transition},
};
use serde_json::{Value, json};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};

use super::{DraftLine, InvoiceDraft, InvoiceError, SaveOutcome, SavedInvoice, change::stored_version, read};
use crate::{
    By, PeriodTerms, TenantRecords, audit,
    error::{Doing, StoreError},
    id::{self, Kind},
    instant::Instant,
};

const DOING: &str = "saving an invoice";

impl InvoiceDraft {
    /// A computation by these terms, ready to be saved.
    pub fn of(computation: &Computation, terms: &PeriodTerms) -> Self {
        let Computation { input, invoice } = computation;
        let meter_id = |name: &MeterName| {
            terms.charges.iter().find(|(_, meter)| meter.name == *name).map(|(_, meter)| meter.id.clone())
        };
        Self {
            subscription: input.subscription.clone(),
            period_start: input.period.start,
            period_end: match input.kind {
                InvoiceKind::Period => input.period.end,
                InvoiceKind::Progressive | InvoiceKind::Opening => input.stored_before.min(input.period.end),
            },
            part: match input.kind {
                InvoiceKind::Period => 0,
                InvoiceKind::Progressive | InvoiceKind::Opening => terms.next_part(),
            },
            plan_id: terms.plan.plan_id.clone(),
            plan_version: terms.plan.version,
            catalogue_version: input.catalogue_version,
            terms_version: terms.subscription.terms_version,
            engine_version: input.engine_version,
            stored_before: input.stored_before,
            currency: invoice.currency,
            subtotal: invoice.subtotal,
            discounts: invoice.discounts,
            credits: invoice.credits,
            tax: invoice.tax,
            total: invoice.total,
            computation: computation.canonical_json(),
            lines: invoice.lines.iter().map(|line| DraftLine::of(line, meter_id)).collect(),
        }
    }
}

impl DraftLine {
    /// A line of a computation, where each meter of the lines has such an id.
    pub(super) fn of(line: &Line, meter_id: impl Fn(&MeterName) -> Option<String>) -> Self {
        Self {
            price: line.price.clone(),
            description: line.description.clone(),
            meter: line.meter.as_ref().and_then(meter_id).zip(line.meter_version),
            quantity: line.quantity,
            amount: line.amount,
            period_start: line.period.start,
            period_end: line.period.end,
            detail: json!({
                "role": line.role, "plan": line.plan, "unit_amount": line.unit_amount, "trace": line.trace,
            }),
        }
    }
}

impl TenantRecords {
    /// As the newest revision of its period, or as the one after it when that one is void and issued again.
    pub async fn save_invoice(&self, draft: &InvoiceDraft, by: &By) -> Result<SavedInvoice, InvoiceError> {
        check_sum(draft)?;
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let (id, outcome) = place(&mut transaction, tenant, draft).await?;
        let action = match outcome {
            SaveOutcome::Created => Some("invoice.create"),
            SaveOutcome::Refreshed => Some("invoice.refresh"),
            SaveOutcome::Kept => None,
        };
        if action.is_some() {
            insert_lines(&mut transaction, tenant, &[(&id, &draft.lines)]).await?;
        }
        let invoice = read::find(&mut transaction, tenant, &id).await?.ok_or(InvoiceError::NotFound)?;
        if let Some(action) = action {
            let detail = audited(draft, invoice.revision);
            audit::record(&mut transaction, Some(tenant), by, action, &id, detail).await?;
        }
        transaction.commit().await.doing(DOING)?;
        Ok(SavedInvoice { invoice, outcome })
    }
}

/// What the audit log says of a saved invoice.
pub(super) fn audited(draft: &InvoiceDraft, revision: i32) -> Value {
    json!({
        "subscription": draft.subscription, "period_start": draft.period_start, "revision": revision,
        "part": draft.part,
        "total": draft.total, "currency": draft.currency, "stored_before": draft.stored_before,
    })
}

/// The database checks this too, at issue; here the worker learns of a bug before it has saved anything.
pub(super) fn check_sum(draft: &InvoiceDraft) -> Result<(), InvoiceError> {
    let sum = draft.lines.iter().try_fold(Amount::ZERO, |sum, line| sum.checked_add(line.amount));
    match sum {
        Ok(sum) if sum == draft.total => Ok(()),
        Ok(sum) => Err(InvoiceError::LinesDoNotAddUp { lines: sum.to_string(), total: draft.total }),
        Err(overflow) => {
            Err(InvoiceError::LinesDoNotAddUp { lines: overflow.to_string(), total: draft.total })
        }
    }
}

/// Finds the invoice that this computation is, or makes it. Who loses a race to make one finds a newer revision than before
/// in the next round; so the rounds end.
async fn place(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    draft: &InvoiceDraft,
) -> Result<(String, SaveOutcome), InvoiceError> {
    loop {
        let revision = match newest(transaction, tenant, draft).await? {
            None => 0,
            Some(row) => {
                let revision: i32 = row.try_get("revision").doing(DOING)?;
                match row.try_get("reissued").doing(DOING)? {
                    true => revision.checked_add(1).ok_or(Refusal::Exhausted)?,
                    false => return refresh(transaction, tenant, draft, &row).await,
                }
            }
        };
        if let Some(id) = insert(transaction, tenant, draft, revision).await? {
            return Ok((id, SaveOutcome::Created));
        }
    }
}

/// The newest invoice of the period, held until the transaction ends.
async fn newest(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    draft: &InvoiceDraft,
) -> Result<Option<PgRow>, InvoiceError> {
    let row = sqlx::query(
        "SELECT invoice_id, state, version, revision, reissued, period_end, stored_before, terms_version FROM invoices
         WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3 AND part = $4
         ORDER BY revision DESC LIMIT 1 FOR UPDATE",
    )
    .bind(tenant)
    .bind(draft.subscription.as_str())
    .bind(Instant(draft.period_start))
    .bind(draft.part)
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok(row)
}

/// None: there is one already. Waits for another transaction that is inserting the same one.
async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    draft: &InvoiceDraft,
    revision: i32,
) -> Result<Option<String>, InvoiceError> {
    let customer: Option<String> = sqlx::query_scalar(
        "SELECT customer_id FROM subscriptions WHERE tenant = $1 AND subscription_id = $2",
    )
    .bind(tenant)
    .bind(draft.subscription.as_str())
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?;
    let customer = customer.ok_or(InvoiceError::NoSuchSubscription)?;
    let new = NewInvoice { id: &id::new(Kind::Invoice), customer_id: &customer, revision, draft };
    Ok(insert_invoices(transaction, tenant, &[new]).await?.pop_first())
}

/// A draft that is to be the invoice of its period.
pub(super) struct NewInvoice<'a> {
    pub id: &'a str,
    /// `cus_…`
    pub customer_id: &'a str,
    pub revision: i32,
    pub draft: &'a InvoiceDraft,
}

/// Says which of them are there now; the others are somebody else's already. Waits for other transactions that are inserting the
/// same ones. One statement, however many invoices there are: a column is an array.
pub(super) async fn insert_invoices(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    new: &[NewInvoice<'_>],
) -> Result<BTreeSet<String>, StoreError> {
    let drafts = || new.iter().map(|new| new.draft);
    let amounts = |amount: fn(&InvoiceDraft) -> Amount| {
        drafts().map(|draft| amount(draft).to_bigdecimal()).collect::<Vec<_>>()
    };
    let times =
        |time: fn(&InvoiceDraft) -> Timestamp| drafts().map(|draft| Instant(time(draft))).collect::<Vec<_>>();
    let inserted: Vec<String> = sqlx::query_scalar(
        "INSERT INTO invoices (tenant, state, invoice_id, customer_id, subscription_id, period_start, period_end, part, revision,
             currency, subtotal, discounts, credits, tax, total, plan_id, plan_version, catalogue_version, engine_version,
             stored_before, computation, terms_version)
         SELECT $1, 'draft', * FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::integer[],
             $8::integer[], $9::text[], $10::numeric[], $11::numeric[], $12::numeric[], $13::numeric[], $14::numeric[],
             $15::text[], $16::integer[], $17::bigint[], $18::bigint[], $19::timestamptz[], $20::text[], $21::bigint[])
         ON CONFLICT (tenant, subscription_id, period_start, part, revision) DO NOTHING RETURNING invoice_id",
    )
    .bind(tenant)
    .bind(new.iter().map(|new| new.id).collect::<Vec<_>>())
    .bind(new.iter().map(|new| new.customer_id).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.subscription.as_str()).collect::<Vec<_>>())
    .bind(times(|draft| draft.period_start))
    .bind(times(|draft| draft.period_end))
    .bind(drafts().map(|draft| draft.part).collect::<Vec<_>>())
    .bind(new.iter().map(|new| new.revision).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.currency.code()).collect::<Vec<_>>())
    .bind(amounts(|draft| draft.subtotal))
    .bind(amounts(|draft| draft.discounts))
    .bind(amounts(|draft| draft.credits))
    .bind(amounts(|draft| draft.tax))
    .bind(amounts(|draft| draft.total))
    .bind(drafts().map(|draft| draft.plan_id.as_str()).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.plan_version).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.catalogue_version).collect::<Vec<_>>())
    .bind(drafts().map(|draft| i64::from(draft.engine_version)).collect::<Vec<_>>())
    .bind(times(|draft| draft.stored_before))
    .bind(drafts().map(|draft| draft.computation.as_str()).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.terms_version).collect::<Vec<_>>())
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok(inserted.into_iter().collect())
}

/// Rewrites the invoice of a locked row if it is a draft that saw less. Its lines are gone then.
async fn refresh(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    draft: &InvoiceDraft,
    row: &PgRow,
) -> Result<(String, SaveOutcome), InvoiceError> {
    let id: String = row.try_get("invoice_id").doing(DOING)?;
    let stored_before: Instant = row.try_get("stored_before").doing(DOING)?;
    let terms_version: i64 = row.try_get("terms_version").doing(DOING)?;
    let state = read::state(row)?;
    let (seen_version, at) = (state.version, draft.stored_before);
    let command = InvoiceCommand { action: InvoiceAction::Recompute, seen_version, at };
    let version = match transition(&state, &command) {
        Ok(recomputed) if (stored_before.0, terms_version) < (draft.stored_before, draft.terms_version) => {
            stored_version(recomputed.next.version)?
        }
        Ok(_) | Err(Refusal::Frozen | Refusal::Paid | Refusal::Void | Refusal::Skipped) => {
            return Ok((id, SaveOutcome::Kept));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    delete_lines(transaction, tenant, &id).await?;
    sqlx::query(
        "UPDATE invoices SET period_end = $3, currency = $4, subtotal = $5, tax = $6, total = $7, plan_id = $8, plan_version = $9,
             catalogue_version = $10, engine_version = $11, stored_before = $12, computation = $13, discounts = $14, credits = $15,
             version = $16, terms_version = $17, updated_at = now()
         WHERE tenant = $1 AND invoice_id = $2",
    )
    .bind(tenant)
    .bind(&id)
    .bind(Instant(draft.period_end))
    .bind(draft.currency.code())
    .bind(draft.subtotal.to_bigdecimal())
    .bind(draft.tax.to_bigdecimal())
    .bind(draft.total.to_bigdecimal())
    .bind(&draft.plan_id)
    .bind(draft.plan_version)
    .bind(draft.catalogue_version)
    .bind(i64::from(draft.engine_version))
    .bind(Instant(draft.stored_before))
    .bind(&draft.computation)
    .bind(draft.discounts.to_bigdecimal())
    .bind(draft.credits.to_bigdecimal())
    .bind(version)
    .bind(draft.terms_version)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok((id, SaveOutcome::Refreshed))
}

pub(super) async fn delete_lines(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoice: &str,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM invoice_line_items WHERE tenant = $1 AND invoice_id = $2")
        .bind(tenant)
        .bind(invoice)
        .execute(&mut **transaction)
        .await
        .doing("removing the lines of a draft")?;
    Ok(())
}

/// An invoice and its lines.
pub(super) type LinesOf<'a> = (&'a str, &'a [DraftLine]);

/// One statement, however many lines and invoices there are: a column is an array.
pub(super) async fn insert_lines(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoices: &[LinesOf<'_>],
) -> Result<(), StoreError> {
    let lines = || invoices.iter().flat_map(|(_, lines)| *lines);
    let owners = invoices.iter().flat_map(|(invoice, lines)| lines.iter().map(|_| *invoice));
    let positions = invoices.iter().flat_map(|(_, lines)| (0..).take(lines.len()));
    let meters = || lines().map(|line| line.meter.as_ref());
    sqlx::query(
        "INSERT INTO invoice_line_items (tenant, invoice_id, line_id, position, price, description, metric_id,
             metric_version, quantity, amount, period_start, period_end, detail)
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::integer[],
             $9::numeric[], $10::numeric[], $11::timestamptz[], $12::timestamptz[], $13::jsonb[])",
    )
    .bind(tenant)
    .bind(owners.collect::<Vec<_>>())
    .bind(lines().map(|_| id::new(Kind::Line)).collect::<Vec<_>>())
    .bind(positions.collect::<Vec<i32>>())
    .bind(lines().map(|line| line.price.as_str()).collect::<Vec<_>>())
    .bind(lines().map(|line| line.description.as_str()).collect::<Vec<_>>())
    .bind(meters().map(|meter| meter.map(|(id, _)| id.as_str())).collect::<Vec<Option<&str>>>())
    .bind(meters().map(|meter| meter.map(|(_, version)| *version)).collect::<Vec<Option<i32>>>())
    .bind(lines().map(|line| line.quantity.to_bigdecimal()).collect::<Vec<_>>())
    .bind(lines().map(|line| line.amount.to_bigdecimal()).collect::<Vec<_>>())
    .bind(lines().map(|line| Instant(line.period_start)).collect::<Vec<_>>())
    .bind(lines().map(|line| Instant(line.period_end)).collect::<Vec<_>>())
    .bind(lines().map(|line| &line.detail).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await
    .doing("saving invoice lines")?;
    Ok(())
}
