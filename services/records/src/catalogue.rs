//! The catalogue as the pipeline reads it: meters, customers and running subscriptions, whole and at one version. Every
//! event of every tenant passes the consumer, so this is a sweep over tenants; it returns no secrets and no money.

use jiff::Timestamp;
use meridian_billing::{
    catalogue::MeterSpec,
    ids::{CustomerKey, MeterName, PlanName, PriceName, SubscriptionId, TenantId},
};
use sqlx::{
    Postgres, Row, Transaction,
    postgres::{PgListener, PgPoolOptions, PgRow},
    types::Json,
};

use crate::{
    Records,
    error::{Doing, StoreError},
    instant::{self, Instant},
    scope::begin_snapshot_of_every_tenant,
};

/// Postgres channel on which every change of the catalogue is announced, with the new version as payload.
pub const CHANNEL: &str = "meridian_catalogue";

/// Everything that turns an event into a billed quantity, read in one transaction.
#[derive(Debug, Clone)]
pub struct CatalogueSnapshot {
    pub version: i64,
    /// Archived meters are not in it: their events are unknown, and quarantined as such.
    pub meters: Vec<MeterRow>,
    /// Customers that are not archived, subscribed or not.
    pub customers: Vec<CustomerRow>,
    /// Subscriptions that have not ended, with the charges of the newest version of their plan.
    pub subscriptions: Vec<SubscriptionRow>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MeterRow {
    /// `mtr_…`
    pub id: String,
    /// None: shared by all tenants of the region. A tenant's own meter goes before a shared one of the same name.
    pub tenant: Option<TenantId>,
    pub name: MeterName,
    pub version: i32,
    pub spec: MeterSpec,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerRow {
    pub tenant: TenantId,
    pub key: CustomerKey,
    /// `cus_…`
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    pub tenant: TenantId,
    pub customer: CustomerKey,
    pub id: SubscriptionId,
    pub plan: PlanName,
    pub plan_version: i32,
    pub starts_at: Timestamp,
    pub ends_at: Option<Timestamp>,
    pub charges: Vec<Charge>,
}

/// A price of a plan that counts usage, and what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub price: PriceName,
    pub meter: MeterName,
    /// `mtr_…`
    pub meter_id: String,
}

impl Records {
    /// The whole catalogue at one version.
    pub async fn catalogue(&self) -> Result<CatalogueSnapshot, StoreError> {
        const DOING: &str = "reading the catalogue";
        let mut transaction = begin_snapshot_of_every_tenant(&self.pool).await?;
        let version = sqlx::query_scalar("SELECT version FROM catalogue")
            .fetch_one(&mut *transaction)
            .await
            .doing(DOING)?;
        let meters = read_meters(&mut transaction).await?;
        let customers = read_customers(&mut transaction).await?;
        let subscriptions = read_subscriptions(&mut transaction).await?;
        transaction.commit().await.doing(DOING)?;
        Ok(CatalogueSnapshot { version, meters, customers, subscriptions })
    }

    /// The version alone: one row by its key, for those who hold a snapshot and wonder whether it is stale.
    pub async fn catalogue_version(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT version FROM catalogue")
            .fetch_one(&self.pool)
            .await
            .doing("reading the catalogue's version")
    }

    /// Wakes at every change of the catalogue, on a connection of its own. Announcements made while it was disconnected
    /// are lost: compare [`Records::catalogue_version`] now and then as well.
    pub async fn catalogue_changes(&self) -> Result<CatalogueChanges, StoreError> {
        const DOING: &str = "listening for changes of the catalogue";
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with((*self.connect_options).clone());
        let mut listener = PgListener::connect_with(&pool).await.doing(DOING)?;
        listener.listen(CHANNEL).await.doing(DOING)?;
        Ok(CatalogueChanges { listener })
    }
}

/// See [`Records::catalogue_changes`].
pub struct CatalogueChanges {
    listener: PgListener,
}

impl CatalogueChanges {
    /// Returns when something changed, or may have: after a lost connection it returns once it is listening again.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        self.listener.try_recv().await.doing("waiting for a change of the catalogue").map(|_| ())
    }
}

/// Raises the version and announces it. The row lock is held to the commit, so versions become visible in order: call it
/// last. Postgres delivers the announcement only when the transaction commits.
pub(crate) async fn bump(transaction: &mut Transaction<'_, Postgres>) -> Result<i64, StoreError> {
    sqlx::query_scalar(
        "WITH raised AS (UPDATE catalogue SET version = version + 1 RETURNING version)
         SELECT version FROM raised, LATERAL (SELECT pg_notify($1, version::text)) announced",
    )
    .bind(CHANNEL)
    .fetch_one(&mut **transaction)
    .await
    .doing("raising the catalogue's version")
}

