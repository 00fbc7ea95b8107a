//! The audit log: who did what, when and why. A row is written in the transaction of the change itself, so there is
//! never one without the other; the database refuses to change or delete rows.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Postgres, Row, Transaction};

use crate::{
    Listed, Page, TenantRecords,
    error::{Doing, StoreError},
    instant::Instant,
};

/// Who makes a change, and why. "api-key/default" because of "POST /v1/customers"; "worker" because of "period closed".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    pub actor: String,
    pub reason: String,
}

impl By {
    pub fn new(actor: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { actor: actor.into(), reason: reason.into() }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub entity: String,
    pub reason: String,
    pub detail: Value,
}

/// `tenant` None: the region's shared catalogue.
pub(crate) async fn record(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: Option<&str>,
    by: &By,
    action: &str,
    entity: &str,
    detail: Value,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit_logs (tenant, actor, action, entity, reason, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(tenant)
        .bind(&by.actor)
        .bind(action)
        .bind(entity)
        .bind(&by.reason)
        .bind(detail)
        .execute(&mut **transaction)
        .await
        .doing("writing the audit log")?;
    Ok(())
}

/// A row to be written.
pub(crate) struct Audited {
    pub action: &'static str,
    pub entity: String,
    pub detail: Value,
}

/// Like [`record`], of many entities and in this order, in one statement.
pub(crate) async fn record_all(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: Option<&str>,
    by: &By,
    rows: &[Audited],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_logs (tenant, actor, reason, action, entity, detail)
         SELECT $1, $2, $3, * FROM unnest($4::text[], $5::text[], $6::jsonb[])",
    )
    .bind(tenant)
    .bind(&by.actor)
    .bind(&by.reason)
    .bind(rows.iter().map(|row| row.action).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.entity.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.detail).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await
    .doing("writing the audit log")?;
    Ok(())
}

impl TenantRecords {
    /// Newest last. The cursor is the log's own running number.
    pub async fn audit_log(&self, page: &Page) -> Result<Listed<AuditEntry>, StoreError> {
        const DOING: &str = "reading the audit log";
        let after: i64 = page.after_id().parse().unwrap_or(0);
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT audit_id, at, actor, action, entity, reason, detail FROM audit_logs
             WHERE tenant = $1 AND audit_id > $2 ORDER BY audit_id LIMIT $3",
        )
        .bind(self.scope.tenant().as_str())
        .bind(after)
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
        let entry = |row: &sqlx::postgres::PgRow| -> Result<(i64, AuditEntry), sqlx::Error> {
            let entry = AuditEntry {
                at: row.try_get::<Instant, _>("at")?.0,
                actor: row.try_get("actor")?,
                action: row.try_get("action")?,
                entity: row.try_get("entity")?,
                reason: row.try_get("reason")?,
                detail: row.try_get("detail")?,
            };
            Ok((row.try_get("audit_id")?, entry))
        };
        let numbered = rows.iter().map(entry).collect::<Result<Vec<_>, _>>().doing(DOING)?;
        let listed = page.cut(numbered, |(number, _)| number.to_string());
        Ok(Listed { items: listed.items.into_iter().map(|(_, entry)| entry).collect(), next: listed.next })
    }
}
