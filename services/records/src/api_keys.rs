//! API keys, of which only the SHA-256 is stored. Looking one up is how a tenant is found in the first place, so it
//! cannot be scoped to one: it runs over every tenant, by the full hash only, and returns no more than the grant.

use meridian_billing::ids::{ProjectId, TenantId};
use sqlx::Row;

use crate::{
    Records,
    error::{Doing, StoreError},
    scope::begin_for_every_tenant,
};

/// What the holder of a key may act as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyGrant {
    pub tenant: TenantId,
    pub project: ProjectId,
    pub key_name: String,
    /// The key was revoked, or its tenant is archived: refuse it, and say so.
    pub revoked: bool,
}

impl Records {
    /// `hash_hex` is the SHA-256 of the whole key in lower-case hex. None: no such key was ever known.
    pub async fn api_key(&self, hash_hex: &str) -> Result<Option<ApiKeyGrant>, StoreError> {
        const DOING: &str = "looking up an API key";
        let mut transaction = begin_for_every_tenant(&self.pool).await?;
        // The same key may have been revoked once and granted again: the living row wins.
        let row = sqlx::query(
            "SELECT k.tenant, k.project, k.name, k.revoked_at IS NOT NULL OR o.archived_at IS NOT NULL AS revoked
             FROM api_keys k JOIN organizations o USING (tenant)
             WHERE k.key_hash = $1 ORDER BY k.revoked_at IS NOT NULL, k.created_at DESC LIMIT 1",
        )
        .bind(hash_hex)
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        let Some(row) = row else { return Ok(None) };
        let text = |column| row.try_get::<String, _>(column).doing(DOING);
        let invalid = |error| StoreError::unreadable(DOING, error);
        Ok(Some(ApiKeyGrant {
            tenant: TenantId::new(text("tenant")?).map_err(invalid)?,
            project: ProjectId::new(text("project")?).map_err(invalid)?,
            key_name: text("name")?,
            revoked: row.try_get("revoked").doing(DOING)?,
        }))
    }
}
