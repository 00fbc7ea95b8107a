//! Reading invoices with their lines.

use meridian_billing::{
    decimal::{Amount, ParseDecimalError, Quantity},
    ids::{InvoiceId, SubscriptionId},
    invoice_state::{InvoiceState, InvoiceStatus},
    money::Currency,
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::BigDecimal};

use super::{Invoice, InvoiceLine, LineMeter};
use crate::{
    Listed, Page, StoreError, TenantRecords,
    catalogue::parsed,
    error::Doing,
    instant::{self, Instant},
};

const DOING: &str = "reading an invoice";

/// A query of whole rows, with this condition behind it.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT i.*, c.key AS customer, p.name AS plan FROM invoices i
                 JOIN customers c USING (tenant, customer_id) JOIN plans p USING (plan_id) ",
            $condition
        )
    };
}

impl TenantRecords {
    pub async fn invoice(&self, id: &InvoiceId) -> Result<Option<Invoice>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        find(&mut transaction, self.scope.tenant().as_str(), id.as_str()).await
    }

    /// In order of making, of one subscription when one is named.
    pub async fn invoices(
        &self,
        of: Option<&SubscriptionId>,
        page: &Page,
    ) -> Result<Listed<Invoice>, StoreError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(select!(
            "WHERE i.tenant = $1 AND i.invoice_id > $2 AND ($3::text IS NULL OR i.subscription_id = $3)
             ORDER BY i.invoice_id LIMIT $4"
        ))
        .bind(tenant)
        .bind(page.after_id())
        .bind(of.map(SubscriptionId::as_str))
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing("listing invoices")?;
        let mut invoices = rows.iter().map(invoice).collect::<Result<Vec<_>, _>>()?;
        add_lines(&mut transaction, tenant, &mut invoices).await?;
        Ok(page.cut(invoices, |invoice| invoice.id.to_string()))
    }

    /// The newest invoice of a period, whatever its state.
    pub async fn invoice_of_period(
        &self,
        subscription: &SubscriptionId,
        period_start: jiff::Timestamp,
    ) -> Result<Option<Invoice>, StoreError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let id: Option<String> = sqlx::query_scalar(
            "SELECT invoice_id FROM invoices WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3 AND part = 0
             ORDER BY revision DESC LIMIT 1",
        )
        .bind(tenant)
        .bind(subscription.as_str())
        .bind(Instant(period_start))
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        match id {
            Some(id) => find(&mut transaction, tenant, &id).await,
            None => Ok(None),
        }
    }
}

pub(super) async fn find(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &str,
) -> Result<Option<Invoice>, StoreError> {
    let row = sqlx::query(select!("WHERE i.tenant = $1 AND i.invoice_id = $2"))
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await
        .doing(DOING)?;
    let Some(row) = row else { return Ok(None) };
    let mut found = [invoice(&row)?];
    add_lines(transaction, tenant, &mut found).await?;
    let [invoice] = found;
    Ok(Some(invoice))
}

/// The row of an invoice, held until the transaction ends. Locks are taken in one order: the invoice, a counter of the
/// tenant, the subscription.
pub(crate) async fn locked(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &InvoiceId,
) -> Result<Option<PgRow>, StoreError> {
    sqlx::query("SELECT * FROM invoices WHERE tenant = $1 AND invoice_id = $2 FOR UPDATE")
        .bind(tenant)
        .bind(id.as_str())
        .fetch_optional(&mut **transaction)
        .await
        .doing("locking an invoice")
}

async fn add_lines(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoices: &mut [Invoice],
) -> Result<(), StoreError> {
    let ids: Vec<String> = invoices.iter().map(|invoice| invoice.id.to_string()).collect();
    let rows = sqlx::query(
        "SELECT l.*, m.name AS meter FROM invoice_line_items l LEFT JOIN metrics m USING (metric_id)
         WHERE l.tenant = $1 AND l.invoice_id = ANY($2) ORDER BY l.invoice_id, l.position",
    )
    .bind(tenant)
    .bind(&ids)
    .fetch_all(&mut **transaction)
    .await
    .doing("reading invoice lines")?;
    for row in &rows {
        let owner: &str = row.try_get("invoice_id").doing(DOING)?;
        if let Some(invoice) = invoices.iter_mut().find(|invoice| invoice.id.as_str() == owner) {
            invoice.lines.push(line(row)?);
        }
    }
    Ok(())
}

/// Where the invoice of a row stands, for the rules to decide on.
pub(crate) fn state(row: &PgRow) -> Result<InvoiceState, StoreError> {
    let unreadable = |error| StoreError::unreadable(DOING, error);
    let revision: i32 = row.try_get("revision").doing(DOING)?;
    Ok(InvoiceState {
        status: status(row)?,
        version: version(row)?,
        // The rules count from 1.
        revision: u32::try_from(i64::from(revision) + 1).map_err(unreadable)?,
        // A draft is computed when its grace window is over (the worker's check-period waits for that), so the end of the
        // period is all that is left to wait for.
        grace_until: row.try_get::<Instant, _>("period_end").doing(DOING)?.0,
        reissued: row.try_get("reissued").doing(DOING)?,
    })
}

