//! A tenant's projects, and the API keys that live in them. A key is never changed: it is granted or revoked.

use std::collections::BTreeSet;

use serde_json::json;
use sqlx::{Postgres, Transaction};

use super::{ApiKeyHash, ControlError, TenantRequest};
use crate::{
    By, StoreError, audit,
    error::Doing,
    id::{self, Kind},
};

/// `default` and those of the spec; a project that is no longer named is archived, and comes back when it is.
pub(super) async fn store_projects(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
) -> Result<(), StoreError> {
    const DOING: &str = "storing a tenant's projects";
    let named: BTreeSet<&str> =
        std::iter::once("default").chain(request.spec.projects.iter().map(String::as_str)).collect();
    let named: Vec<String> = named.into_iter().map(str::to_owned).collect();
    sqlx::query(
        "INSERT INTO projects (tenant, name) SELECT $1, unnest($2::text[])
         ON CONFLICT (tenant, name) DO UPDATE SET archived_at = NULL WHERE projects.archived_at IS NOT NULL",
    )
    .bind(request.name.as_str())
    .bind(&named)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    sqlx::query(
        "UPDATE projects SET archived_at = now() WHERE tenant = $1 AND NOT (name = ANY($2)) AND archived_at IS NULL",
    )
    .bind(request.name.as_str())
    .bind(&named)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok(())
}

/// Revokes what is not named with this very hash and project, then grants what is missing.
pub(super) async fn store_api_keys(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    by: &By,
) -> Result<(), ControlError> {
    const DOING: &str = "storing a tenant's API keys";
    let column = |read: fn(&TenantRequest, &ApiKeyHash) -> String| -> Vec<String> {
        request.api_keys.iter().map(|key| read(request, key)).collect()
    };
    let revoked: Vec<String> = sqlx::query_scalar(
        "UPDATE api_keys k SET revoked_at = now() WHERE k.tenant = $1 AND k.revoked_at IS NULL AND NOT EXISTS (
             SELECT 1 FROM unnest($2::text[], $3::text[], $4::text[]) AS live (name, hash, project)
             WHERE live.name = k.name AND live.hash = k.key_hash AND live.project = k.project)
         RETURNING k.name",
    )
    .bind(request.name.as_str())
    .bind(column(|_, key| key.name.clone()))
    .bind(column(|_, key| key.hash.clone()))
    .bind(column(project_of))
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    for name in &revoked {
        record(transaction, request, by, "api_key.revoke", name).await?;
    }
    for key in &request.api_keys {
        if grant(transaction, request, key).await? {
            record(transaction, request, by, "api_key.grant", &key.name).await?;
        }
    }
    Ok(())
}

/// The project that the spec gives this key.
fn project_of(request: &TenantRequest, key: &ApiKeyHash) -> String {
    let spec = request.spec.api_keys.iter().find(|spec| spec.name == key.name);
    spec.map_or("default", |spec| spec.project_name()).to_owned()
}

/// False: it lives already.
async fn grant(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    key: &ApiKeyHash,
) -> Result<bool, ControlError> {
    const DOING: &str = "granting an API key";
    let lives: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM api_keys WHERE tenant = $1 AND name = $2 AND key_hash = $3 AND revoked_at IS NULL)",
    )
    .bind(request.name.as_str())
    .bind(&key.name)
    .bind(&key.hash)
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)?;
    if lives {
        return Ok(false);
    }
    let inserted = sqlx::query(
        "INSERT INTO api_keys (key_id, tenant, project, name, key_hash) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(id::new(Kind::ApiKey))
    .bind(request.name.as_str())
    .bind(project_of(request, key))
    .bind(&key.name)
    .bind(&key.hash)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    // The only row that can be in the way is the same key living elsewhere: this name's old key was revoked above.
    if inserted.rows_affected() == 1 {
        Ok(true)
    } else {
        Err(ControlError::KeyTaken { name: key.name.clone() })
    }
}

async fn record(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    by: &By,
    action: &str,
    name: &str,
) -> Result<(), StoreError> {
    audit::record(transaction, Some(request.name.as_str()), by, action, name, json!({"name": name})).await
}
