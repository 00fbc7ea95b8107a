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

use sqlx::{PgPool, Postgres, Row, Transaction};

pub use tenants::{ApiKeyHash, TenantRequest};

use crate::{
    Records, StoreError,
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

/// A line of the operator's comparison of Kubernetes and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// "meter", "plan" or "tenant"
    pub kind: String,
    pub name: String,
    pub uid: Option<String>,
    pub generation: Option<i64>,
    pub version: i32,
    pub archived: bool,
}

/// Fields are paths below `spec`.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{field} cannot be changed, because past usage or invoices rest on it: make a new object instead")]
    Immutable { field: &'static str },
    #[error("meter {name:?} does not exist in this region (yet)")]
    MeterMissing { name: String, field: String },
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

impl Records {
    /// Everything that the operator ever put here, archived things included.
    pub async fn catalogue_entries(&self) -> Result<Vec<CatalogueEntry>, StoreError> {
        const DOING: &str = "listing the catalogue";
        let mut transaction = begin_snapshot_of_every_tenant(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT 'meter' AS kind, name, source_uid, source_generation, version, archived_at IS NOT NULL AS archived
                 FROM metrics WHERE managed_by = 'kubernetes'
             UNION ALL SELECT 'plan', name, source_uid, source_generation, version, archived_at IS NOT NULL
                 FROM plans WHERE managed_by = 'kubernetes'
             UNION ALL SELECT 'tenant', tenant, source_uid, source_generation, version, archived_at IS NOT NULL
                 FROM organizations WHERE managed_by = 'kubernetes'
             ORDER BY kind, name, archived",
        )
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
        rows.iter()
            .map(|row| {
                Ok(CatalogueEntry {
                    kind: row.try_get("kind").doing(DOING)?,
                    name: row.try_get("name").doing(DOING)?,
                    uid: row.try_get("source_uid").doing(DOING)?,
                    generation: row.try_get("source_generation").doing(DOING)?,
                    version: row.try_get("version").doing(DOING)?,
                    archived: row.try_get("archived").doing(DOING)?,
                })
            })
            .collect()
    }
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
async fn require_tenant(transaction: &mut Transaction<'_, Postgres>, tenant: Option<&str>) -> Result<(), ControlError> {
    let Some(name) = tenant else { return Ok(()) };
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM organizations WHERE tenant = $1 AND archived_at IS NULL)")
            .bind(name)
            .fetch_one(&mut **transaction)
            .await
            .doing("looking for a tenant")?;
    if exists { Ok(()) } else { Err(ControlError::TenantMissing { name: name.to_owned() }) }
}
