//! What an invoice charged in advance, for the time after its own period: the amounts as its lines say them, and what its coupons
//! took off them and its customer's credits paid as its computation says it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    decimal::Amount,
    invoice::{AdvanceCharge, Computation, InvoiceInput, charged_ahead},
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::BigDecimal};

use super::Subscription;
use crate::{StoreError, catalogue::parsed, error::Doing, instant::Instant};

const DOING: &str = "reading what was charged in advance";

/// The newest invoices whose periods end at given instants, with what they charged for the time after.
pub(super) struct ChargedByInvoices {
    /// By subscription and end of the period.
    invoices: BTreeMap<(String, Timestamp), PgRow>,
    /// By invoice.
    charges: BTreeMap<String, Vec<PgRow>>,
}

impl ChargedByInvoices {
    /// Of subscriptions, each by its id, and the instants at which the periods end.
    pub async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        tenant: &str,
        ends: &[(&str, Timestamp)],
    ) -> Result<Self, StoreError> {
        // Each is looked up by its subscription, whatever the planner thinks of the table's size: no index has the ends of periods.
        let rows = sqlx::query(
            "SELECT i.subscription_id, i.period_end, i.invoice_id, i.state, i.reissued,
                 CASE WHEN EXISTS (SELECT FROM invoice_line_items l WHERE l.invoice_id = i.invoice_id
                     AND l.detail->>'role' IN ('discount', 'credit') AND l.detail->>'plan' IS NULL)
                 THEN i.computation END AS not_in_money
             FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::timestamptz[])) AS asked (subscription_id, period_end)
             CROSS JOIN LATERAL (SELECT * FROM invoices i
                 WHERE i.tenant = $1 AND i.subscription_id = asked.subscription_id AND i.period_end = asked.period_end AND i.part = 0
                 ORDER BY i.revision DESC LIMIT 1) i",
        )
        .bind(tenant)
        .bind(ends.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(ends.iter().map(|(_, end)| Instant(*end)).collect::<Vec<_>>())
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let mut invoices = BTreeMap::new();
        let mut ids: Vec<String> = Vec::with_capacity(rows.len());
        for row in rows {
            ids.push(row.try_get("invoice_id").doing(DOING)?);
            let subscription: String = row.try_get("subscription_id").doing(DOING)?;
            let end = row.try_get::<Instant, _>("period_end").doing(DOING)?.0;
            invoices.insert((subscription, end), row);
        }
        Ok(Self { invoices, charges: charges(transaction, tenant, &ids).await? })
    }

    /// What the invoice whose period ends at this instant charged for the time after it; None where there is no such invoice.
    pub fn until(
        &self,
        subscription: &str,
        period_end: Timestamp,
    ) -> Result<Option<Vec<AdvanceCharge>>, StoreError> {
        let Some(invoice) = self.invoices.get(&(subscription.to_owned(), period_end)) else {
            return Ok(None);
        };
        match (invoice.try_get::<&str, _>("state").doing(DOING)?, invoice.try_get("reissued").doing(DOING)?) {
            // Its next revision is still to come.
            ("void", true) => return Ok(None),
            ("void", false) => return Ok(Some(Vec::new())),
            _ => {}
        }
        let id: &str = invoice.try_get("invoice_id").doing(DOING)?;
        let charges = self.charges.get(id).map(Vec::as_slice).unwrap_or_default();
        let mut charges: Vec<AdvanceCharge> = charges.iter().map(charge).collect::<Result<_, _>>()?;
        if let Some(computation) = invoice.try_get::<Option<&str>, _>("not_in_money").doing(DOING)? {
            let computed = computed(computation)?;
            for charge in &mut charges {
                let same = |other: &&AdvanceCharge| other.plan == charge.plan && other.price == charge.price;
                if let Some(AdvanceCharge { discounts, credits, .. }) = computed.iter().find(same) {
                    charge.discounts.clone_from(discounts);
                    charge.credits.clone_from(credits);
                }
            }
        }
        Ok(Some(charges))
    }
}

/// What an invoice charged in advance, with what coupons took off it and what credits paid.
fn computed(computation: &str) -> Result<Vec<AdvanceCharge>, StoreError> {
    let Computation { input, invoice: _ } =
        serde_json::from_str(computation).map_err(|error| StoreError::unreadable(DOING, error))?;
    // By this release's engine, whichever computed it.
    let input = InvoiceInput { engine_version: ENGINE_VERSION, ..input };
    charged_ahead(&input).map_err(|error| StoreError::unreadable(DOING, error))
}

async fn charges(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoices: &[String],
) -> Result<BTreeMap<String, Vec<PgRow>>, StoreError> {
    let rows = sqlx::query(
        "SELECT l.invoice_id, coalesce(l.detail->>'plan', p.name) AS plan, l.price, sum(l.amount) AS amount
         FROM invoice_line_items l JOIN invoices i USING (invoice_id) JOIN plans p USING (plan_id)
         WHERE l.tenant = $1 AND l.invoice_id = ANY($2) AND l.period_start >= i.period_end
           AND l.detail->>'role' IN ('flat', 'proration', 'discount')
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )
    .bind(tenant)
    .bind(invoices)
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    let mut charges: BTreeMap<String, Vec<PgRow>> = BTreeMap::new();
    for row in rows {
        charges.entry(row.try_get("invoice_id").doing(DOING)?).or_default().push(row);
    }
    Ok(charges)
}

fn charge(row: &PgRow) -> Result<AdvanceCharge, StoreError> {
    let amount: BigDecimal = row.try_get("amount").doing(DOING)?;
    let amount = Amount::from_bigdecimal(&amount).map_err(|error| StoreError::unreadable(DOING, error))?;
    Ok(AdvanceCharge {
        plan: parsed(row, "plan")?,
        price: parsed(row, "price")?,
        amount,
        discounts: Vec::new(),
        credits: Vec::new(),
        at_start: false,
    })
}

/// Whether an invoice charged something in advance for a period whose own invoice counts on that.
pub(crate) async fn is_settled(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    invoice: &PgRow,
) -> Result<bool, StoreError> {
    let id: String = invoice.try_get("invoice_id").doing(DOING)?;
    let charged = charges(transaction, tenant, std::slice::from_ref(&id)).await?;
    let charged: Vec<AdvanceCharge> =
        charged.get(&id).into_iter().flatten().map(charge).collect::<Result<_, _>>()?;
    if charged.iter().all(|charge| charge.amount.is_zero()) {
        return Ok(false);
    }
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM invoices WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3 AND part = 0
             AND state IN ('issued', 'paid', 'skipped'))",
    )
    .bind(tenant)
    .bind(invoice.try_get::<&str, _>("subscription_id").doing(DOING)?)
    .bind(invoice.try_get::<Instant, _>("period_end").doing(DOING)?)
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)
}

/// See [`ChargedByInvoices::until`].
pub(crate) async fn charged_by_invoice(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    period_end: Timestamp,
) -> Result<Option<Vec<AdvanceCharge>>, StoreError> {
    let (tenant, id) = (subscription.tenant.as_str(), subscription.id.as_str());
    ChargedByInvoices::read(transaction, tenant, &[(id, period_end)]).await?.until(id, period_end)
}
