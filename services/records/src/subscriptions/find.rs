//! Reading subscriptions.

use std::collections::BTreeMap;

use meridian_billing::{
    ids::SubscriptionId,
    period::{Anchor, Period},
    subscription::{BillingAnchor, CustomTerms},
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};

use super::{ManagedBy, Subscription, SubscriptionState};
use crate::{
    Listed, Page, StoreError, TenantRecords,
    catalogue::parsed,
    error::Doing,
    instant::{self, Instant},
};

const DOING: &str = "reading a subscription";

/// A query of whole rows, with this condition behind it.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT s.*, c.key AS customer, p.name AS plan FROM subscriptions s
                 JOIN customers c USING (tenant, customer_id) JOIN plans p USING (plan_id) ",
            $condition
        )
    };
}

pub(super) use select;

impl TenantRecords {
    pub async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Subscription>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        find(&mut transaction, self.scope.tenant().as_str(), id.as_str()).await
    }

    /// In order of making, of one customer (`cus_…`) when one is named.
    pub async fn subscriptions(
        &self,
        of: Option<&str>,
        page: &Page,
    ) -> Result<Listed<Subscription>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(select!(
            "WHERE s.tenant = $1 AND s.subscription_id > $2 AND ($3::text IS NULL OR s.customer_id = $3)
             ORDER BY s.subscription_id LIMIT $4"
        ))
        .bind(self.scope.tenant().as_str())
        .bind(page.after_id())
        .bind(of)
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing("listing subscriptions")?;
        let subscriptions = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(subscriptions, |subscription| subscription.id.to_string()))
    }
}

pub(crate) async fn find(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &str,
) -> Result<Option<Subscription>, StoreError> {
    let row = sqlx::query(select!("WHERE s.tenant = $1 AND s.subscription_id = $2"))
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await
        .doing(DOING)?;
    row.as_ref().map(read).transpose()
}

/// The rows of those that are there, by their ids.
pub(crate) async fn rows(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    ids: &[&str],
) -> Result<BTreeMap<String, PgRow>, StoreError> {
    let rows = sqlx::query(select!("WHERE s.tenant = $1 AND s.subscription_id = ANY($2)"))
        .bind(tenant)
        .bind(ids)
        .fetch_all(&mut **transaction)
        .await
        .doing("reading subscriptions")?;
    by_id(rows)
}

/// Like [`rows`], and holds them until the transaction ends. Locked in the order of their ids, as everybody who locks several
/// must do.
pub(super) async fn rows_locked(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    ids: &[&str],
) -> Result<BTreeMap<String, PgRow>, StoreError> {
    let rows = sqlx::query(select!(
        "WHERE s.tenant = $1 AND s.subscription_id = ANY($2) ORDER BY s.subscription_id FOR NO KEY UPDATE OF s"
    ))
    .bind(tenant)
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await
    .doing("locking subscriptions")?;
    by_id(rows)
}

fn by_id(rows: Vec<PgRow>) -> Result<BTreeMap<String, PgRow>, StoreError> {
    rows.into_iter().map(|row| Ok((row.try_get("subscription_id").doing(DOING)?, row))).collect()
}

/// Like [`find`], and holds the row until the transaction ends.
pub(super) async fn find_locked(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &str,
) -> Result<Option<Subscription>, StoreError> {
    let row = sqlx::query(select!("WHERE s.tenant = $1 AND s.subscription_id = $2 FOR NO KEY UPDATE OF s"))
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut **transaction)
        .await
        .doing("locking a subscription")?;
    row.as_ref().map(read).transpose()
}

/// The running subscription that the operator keeps for the tenant itself, held until the transaction ends.
pub(crate) async fn kept_by_kubernetes(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
) -> Result<Option<Subscription>, StoreError> {
    let row = sqlx::query(select!(
        "WHERE s.tenant = $1 AND s.managed_by = 'kubernetes' AND s.state = 'active' FOR NO KEY UPDATE OF s"
    ))
    .bind(tenant)
    .fetch_optional(&mut **transaction)
    .await
    .doing("finding the tenant's own subscription")?;
    row.as_ref().map(read).transpose()
}

/// Whether any period of it was computed, issued or not.
pub(crate) async fn has_invoices(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &SubscriptionId,
) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM invoices WHERE tenant = $1 AND subscription_id = $2)")
        .bind(tenant)
        .bind(id.as_str())
        .fetch_one(&mut **transaction)
        .await
        .doing("looking for invoices of a subscription")
}

pub(crate) fn read(row: &PgRow) -> Result<Subscription, StoreError> {
    let next_start = instant::read_optional(row, "next_period_start").doing(DOING)?;
    let next_end = instant::read_optional(row, "next_period_end").doing(DOING)?;
    Ok(Subscription {
        id: parsed(row, "subscription_id")?,
        tenant: parsed(row, "tenant")?,
        customer_id: row.try_get("customer_id").doing(DOING)?,
        customer: parsed(row, "customer")?,
        plan_id: row.try_get("plan_id").doing(DOING)?,
        plan: parsed(row, "plan")?,
        plans: row.try_get::<Json<_>, _>("plans").doing(DOING)?.0,
        state: state(row)?,
        time_zone: row.try_get("time_zone").doing(DOING)?,
        anchor: match row.try_get::<Json<Anchor>, _>("anchor").doing(DOING)?.0 {
            Anchor::Calendar => BillingAnchor::Calendar,
            Anchor::Start { at: _ } => BillingAnchor::Anniversary,
        },
        starts_at: row.try_get::<Instant, _>("starts_at").doing(DOING)?.0,
        ends_at: instant::read_optional(row, "ends_at").doing(DOING)?,
        next_period: next_start.zip(next_end).map(|(start, end)| Period { start, end }),
        terms: row.try_get::<Json<CustomTerms>, _>("terms").doing(DOING)?.0,
        terms_version: row.try_get("terms_version").doing(DOING)?,
        managed_by: ManagedBy::read(row, DOING)?,
        created_at: row.try_get::<Instant, _>("created_at").doing(DOING)?.0,
    })
}

fn state(row: &PgRow) -> Result<SubscriptionState, StoreError> {
    match row.try_get::<&str, _>("state").doing(DOING)? {
        "active" => Ok(SubscriptionState::Active),
        "cancelled" => Ok(SubscriptionState::Cancelled),
        "ended" => Ok(SubscriptionState::Ended),
        other => Err(StoreError::unreadable(DOING, format!("state is {other:?}"))),
    }
}
