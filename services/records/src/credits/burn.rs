//! Invoices and credits: an invoice spends them when it is issued, asks what it would spend while it is not, and gives them
//! back when it is void. Which grant pays what is the core's to decide.

use jiff::{SignedDuration, Timestamp};
use meridian_billing::{
    catalogue::Billed,
    ids::{InvoiceId, TenantId},
    invoice::{InvoiceInput, InvoiceKind, burnable},
    ledger::{BurnRequest, Burned, LedgerError, Overage},
    money::Currency,
};
use sqlx::{Postgres, Row, Transaction};

use super::{CreditError, HeldLedger, LedgerKey, held::Loaded};
use crate::{
    TenantRecords,
    catalogue::parsed,
    error::{Doing, StoreError},
    instant::Instant,
};

/// Pays the invoice from the ledger, once, and appends what that moved; all of it is undone if the transaction is. The ledger is
/// left as it stands `now`, which may be long after the period that the invoice is for.
pub(crate) async fn burn(
    transaction: &mut Transaction<'_, Postgres>,
    mut held: HeldLedger,
    invoice: &InvoiceId,
    input: &InvoiceInput,
    overage: Overage,
    now: Timestamp,
) -> Result<Burned, CreditError> {
    // What the revision before gave back is this one's to spend.
    let replaces = of_period(transaction, &held.loaded.key.tenant, input, &["void"]).await?;
    let request = BurnRequest { replaces, ..request(&held.loaded, invoice.clone(), input, overage)? };
    let burned = held.loaded.burn(request)?;
    held.bring_to(now)?;
    held.store(transaction, now).await?;
    Ok(burned)
}

/// What the ledger would pay if the invoice were issued as it is; None where the customer has no ledger in this currency. What an
/// issued invoice of the same period spent is there to be spent again. Nothing is stored. The transaction reads one snapshot.
async fn preview_burn(
    transaction: &mut Transaction<'_, Postgres>,
    key: LedgerKey,
    input: &InvoiceInput,
    overage: Overage,
) -> Result<Option<Burned>, CreditError> {
    let tenant = key.tenant.clone();
    let mut loaded = Loaded::read(transaction, key).await?;
    if loaded.has_no_grants() {
        return Ok(None);
    }
    if let Some(issued) = of_period(transaction, &tenant, input, &["issued", "paid"]).await?
        && let Some(burned_at) = loaded.ledger.burned_at(&issued)
    {
        loaded.ledger.void(&issued, burned_at)?;
    }
    let replaces = of_period(transaction, &tenant, input, &["issued", "paid", "void"]).await?;
    let request = BurnRequest { replaces, ..request(&loaded, InvoiceId::new("preview")?, input, overage)? };
    Ok(Some(loaded.burn(request)?))
}

/// The newest invoice of the input's whole period in one of these states; None for an input of a part, which is never void.
async fn of_period(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &TenantId,
    input: &InvoiceInput,
    states: &[&str],
) -> Result<Option<InvoiceId>, StoreError> {
    if input.kind != InvoiceKind::Period {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT invoice_id FROM invoices WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3 AND part = 0
             AND state = ANY($4) ORDER BY revision DESC LIMIT 1",
    )
    .bind(tenant.as_str())
    .bind(input.subscription.as_str())
    .bind(Instant(input.period.start))
    .bind(states)
    .fetch_optional(&mut **transaction)
    .await
    .doing("finding the invoice of a period")?;
    row.map(|row| parsed(&row, "invoice_id")).transpose()
}

/// Gives back what a void invoice spent, as of `at`; an invoice that never asked the ledger leaves it alone. Giving back again
/// changes nothing.
pub(crate) async fn take_back(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &TenantId,
    invoice: &InvoiceId,
    at: Timestamp,
) -> Result<(), CreditError> {
    const DOING: &str = "finding the ledger of an invoice";
    let row = sqlx::query("SELECT customer_id, currency FROM invoices WHERE tenant = $1 AND invoice_id = $2")
        .bind(tenant.as_str())
        .bind(invoice.as_str())
        .fetch_one(&mut **transaction)
        .await
        .doing(DOING)?;
    let key = LedgerKey {
        tenant: tenant.clone(),
        customer_id: row.try_get("customer_id").doing(DOING)?,
        currency: parsed(&row, "currency")?,
    };
    let Some(mut held) = HeldLedger::hold(transaction, &key).await? else { return Ok(()) };
    // The rows hold microseconds, and an entry must be read back as it was written.
    let at = Timestamp::from_microsecond(at.as_microsecond())
        .map_err(|error| StoreError::unreadable("voiding an invoice", error))?;
    held.bring_to(at)?;
    match held.loaded.ledger.void(invoice, at) {
        // It was issued before the customer was given anything.
        Err(LedgerError::UnknownInvoice(_)) => {}
        voided => voided?,
    }
    held.store(transaction, at).await?;
    Ok(())
}

impl TenantRecords {
    /// What credits would pay of an invoice that is not issued, for its draft or preview to show. Nothing is stored.
    pub async fn credits_for(
        &self,
        customer_id: &str,
        currency: Currency,
        input: &InvoiceInput,
        overage: Overage,
    ) -> Result<Option<Burned>, CreditError> {
        let key = self.ledger_key(customer_id, currency);
        let mut transaction = self.scope.begin_snapshot(&self.pool).await?;
        preview_burn(&mut transaction, key, input, overage).await
    }
}

impl Loaded {
    fn burn(&mut self, request: BurnRequest) -> Result<Burned, CreditError> {
        self.bring_to(request.at)?;
        Ok(self.ledger.burn(request)?)
    }
}

/// As of the period's last instant, so that a grant which ends with the period pays for its usage; before the period is over, as
/// of what the invoice saw.
fn request(
    loaded: &Loaded,
    invoice: InvoiceId,
    input: &InvoiceInput,
    overage: Overage,
) -> Result<BurnRequest, CreditError> {
    let last = match input.kind {
        InvoiceKind::Period => input.period.end.checked_sub(SignedDuration::from_micros(1)),
        InvoiceKind::Progressive | InvoiceKind::Opening => Ok(input.stored_before),
    };
    Ok(BurnRequest {
        invoice,
        billed: Billed::InArrears,
        at: last.map_err(|error| StoreError::unreadable("finding the last instant of a period", error))?,
        currency: loaded.key.currency,
        lines: burnable(input)?,
        overage,
        replaces: None,
    })
}

#[cfg(all(test, feature = "stores-tests"))]
#[path = "take_back_tests.rs"]
mod take_back_tests;
