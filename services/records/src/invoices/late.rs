//! From where late usage is counted: what a subscription's invoices were told of its periods, and that nothing is charged on top of
//! what is not so any more.
//!
//! An invoice that charges late usage (`billing::invoice::LateUsage`) builds on the invoice of that period and on the last one that
//! charged late usage of it. So issuing it locks the period's invoice and looks whether both still are the last word, and none of
//! them is void while something valid builds on it.

use jiff::Timestamp;
use meridian_billing::{
    ids::{InvoiceId, SubscriptionId},
    invoice::{Computation, InvoiceInput, LateUsage, PriceUsage},
    period::Period,
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};

use super::InvoiceError;
use crate::{StoreError, TenantRecords, catalogue::parsed, error::Doing, instant::Instant};

const DOING: &str = "reading what was billed of earlier periods";
/// How an input with late usage shows in its text, which has no spaces. Whatever else has it is merely read in vain.
const HAS_LATE_USAGE: &str = r#""late":["#;

/// A period that has an invoice, and what its prices were told the last time that anything of it was charged.
#[derive(Debug, Clone, PartialEq)]
pub struct BilledPeriod {
    pub invoice: InvoiceId,
    /// What that invoice was computed from.
    pub input: InvoiceInput,
    /// The cutoff of what was charged last.
    pub stored_before: Timestamp,
    pub charged: Vec<PriceUsage>,
}

impl BilledPeriod {
    pub fn period(&self) -> Period {
        self.input.period
    }
}

impl TenantRecords {
    /// The cutoffs of the invoices of the periods just before these, in their order: until then all that is late was seen. None
    /// for a period without one.
    pub async fn cutoffs_before(
        &self,
        periods: &[(SubscriptionId, Timestamp)],
    ) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT (SELECT i.stored_before FROM invoices i
                     WHERE i.tenant = $1 AND i.subscription_id = asked.subscription_id AND i.period_start < asked.period_start
                       AND i.part = 0 AND i.state IN ('issued', 'paid', 'skipped')
                     ORDER BY i.period_start DESC LIMIT 1) AS cutoff
             FROM unnest($2::text[], $3::timestamptz[]) WITH ORDINALITY AS asked (subscription_id, period_start, place)
             ORDER BY place",
        )
        .bind(self.scope.tenant().as_str())
        .bind(periods.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
        .bind(periods.iter().map(|(_, start)| Instant(*start)).collect::<Vec<_>>())
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
        rows.iter().map(|row| crate::instant::read_optional(row, "cutoff").doing(DOING)).collect()
    }

    /// The periods of a subscription that have an invoice, end after `from` and not after `until`, with what was charged of them but
    /// by the invoice of the period that starts with `until`; oldest first.
    pub async fn billed_periods(
        &self,
        subscription: &SubscriptionId,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<BilledPeriod>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let tenant = self.scope.tenant().as_str();
        let mut invoices = valid_since(&mut transaction, tenant, subscription.as_str(), from, false).await?;
        // What the period itself was billed already is what is asked about again.
        invoices.retain(|invoice| invoice.input.period.start != until);
        let billed = invoices.iter().filter(|invoice| invoice.input.period.end <= until);
        Ok(billed.map(|invoice| last_charged(invoice, &invoices)).collect())
    }
}

/// An invoice that is neither a draft nor void.
struct Valid {
    id: InvoiceId,
    input: InvoiceInput,
}

/// Those of a subscription's periods that end after an instant; `late`: those alone that charge late usage.
async fn valid_since(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    subscription: &str,
    from: Timestamp,
    late: bool,
) -> Result<Vec<Valid>, StoreError> {
    let rows = sqlx::query(
        "SELECT invoice_id, computation FROM invoices
         WHERE tenant = $1 AND subscription_id = $2 AND period_end > $3 AND part = 0 AND state IN ('issued', 'paid', 'skipped')
           AND (NOT $4 OR position($5 IN computation) > 0)
         ORDER BY period_start",
    )
    .bind(tenant)
    .bind(subscription)
    .bind(Instant(from))
    .bind(late)
    .bind(HAS_LATE_USAGE)
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    rows.iter()
        .map(|row| {
            Ok(Valid {
                id: parsed(row, "invoice_id")?,
                input: input(row.try_get("computation").doing(DOING)?)?,
            })
        })
        .collect()
}