async fn read_meters(transaction: &mut Transaction<'_, Postgres>) -> Result<Vec<MeterRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT m.metric_id, m.tenant, m.name, m.version, v.spec FROM metrics m JOIN metric_versions v USING (metric_id, version)
         WHERE m.archived_at IS NULL ORDER BY m.metric_id",
    )
    .fetch_all(&mut **transaction)
    .await
    .doing("reading meters")?;
    rows.iter().map(read_meter).collect()
}

pub(crate) fn read_meter(row: &PgRow) -> Result<MeterRow, StoreError> {
    const DOING: &str = "reading a meter";
    let tenant: Option<String> = row.try_get("tenant").doing(DOING)?;
    Ok(MeterRow {
        id: row.try_get("metric_id").doing(DOING)?,
        tenant: tenant
            .map(TenantId::new)
            .transpose()
            .map_err(|error| StoreError::unreadable(DOING, error))?,
        name: parsed(row, "name")?,
        version: row.try_get("version").doing(DOING)?,
        spec: row.try_get::<Json<MeterSpec>, _>("spec").doing(DOING)?.0,
    })
}

async fn read_customers(transaction: &mut Transaction<'_, Postgres>) -> Result<Vec<CustomerRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT tenant, key, customer_id FROM customers WHERE archived_at IS NULL ORDER BY customer_id",
    )
    .fetch_all(&mut **transaction)
    .await
    .doing("reading customers")?;
    rows.iter()
        .map(|row| {
            Ok(CustomerRow {
                tenant: parsed(row, "tenant")?,
                key: parsed(row, "key")?,
                id: row.try_get("customer_id").doing("reading a customer")?,
            })
        })
        .collect()
}

async fn read_subscriptions(
    transaction: &mut Transaction<'_, Postgres>,
) -> Result<Vec<SubscriptionRow>, StoreError> {
    const DOING: &str = "reading subscriptions";
    let rows = sqlx::query(
        "SELECT s.tenant, c.key AS customer, s.subscription_id, s.starts_at, s.ends_at, p.name AS plan, p.version AS plan_version,
                coalesce(charges.prices, '{}') AS prices, coalesce(charges.meters, '{}') AS meters,
                coalesce(charges.metric_ids, '{}') AS metric_ids
         FROM subscriptions s JOIN customers c USING (tenant, customer_id) JOIN plans p USING (plan_id)
         LEFT JOIN LATERAL (
             SELECT array_agg(pm.price ORDER BY pm.price) AS prices, array_agg(m.name ORDER BY pm.price) AS meters,
                    array_agg(pm.metric_id ORDER BY pm.price) AS metric_ids
             FROM plan_metrics pm JOIN metrics m USING (metric_id)
             WHERE pm.plan_id = p.plan_id AND pm.version = p.version) charges ON true
         WHERE s.state <> 'ended' ORDER BY s.subscription_id",
    )
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    rows.iter()
        .map(|row| {
            Ok(SubscriptionRow {
                tenant: parsed(row, "tenant")?,
                customer: parsed(row, "customer")?,
                id: parsed(row, "subscription_id")?,
                plan: parsed(row, "plan")?,
                plan_version: row.try_get("plan_version").doing(DOING)?,
                starts_at: row.try_get::<Instant, _>("starts_at").doing(DOING)?.0,
                ends_at: instant::read_optional(row, "ends_at").doing(DOING)?,
                charges: read_charges(row)?,
            })
        })
        .collect()
}

fn read_charges(row: &PgRow) -> Result<Vec<Charge>, StoreError> {
    const DOING: &str = "reading the charges of a subscription";
    let list = |column| row.try_get::<Vec<String>, _>(column).doing(DOING);
    let invalid = |error| StoreError::unreadable(DOING, error);
    let named = list("prices")?.into_iter().zip(list("meters")?).zip(list("metric_ids")?);
    named
        .map(|((price, meter), meter_id)| {
            Ok(Charge {
                price: PriceName::new(price).map_err(invalid)?,
                meter: MeterName::new(meter).map_err(invalid)?,
                meter_id,
            })
        })
        .collect()
}

/// A text column as the id type that it holds.
pub(crate) fn parsed<T>(row: &PgRow, column: &'static str) -> Result<T, StoreError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    const DOING: &str = "reading an id";
    let text: String = row.try_get(column).doing(DOING)?;
    text.parse().map_err(|error| StoreError::unreadable(DOING, format!("{column}: {error}")))
}
