//! A Tenant object becomes an organization with its projects and API keys and, when it names a plan, a customer with the
//! empty key ("the tenant itself", ruling C11) and one subscription to that plan.

mod billed;
mod keys;

use jiff::Timestamp;
use meridian_billing::{catalogue::TenantSpec, ids::TenantId};
use serde_json::json;
use sqlx::{Postgres, Row, Transaction, types::Json};

use super::{ControlError, Source, Synced, begin};
use crate::{
    By, Records, StoreError, audit, catalogue,
    error::Doing,
    instant::{self, Instant, optional},
};

/// The hash of a key that the operator made and put in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiKeyHash {
    pub name: String,
    /// SHA-256 of the whole key, 64 lower-case hex digits.
    pub hash: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TenantRequest {
    pub name: TenantId,
    pub source: Source,
    pub spec: TenantSpec,
    /// All keys that are to live; every other one of the tenant is revoked.
    pub api_keys: Vec<ApiKeyHash>,
    /// The one tenant of a Dedicated region.
    pub dedicated_to: Option<TenantId>,
}

struct Known {
    version: i32,
    uid: Option<String>,
    generation: Option<i64>,
    keys: Option<String>,
    spec: TenantSpec,
    archived: bool,
}

impl Records {
    pub async fn put_tenant(&self, request: &TenantRequest, by: &By) -> Result<Synced, ControlError> {
        refuse_second_tenant(request)?;
        let mut transaction = begin(&self.pool).await?;
        let synced = |version, changed| Synced {
            name: request.name.to_string(),
            generation: request.source.generation,
            version,
            changed,
        };
        let known = find(&mut transaction, &request.name).await?;
        if let Some(known) = known.as_ref().filter(|known| known.says_the_same(request)) {
            return Ok(synced(known.version, false));
        }
        let version = match &known {
            Some(known) if known.spec == request.spec && !known.archived => known.version,
            Some(known) => known.version + 1,
            None => 1,
        };
        let created_at = store(&mut transaction, request, version).await?;
        keys::store_projects(&mut transaction, request).await?;
        keys::store_api_keys(&mut transaction, request, by).await?;
        billed::store(&mut transaction, request, created_at, by).await?;
        let action = if known.is_some() { "tenant.change" } else { "tenant.create" };
        let detail = json!({"version": version, "spec": request.spec});
        audit::record(
            &mut transaction,
            Some(request.name.as_str()),
            by,
            action,
            request.name.as_str(),
            detail,
        )
        .await?;
        catalogue::bump(&mut transaction).await?;
        transaction.commit().await.doing("storing a tenant")?;
        Ok(synced(version, true))
    }
}

fn refuse_second_tenant(request: &TenantRequest) -> Result<(), ControlError> {
    match &request.dedicated_to {
        Some(only) if *only != request.name => Err(ControlError::TenancyRefused { to: only.to_string() }),
        Some(_) | None => Ok(()),
    }
}

impl Known {
    fn says_the_same(&self, request: &TenantRequest) -> bool {
        !self.archived
            && self.uid.as_ref() == Some(&request.source.uid)
            && self.generation == Some(request.source.generation)
            && self.keys == Some(keys_digest(request))
    }
}

/// The keys of a request as one comparable text: sorted `name=hash`.
fn keys_digest(request: &TenantRequest) -> String {
    let mut keys: Vec<String> =
        request.api_keys.iter().map(|key| format!("{}={}", key.name, key.hash)).collect();
    keys.sort();
    keys.join(",")
}

async fn find(
    transaction: &mut Transaction<'_, Postgres>,
    name: &TenantId,
) -> Result<Option<Known>, StoreError> {
    const DOING: &str = "finding a tenant";
    let row = sqlx::query("SELECT * FROM organizations WHERE tenant = $1")
        .bind(name.as_str())
        .fetch_optional(&mut **transaction)
        .await
        .doing(DOING)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Known {
        version: row.try_get("version").doing(DOING)?,
        uid: row.try_get("source_uid").doing(DOING)?,
        generation: row.try_get("source_generation").doing(DOING)?,
        keys: row.try_get("source_digest").doing(DOING)?,
        spec: row.try_get::<Json<TenantSpec>, _>("spec").doing(DOING)?.0,
        archived: instant::read_optional(&row, "archived_at").doing(DOING)?.is_some(),
    }))
}

/// Returns when the organization was first made.
async fn store(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    version: i32,
) -> Result<Timestamp, StoreError> {
    let spec = &request.spec;
    let created_at: Instant = sqlx::query_scalar(
        "INSERT INTO organizations (tenant, display_name, time_zone, billing_start, version, managed_by, source_uid,
             source_generation, source_digest, spec)
         VALUES ($1, $2, $3, $4, $5, 'kubernetes', $6, $7, $8, $9)
         ON CONFLICT (tenant) DO UPDATE SET display_name = excluded.display_name, time_zone = excluded.time_zone,
             billing_start = excluded.billing_start, version = excluded.version, source_uid = excluded.source_uid,
             source_generation = excluded.source_generation, source_digest = excluded.source_digest, spec = excluded.spec,
             archived_at = NULL, updated_at = now()
         RETURNING created_at",
    )
    .bind(request.name.as_str())
    .bind(spec.display_name.as_deref().unwrap_or(request.name.as_str()))
    .bind(spec.time_zone_name())
    .bind(optional(spec.billing_start))
    .bind(version)
    .bind(&request.source.uid)
    .bind(request.source.generation)
    .bind(keys_digest(request))
    .bind(Json(spec))
    .fetch_one(&mut **transaction)
    .await
    .doing("storing a tenant")?;
    Ok(created_at.0)
}
