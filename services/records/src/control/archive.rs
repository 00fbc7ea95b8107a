//! What is deleted in Kubernetes is archived here. Archiving what is archived, or never was, is done already: a deletion
//! that is tried again succeeds.

use meridian_billing::ids::{MeterName, PlanName, TenantId};
use serde_json::json;
use sqlx::{Postgres, Transaction};

use super::{ControlError, begin};
use crate::{By, Records, audit, catalogue, error::Doing, instant::Instant, subscriptions};

impl Records {
    /// Events that only this meter counted are unknown from now on, and quarantined.
    pub async fn archive_meter(&self, name: &MeterName, by: &By) -> Result<bool, ControlError> {
        let mut transaction = begin(&self.pool).await?;
        let archived: Option<Option<String>> = sqlx::query_scalar(
            "UPDATE metrics SET archived_at = now(), updated_at = now()
             WHERE name = $1 AND managed_by = 'kubernetes' AND archived_at IS NULL RETURNING tenant",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .doing("archiving a meter")?;
        finish(transaction, archived, by, "meter.archive", name.as_str()).await
    }

    /// Subscriptions to it run on by it; new ones are refused.
    pub async fn archive_plan(&self, name: &PlanName, by: &By) -> Result<bool, ControlError> {
        let mut transaction = begin(&self.pool).await?;
        let archived: Option<Option<String>> = sqlx::query_scalar(
            "UPDATE plans SET archived_at = now(), updated_at = now()
             WHERE name = $1 AND managed_by = 'kubernetes' AND archived_at IS NULL RETURNING tenant",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .doing("archiving a plan")?;
        finish(transaction, archived, by, "plan.archive", name.as_str()).await
    }

    /// Revokes the tenant's keys and ends the platform's subscription now; what was used until now is still billed.
    pub async fn archive_tenant(&self, name: &TenantId, by: &By) -> Result<bool, ControlError> {
        const DOING: &str = "archiving a tenant";
        let mut transaction = begin(&self.pool).await?;
        let now: Option<Instant> = sqlx::query_scalar(
            "UPDATE organizations SET archived_at = now(), updated_at = now()
             WHERE tenant = $1 AND managed_by = 'kubernetes' AND archived_at IS NULL RETURNING archived_at",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        let Some(now) = now else { return Ok(false) };
        sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE tenant = $1 AND revoked_at IS NULL")
            .bind(name.as_str())
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
        if let Some(subscription) = subscriptions::kept_by_kubernetes(&mut transaction, name.as_str()).await?
        {
            let ends_at = now.0.max(subscription.starts_at);
            subscriptions::cancel(&mut transaction, subscription, ends_at, by).await?;
        }
        finish(transaction, Some(Some(name.to_string())), by, "tenant.archive", name.as_str()).await
    }
}

/// `archived` holds the owner of the row that was archived, if one was. Returns whether anything changed.
async fn finish(
    mut transaction: Transaction<'_, Postgres>,
    archived: Option<Option<String>>,
    by: &By,
    action: &str,
    name: &str,
) -> Result<bool, ControlError> {
    let Some(tenant) = archived else { return Ok(false) };
    audit::record(&mut transaction, tenant.as_deref(), by, action, name, json!({})).await?;
    catalogue::bump(&mut transaction).await?;
    transaction.commit().await.doing("archiving")?;
    Ok(true)
}