fn input(computation: &str) -> Result<InvoiceInput, StoreError> {
    let computation: Computation =
        serde_json::from_str(computation).map_err(|error| StoreError::unreadable(DOING, error))?;
    Ok(computation.input)
}

fn late_of(input: &InvoiceInput, period: Period) -> Option<&LateUsage> {
    input.late.iter().find(|late| late.period == period)
}

fn last_charged(billed: &Valid, all: &[Valid]) -> BilledPeriod {
    let own = (billed.input.stored_before, &billed.input.usage);
    let later = all.iter().filter_map(|invoice| {
        Some((invoice.input.stored_before, &late_of(&invoice.input, billed.input.period)?.usage))
    });
    let (stored_before, usage) = later.chain([own]).max_by_key(|(at, _)| *at).unwrap_or(own);
    BilledPeriod {
        invoice: billed.id.clone(),
        input: billed.input.clone(),
        stored_before,
        charged: usage.iter().map(PriceUsage::whole).collect(),
    }
}

/// Whether a computation's text may hold late usage.
pub(super) fn may_charge_late_usage(computation: &str) -> bool {
    computation.contains(HAS_LATE_USAGE)
}

/// Before an invoice is issued: what its late usage is counted from is still the last word, and stays it.
pub(super) async fn check(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    row: &PgRow,
) -> Result<(), InvoiceError> {
    let computation: &str = row.try_get("computation").doing(DOING)?;
    if !may_charge_late_usage(computation) {
        return Ok(());
    }
    let input = input(computation)?;
    let Some(from) = input.late.iter().map(|late| late.period.start).min() else { return Ok(()) };
    lock_bases(transaction, tenant, &input).await?;
    let subscription: &str = row.try_get("subscription_id").doing(DOING)?;
    let valid = valid_since(transaction, tenant, subscription, from, false).await?;
    for late in &input.late {
        let base = valid.iter().find(|invoice| invoice.id == late.invoice);
        let holds = base.is_some_and(|base| last_charged(base, &valid).stored_before == late.stored_from);
        if !holds {
            return Err(InvoiceError::LateUsageOutdated);
        }
    }
    Ok(())
}

/// The invoices of the periods whose late usage is charged. Who charges late usage of the same period meanwhile, or makes an invoice
/// void that did, waits here or is seen afterwards. Newest first, as who makes one void has locked its own before.
async fn lock_bases(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    input: &InvoiceInput,
) -> Result<(), StoreError> {
    let bases: Vec<&str> = input.late.iter().map(|late| late.invoice.as_str()).collect();
    sqlx::query(
        "SELECT FROM invoices WHERE tenant = $1 AND invoice_id = ANY($2) ORDER BY period_start DESC, invoice_id DESC FOR UPDATE",
    )
    .bind(tenant)
    .bind(&bases)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok(())
}

/// Whether a valid invoice counts late usage from this one, whose row is locked.
pub(super) async fn is_built_upon(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    row: &PgRow,
) -> Result<bool, StoreError> {
    let id: InvoiceId = parsed(row, "invoice_id")?;
    let own = input(row.try_get("computation").doing(DOING)?)?;
    lock_bases(transaction, tenant, &own).await?;
    let subscription: &str = row.try_get("subscription_id").doing(DOING)?;
    let of_late = own.late.iter().map(|late| late.period.start);
    let from = of_late.chain([own.period.start]).min().unwrap_or(own.period.start);
    let valid = valid_since(transaction, tenant, subscription, from, true).await?;
    let counts_from = |late: &LateUsage| {
        late.invoice == id || (late.stored_from == own.stored_before && late_of(&own, late.period).is_some())
    };
    Ok(valid
        .iter()
        .filter(|invoice| invoice.id != id)
        .any(|invoice| invoice.input.late.iter().any(counts_from)))
}