fn version(row: &PgRow) -> Result<u64, StoreError> {
    let version: i64 = row.try_get("version").doing(DOING)?;
    u64::try_from(version).map_err(|error| StoreError::unreadable(DOING, error))
}

fn status(row: &PgRow) -> Result<InvoiceStatus, StoreError> {
    match row.try_get::<&str, _>("state").doing(DOING)? {
        "draft" => Ok(InvoiceStatus::Draft),
        "issued" => Ok(InvoiceStatus::Issued),
        "paid" => Ok(InvoiceStatus::Paid),
        "void" => Ok(InvoiceStatus::Void),
        "skipped" => Ok(InvoiceStatus::Skipped),
        other => Err(StoreError::unreadable(DOING, format!("state is {other:?}"))),
    }
}

fn invoice(row: &PgRow) -> Result<Invoice, StoreError> {
    let time = |column| Ok::<_, StoreError>(row.try_get::<Instant, _>(column).doing(DOING)?.0);
    Ok(Invoice {
        id: parsed(row, "invoice_id")?,
        customer_id: row.try_get("customer_id").doing(DOING)?,
        customer: parsed(row, "customer")?,
        subscription: parsed(row, "subscription_id")?,
        period_start: time("period_start")?,
        period_end: time("period_end")?,
        revision: row.try_get("revision").doing(DOING)?,
        part: row.try_get("part").doing(DOING)?,
        state: status(row)?,
        version: version(row)?,
        reissued: row.try_get("reissued").doing(DOING)?,
        number: row.try_get("number").doing(DOING)?,
        currency: parsed::<Currency>(row, "currency")?,
        subtotal: decimal(row, "subtotal", Amount::from_bigdecimal)?,
        discounts: decimal(row, "discounts", Amount::from_bigdecimal)?,
        credits: decimal(row, "credits", Amount::from_bigdecimal)?,
        tax: decimal(row, "tax", Amount::from_bigdecimal)?,
        total: decimal(row, "total", Amount::from_bigdecimal)?,
        plan_id: row.try_get("plan_id").doing(DOING)?,
        plan: parsed(row, "plan")?,
        plan_version: row.try_get("plan_version").doing(DOING)?,
        catalogue_version: row.try_get("catalogue_version").doing(DOING)?,
        engine_version: u32::try_from(row.try_get::<i64, _>("engine_version").doing(DOING)?)
            .map_err(|error| StoreError::unreadable(DOING, error))?,
        stored_before: time("stored_before")?,
        computation: row.try_get("computation").doing(DOING)?,
        created_at: time("created_at")?,
        issued_at: instant::read_optional(row, "issued_at").doing(DOING)?,
        paid_at: instant::read_optional(row, "paid_at").doing(DOING)?,
        payment_reference: row.try_get("payment_reference").doing(DOING)?,
        voided_at: instant::read_optional(row, "voided_at").doing(DOING)?,
        void_reason: row.try_get("void_reason").doing(DOING)?,
        lines: Vec::new(),
    })
}

fn line(row: &PgRow) -> Result<InvoiceLine, StoreError> {
    Ok(InvoiceLine {
        id: row.try_get("line_id").doing(DOING)?,
        price: parsed(row, "price")?,
        description: row.try_get("description").doing(DOING)?,
        meter: line_meter(row)?,
        quantity: decimal(row, "quantity", Quantity::from_bigdecimal)?,
        amount: decimal(row, "amount", Amount::from_bigdecimal)?,
        period_start: row.try_get::<Instant, _>("period_start").doing(DOING)?.0,
        period_end: row.try_get::<Instant, _>("period_end").doing(DOING)?.0,
        detail: row.try_get("detail").doing(DOING)?,
    })
}

fn line_meter(row: &PgRow) -> Result<Option<LineMeter>, StoreError> {
    let Some(id) = row.try_get::<Option<String>, _>("metric_id").doing(DOING)? else { return Ok(None) };
    Ok(Some(LineMeter {
        id,
        name: parsed(row, "meter")?,
        version: row.try_get("metric_version").doing(DOING)?,
    }))
}

pub(super) fn decimal<T>(
    row: &PgRow,
    column: &'static str,
    convert: impl Fn(&BigDecimal) -> Result<T, ParseDecimalError>,
) -> Result<T, StoreError> {
    let value: BigDecimal = row.try_get(column).doing(DOING)?;
    convert(&value).map_err(|error| StoreError::unreadable(DOING, format!("{column} {error}")))
}
