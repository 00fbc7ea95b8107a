//! A Meter object becomes a row of metrics and one of metric_versions.

use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, check_meter_fit},
    ids::MeterName,
};
use serde_json::json;
use sqlx::{Postgres, Row, Transaction, types::Json};

use super::{ControlError, Source, Synced, begin, require_tenant};
use crate::{
    By, Records, StoreError, audit, catalogue,
    error::Doing,
    id::{self, Kind},
};

struct Known {
    id: String,
    tenant: Option<String>,
    version: i32,
    uid: Option<String>,
    generation: Option<i64>,
    managed_by_kubernetes: bool,
    archived: bool,
    spec: MeterSpec,
}

impl Records {
    pub async fn put_meter(
        &self,
        name: &MeterName,
        source: &Source,
        spec: &MeterSpec,
        by: &By,
    ) -> Result<Synced, ControlError> {
        let mut transaction = begin(&self.pool).await?;
        let tenant = spec.tenant_ref.as_ref().map(|tenant| tenant.name.as_str());
        let synced = |version, changed| Synced {
            name: name.to_string(),
            generation: source.generation,
            version,
            changed,
        };
        let known = find(&mut transaction, name, tenant).await?;
        if let Some(known) = &known {
            if known.says_the_same(source) {
                return Ok(synced(known.version, false));
            }
            known.refuse_rewriting(source, spec, tenant, name)?;
        }
        require_tenant(&mut transaction, tenant).await?;
        let version = match &known {
            Some(known) if known.spec == *spec && !known.archived => {
                remember_source(&mut transaction, known, source).await?;
                known.version
            }
            Some(known) => {
                if !known.spec.counts_the_same_as(spec) {
                    refuse_misfit(&mut transaction, known, spec, name).await?;
                }
                let version = known.version + i32::from(known.spec != *spec);
                revise(&mut transaction, known, source, spec, version).await?;
                record(&mut transaction, by, name, known.tenant.as_deref(), "meter.change", version, spec)
                    .await?;
                version
            }
            None => {
                insert(&mut transaction, name, tenant, source, spec).await?;
                record(&mut transaction, by, name, tenant, "meter.create", 1, spec).await?;
                1
            }
        };
        transaction.commit().await.doing("storing a meter")?;
        Ok(synced(version, true))
    }
}

impl Known {
    fn says_the_same(&self, source: &Source) -> bool {
        !self.archived && self.uid.as_ref() == Some(&source.uid) && self.generation == Some(source.generation)
    }

    /// Of one and the same object, what decides past usage may not change. A new object of an old name is a new promise.
    fn refuse_rewriting(
        &self,
        source: &Source,
        spec: &MeterSpec,
        tenant: Option<&str>,
        name: &MeterName,
    ) -> Result<(), ControlError> {
        if !self.managed_by_kubernetes {
            return Err(ControlError::NameTaken { name: name.to_string() });
        }
        if self.tenant.as_deref() != tenant {
            return Err(ControlError::Immutable { field: "tenantRef" });
        }
        if self.uid.as_ref() != Some(&source.uid) || self.spec.counts_the_same_as(spec) {
            return Ok(());
        }
        Err(ControlError::Immutable { field: changed_field(&self.spec, spec) })
    }
}

/// A new object of an old name may count otherwise, but not so that a price which may still bill somebody would be told
/// nothing of what it asks: it would bill the default, and nobody would see. Asked of each plan's newest version, and of
/// all versions while anybody has the plan: by its policy a subscription may stay on any of them.
async fn refuse_misfit(
    transaction: &mut Transaction<'_, Postgres>,
    known: &Known,
    spec: &MeterSpec,
    name: &MeterName,
) -> Result<(), ControlError> {
    let plans: Vec<(String, Json<PlanSpec>)> = sqlx::query_as(
        "SELECT DISTINCT p.name, v.spec
         FROM plan_metrics pm JOIN plan_versions v USING (plan_id, version) JOIN plans p USING (plan_id)
         WHERE pm.metric_id = $1
           AND ((p.archived_at IS NULL AND p.version = pm.version)
                OR EXISTS (SELECT 1 FROM subscriptions s WHERE s.plan_id = p.plan_id AND s.state <> 'ended'))
         ORDER BY p.name",
    )
    .bind(&known.id)
    .fetch_all(&mut **transaction)
    .await
    .doing("reading the plans that count a meter")?;
    for (plan, Json(plan_spec)) in plans {
        check_meter_fit(&plan_spec, |counted| (counted == name.as_str()).then_some(spec))
            .map_err(|error| ControlError::PlanMisfit { plan, detail: error.to_string() })?;
    }
    Ok(())
}

