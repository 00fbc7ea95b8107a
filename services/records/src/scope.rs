//! Who a query is for. A tenant's query runs inside a transaction that names the tenant, which row-level security then
//! enforces; the transaction can only be had from a `Scope`. A sweep over every tenant sets another setting, must be
//! asked for by name, and can only be had inside this crate.

use meridian_billing::ids::TenantId;
use sqlx::{PgPool, Postgres, Transaction};

use crate::error::{Doing, StoreError};

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One tenant. It comes from a credential or from a job's own input, never from a request's body or path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    tenant: TenantId,
}

impl Scope {
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant }
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(crate) async fn begin(&self, pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.name_tenant(pool.begin().await.doing("beginning a tenant's transaction")?).await
    }

    /// The same, reading one snapshot throughout.
    pub(crate) async fn begin_snapshot(
        &self,
        pool: &PgPool,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.name_tenant(pool.begin_with(SNAPSHOT).await.doing("beginning a tenant's snapshot")?).await
    }

    async fn name_tenant(
        &self,
        mut transaction: Transaction<'static, Postgres>,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        sqlx::query("SELECT set_config('meridian.tenant', $1, true)")
            .bind(self.tenant.as_str())
            .execute(&mut *transaction)
            .await
            .doing("naming the tenant of a transaction")?;
        Ok(transaction)
    }
}

/// A transaction that sees every tenant. Each use is a named function of this crate with a reason in its documentation.
pub(crate) async fn begin_for_every_tenant(
    pool: &PgPool,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let transaction = pool.begin().await.doing("beginning a transaction over all tenants")?;
    see_every_tenant(transaction).await
}

/// The same, reading one snapshot throughout.
pub(crate) async fn begin_snapshot_of_every_tenant(
    pool: &PgPool,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let transaction = pool.begin_with(SNAPSHOT).await.doing("beginning a snapshot of all tenants")?;
    see_every_tenant(transaction).await
}

async fn see_every_tenant(
    mut transaction: Transaction<'static, Postgres>,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    sqlx::query("SELECT set_config('meridian.every_tenant', 'on', true)")
        .execute(&mut *transaction)
        .await
        .doing("opening a transaction to every tenant")?;
    Ok(transaction)
}
