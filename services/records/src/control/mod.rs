//! What the operator tells a region: the meters, plans and tenants that stand in Kubernetes objects. Saying the same thing
//! again (same uid, generation and keys) writes nothing. A changed meter or plan gets a new version; old versions stay,
//! because invoices name them. What is deleted in Kubernetes is archived here: billing history stays.
//!
//! Objects of several tenants and shared ones pass through here, so all of it runs over every tenant. Writers take turns
//! (one advisory lock): the catalogue changes rarely, and its rules span rows.

mod archive;
mod meters;
mod plans;
mod tenants;

use sqlx::{PgPool, Postgres, Row, Transaction, postgres::PgRow};

pub use tenants::{ApiKeyHash, TenantRequest};

use crate::{
    Records, StoreError, SubscriptionError,
    error::Doing,
    scope::{begin_for_every_tenant, begin_snapshot_of_every_tenant},
};

/// Which state of which Kubernetes object a request speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub uid: String,
    pub generation: i64,
}

/// What the region now holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub name: String,
    pub generation: i64,
    /// Of the meter, plan or tenant; it grows with each change that is one.
    pub version: i32,
    /// False: it was so already, and nothing was written.
    pub changed: bool,
}

/// Everything that the operator ever put here, archived things included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueListing {
    pub meters: Vec<CatalogueEntry>,
    pub plans: Vec<CatalogueEntry>,
    pub tenants: Vec<CatalogueEntry>,
}

/// A line of the operator's comparison of Kubernetes and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub version: i32,
    pub archived: bool,
    /// The living keys of a tenant, in order of name; none for meters and plans.
    pub api_keys: Vec<ApiKeyHash>,
}

/// Fields are paths below `spec`.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "{field} cannot be changed, because past usage or invoices rest on it: make a new object instead"
    )]
    Immutable { field: &'static str },
    #[error("meter {name:?} does not exist in this region (yet)")]
    MeterMissing { name: String, field: String },
    /// A plan's price asks its meter for something that the meter does not have.
    #[error("{detail}")]
    MeterMisfit { field: String, detail: String },
    /// The meter would no longer have what a price of a plan asks of it.
    #[error("plan {plan:?} counts this meter, and would not fit it: {detail}: change that plan first")]
    PlanMisfit { plan: String, detail: String },
    #[error("plan {name:?} does not exist in this region (yet)")]
    PlanMissing { name: String },
    #[error("tenant {name:?} does not exist in this region (yet)")]
    TenantMissing { name: String },
    #[error("this region is dedicated to tenant {to:?} and refuses every other")]
    TenancyRefused { to: String },
    #[error("{name:?} exists already and is kept by the REST API, not by Kubernetes")]
    NameTaken { name: String },
    #[error("the API key {name:?} is the living key of another tenant or name")]
    KeyTaken { name: String },
    #[error("{field}: {detail}")]
    Invalid { field: String, detail: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SubscriptionError> for ControlError {
    /// The platform's own subscription of a tenant is made from the Tenant's spec, so what is wrong with it is a field of that.
    fn from(error: SubscriptionError) -> Self {
        match error {
            SubscriptionError::Store(error) => Self::Store(error),
            SubscriptionError::Period(error) => {
                Self::Invalid { field: "billingStart".to_owned(), detail: error.to_string() }
            }
            other => Self::Invalid { field: "planRef".to_owned(), detail: other.to_string() },
        }
    }
}

impl Records {
    /// What the region has, for the operator to compare with what it should have.
    pub async fn catalogue_listing(&self) -> Result<CatalogueListing, StoreError> {
        const DOING: &str = "listing the catalogue";
        let mut transaction = begin_snapshot_of_every_tenant(&self.pool).await?;
        let meters = entries(
            &mut transaction,
            "SELECT name, coalesce(source_uid, '') AS uid, coalesce(source_generation, 0) AS generation, version,
                    archived_at IS NOT NULL AS archived FROM metrics WHERE managed_by = 'kubernetes' ORDER BY name, archived DESC",
        )
        .await?;
        let plans = entries(
            &mut transaction,
            "SELECT name, coalesce(source_uid, '') AS uid, coalesce(source_generation, 0) AS generation, version,
                    archived_at IS NOT NULL AS archived FROM plans WHERE managed_by = 'kubernetes' ORDER BY name, archived DESC",
        )
        .await?;
        let mut tenants = entries(
            &mut transaction,
            "SELECT tenant AS name, coalesce(source_uid, '') AS uid, coalesce(source_generation, 0) AS generation, version,
                    archived_at IS NOT NULL AS archived FROM organizations WHERE managed_by = 'kubernetes' ORDER BY name",
        )
        .await?;
        let keys: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT tenant, name, key_hash FROM api_keys WHERE revoked_at IS NULL ORDER BY tenant, name",
        )
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
        for (tenant, name, hash) in keys {
            if let Some(entry) = tenants.iter_mut().find(|entry| entry.name == tenant) {
                entry.api_keys.push(ApiKeyHash { name, hash });
            }
        }
        Ok(CatalogueListing { meters, plans, tenants })
    }
}

async fn entries(
    transaction: &mut Transaction<'_, Postgres>,
    query: &'static str,
) -> Result<Vec<CatalogueEntry>, StoreError> {
    const DOING: &str = "listing a part of the catalogue";
    let rows = sqlx::query(query).fetch_all(&mut **transaction).await.doing(DOING)?;
    rows.iter().map(read_entry).collect::<Result<Vec<_>, _>>().doing(DOING)
}

fn read_entry(row: &PgRow) -> Result<CatalogueEntry, sqlx::Error> {
    Ok(CatalogueEntry {
        name: row.try_get("name")?,
        uid: row.try_get("uid")?,
        generation: row.try_get("generation")?,
        version: row.try_get("version")?,
        archived: row.try_get("archived")?,
        api_keys: Vec::new(),
    })
}

/// A transaction over all tenants that waits its turn among writers of the catalogue.
async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut transaction = begin_for_every_tenant(pool).await?;
    // The lock is per schema, so that tests in schemas of their own do not wait for each other.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '/meridian-control', 0))")
        .execute(&mut *transaction)
        .await
        .doing("waiting for other writers of the catalogue")?;
    Ok(transaction)
}

/// A referenced tenant must be there: it owns the row.
async fn require_tenant(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: Option<&str>,
) -> Result<(), ControlError> {
    let Some(name) = tenant else { return Ok(()) };
    let exists: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM organizations WHERE tenant = $1 AND archived_at IS NULL)",
    )
    .bind(name)
    .fetch_one(&mut **transaction)
    .await
    .doing("looking for a tenant")?;
    if exists { Ok(()) } else { Err(ControlError::TenantMissing { name: name.to_owned() }) }
}