fn changed_field(before: &MeterSpec, after: &MeterSpec) -> &'static str {
    let fields = [
        ("regionRef", before.region_ref != after.region_ref),
        ("eventType", before.event_type != after.event_type),
        ("aggregation", before.aggregation != after.aggregation),
        ("valueProperty", before.value_property != after.value_property),
        ("percentile", before.percentile != after.percentile),
        ("multiplier", before.multiplier != after.multiplier),
        ("reset", before.reset != after.reset),
        ("groupBy", before.group_by != after.group_by),
        ("filters", before.filters != after.filters),
    ];
    fields.into_iter().find(|(_, changed)| *changed).map_or("tenantRef", |(field, _)| field)
}

/// The living row of that name, whosever it is; else the archived one that would be revived.
async fn find(
    transaction: &mut Transaction<'_, Postgres>,
    name: &MeterName,
    tenant: Option<&str>,
) -> Result<Option<Known>, StoreError> {
    const DOING: &str = "finding a meter";
    let row = sqlx::query(
        "SELECT m.*, v.spec FROM metrics m JOIN metric_versions v USING (metric_id, version)
         WHERE m.name = $1 AND ((m.managed_by = 'kubernetes' AND m.archived_at IS NULL) OR m.tenant IS NOT DISTINCT FROM $2)
         ORDER BY m.archived_at IS NOT NULL, m.managed_by = 'api' LIMIT 1",
    )
    .bind(name.as_str())
    .bind(tenant)
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Known {
        id: row.try_get("metric_id").doing(DOING)?,
        tenant: row.try_get("tenant").doing(DOING)?,
        version: row.try_get("version").doing(DOING)?,
        uid: row.try_get("source_uid").doing(DOING)?,
        generation: row.try_get("source_generation").doing(DOING)?,
        managed_by_kubernetes: row.try_get::<&str, _>("managed_by").doing(DOING)? == "kubernetes",
        archived: crate::instant::read_optional(&row, "archived_at").doing(DOING)?.is_some(),
        spec: row.try_get::<Json<MeterSpec>, _>("spec").doing(DOING)?.0,
    }))
}

async fn remember_source(
    transaction: &mut Transaction<'_, Postgres>,
    known: &Known,
    source: &Source,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE metrics SET source_uid = $2, source_generation = $3 WHERE metric_id = $1")
        .bind(&known.id)
        .bind(&source.uid)
        .bind(source.generation)
        .execute(&mut **transaction)
        .await
        .doing("storing a meter's source")?;
    Ok(())
}

async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    name: &MeterName,
    tenant: Option<&str>,
    source: &Source,
    spec: &MeterSpec,
) -> Result<(), StoreError> {
    let id = id::new(Kind::Meter);
    let catalogue_version = catalogue::bump(transaction).await?;
    sqlx::query(
        "INSERT INTO metrics (metric_id, tenant, name, version, managed_by, source_uid, source_generation)
         VALUES ($1, $2, $3, 1, 'kubernetes', $4, $5)",
    )
    .bind(&id)
    .bind(tenant)
    .bind(name.as_str())
    .bind(&source.uid)
    .bind(source.generation)
    .execute(&mut **transaction)
    .await
    .doing("storing a meter")?;
    insert_version(transaction, &id, 1, tenant, spec, catalogue_version).await
}

/// A new version when the spec differs, and alive again when it was archived.
async fn revise(
    transaction: &mut Transaction<'_, Postgres>,
    known: &Known,
    source: &Source,
    spec: &MeterSpec,
    version: i32,
) -> Result<(), StoreError> {
    let catalogue_version = catalogue::bump(transaction).await?;
    if version != known.version {
        insert_version(transaction, &known.id, version, known.tenant.as_deref(), spec, catalogue_version)
            .await?;
    }
    sqlx::query(
        "UPDATE metrics SET version = $2, source_uid = $3, source_generation = $4, archived_at = NULL, updated_at = now()
         WHERE metric_id = $1",
    )
    .bind(&known.id)
    .bind(version)
    .bind(&source.uid)
    .bind(source.generation)
    .execute(&mut **transaction)
    .await
    .doing("storing a meter")?;
    Ok(())
}

async fn insert_version(
    transaction: &mut Transaction<'_, Postgres>,
    id: &str,
    version: i32,
    tenant: Option<&str>,
    spec: &MeterSpec,
    catalogue_version: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO metric_versions (metric_id, version, tenant, spec, catalogue_version) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(version)
    .bind(tenant)
    .bind(Json(spec))
    .bind(catalogue_version)
    .execute(&mut **transaction)
    .await
    .doing("storing a version of a meter")?;
    Ok(())
}

async fn record(
    transaction: &mut Transaction<'_, Postgres>,
    by: &By,
    name: &MeterName,
    tenant: Option<&str>,
    action: &str,
    version: i32,
    spec: &MeterSpec,
) -> Result<(), StoreError> {
    audit::record(transaction, tenant, by, action, name.as_str(), json!({"version": version, "spec": spec}))
        .await
}
