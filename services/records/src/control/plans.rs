//! A Plan object becomes a row of plans, one of plan_versions, and for each counting price one of plan_metrics. Whom a new
//! version moves is said by its `updatePolicy`; a change of that alone is a version like any other.

use std::collections::BTreeMap;

use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, SpecError, check_meter_fit},
    ids::PlanName,
};
use serde_json::json;
use sqlx::{Postgres, Row, Transaction, types::Json};

use super::{ControlError, Source, Synced, begin, require_tenant};
use crate::{
    By, Records, StoreError, audit, catalogue,
    error::Doing,
    id::{self, Kind},
    instant,
};

struct Known {
    id: String,
    tenant: Option<String>,
    version: i32,
    uid: Option<String>,
    generation: Option<i64>,
    managed_by_kubernetes: bool,
    archived: bool,
    spec: PlanSpec,
}

impl Records {
    pub async fn put_plan(
        &self,
        name: &PlanName,
        source: &Source,
        spec: &PlanSpec,
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
            known.refuse_moving(name, tenant)?;
            known.refuse_other_periods(spec)?;
        }
        require_tenant(&mut transaction, tenant).await?;
        let meters = meters_of(&mut transaction, tenant, spec).await?;
        let version = match known {
            Some(known) => {
                let same_meters =
                    known.spec == *spec && meters == current_meters(&mut transaction, &known).await?;
                let version = known.version + i32::from(!same_meters);
                let changed = version != known.version || known.archived;
                revise(&mut transaction, &known, source, version).await?;
                if changed {
                    let raised = catalogue::bump(&mut transaction).await?;
                    if version != known.version {
                        insert_version(&mut transaction, &known.id, version, tenant, spec, &meters, raised)
                            .await?;
                    }
                    record(&mut transaction, by, name, tenant, "plan.change", version, spec).await?;
                }
                version
            }
            None => {
                let id = insert(&mut transaction, name, tenant, source).await?;
                let raised = catalogue::bump(&mut transaction).await?;
                insert_version(&mut transaction, &id, 1, tenant, spec, &meters, raised).await?;
                record(&mut transaction, by, name, tenant, "plan.create", 1, spec).await?;
                1
            }
        };
        transaction.commit().await.doing("storing a plan")?;
        Ok(synced(version, true))
    }
}

impl Known {
    fn says_the_same(&self, source: &Source) -> bool {
        !self.archived && self.uid.as_ref() == Some(&source.uid) && self.generation == Some(source.generation)
    }

    fn refuse_moving(&self, name: &PlanName, tenant: Option<&str>) -> Result<(), ControlError> {
        if !self.managed_by_kubernetes {
            return Err(ControlError::NameTaken { name: name.to_string() });
        }
        if self.tenant.as_deref() != tenant {
            return Err(ControlError::Immutable { field: "tenantRef" });
        }
        Ok(())
    }

    /// What subscriptions' periods and invoices are made by never changes in a plan, nor in one that is made again under its name.
    fn refuse_other_periods(&self, spec: &PlanSpec) -> Result<(), ControlError> {
        if self.spec.currency != spec.currency {
            return Err(ControlError::Immutable { field: "currency" });
        }
        if self.spec.interval != spec.interval {
            return Err(ControlError::Immutable { field: "interval" });
        }
        Ok(())
    }
}

/// (price, meter id) of each counting price, in order of price. A tenant's own meter goes before a shared one. Each price fits
/// its meter, or the plan is refused.
async fn meters_of(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: Option<&str>,
    spec: &PlanSpec,
) -> Result<Vec<(String, String)>, ControlError> {
    let mut meters = Vec::new();
    let mut specs: BTreeMap<&str, MeterSpec> = BTreeMap::new();
    for (index, price) in spec.prices.iter().enumerate() {
        let Some(meter) = &price.meter_ref else { continue };
        let found: Option<(String, Json<MeterSpec>)> = sqlx::query_as(
            "SELECT m.metric_id, v.spec FROM metrics m JOIN metric_versions v USING (metric_id, version)
             WHERE m.name = $1 AND (m.tenant IS NULL OR m.tenant = $2) AND m.archived_at IS NULL
             ORDER BY m.tenant IS NULL LIMIT 1",
        )
        .bind(&meter.name)
        .bind(tenant)
        .fetch_optional(&mut **transaction)
        .await
        .doing("finding the meter of a price")?;
        let (id, Json(meter_spec)) = found.ok_or_else(|| ControlError::MeterMissing {
            name: meter.name.clone(),
            field: format!("prices[{index}].meterRef.name"),
        })?;
        specs.insert(&meter.name, meter_spec);
        meters.push((price.name.clone(), id));
    }
    check_meter_fit(spec, |name| specs.get(name))
        .map_err(|SpecError { field, code: _, detail }| ControlError::MeterMisfit { field, detail })?;
    meters.sort();
    Ok(meters)
}

async fn current_meters(
    transaction: &mut Transaction<'_, Postgres>,
    known: &Known,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut meters: Vec<(String, String)> =
        sqlx::query_as("SELECT price, metric_id FROM plan_metrics WHERE plan_id = $1 AND version = $2")
            .bind(&known.id)
            .bind(known.version)
            .fetch_all(&mut **transaction)
            .await
            .doing("reading the meters of a plan")?;
    meters.sort();
    Ok(meters)
}

/// The living row of that name, whosever it is; else the archived one that would be revived.
async fn find(
    transaction: &mut Transaction<'_, Postgres>,
    name: &PlanName,
    tenant: Option<&str>,
) -> Result<Option<Known>, StoreError> {
    const DOING: &str = "finding a plan";
    let row = sqlx::query(
        "SELECT p.*, v.spec FROM plans p JOIN plan_versions v USING (plan_id, version)
         WHERE p.name = $1 AND ((p.managed_by = 'kubernetes' AND p.archived_at IS NULL) OR p.tenant IS NOT DISTINCT FROM $2)
         ORDER BY p.archived_at IS NOT NULL, p.managed_by = 'api' LIMIT 1",
    )
    .bind(name.as_str())
    .bind(tenant)
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Known {
        id: row.try_get("plan_id").doing(DOING)?,
        tenant: row.try_get("tenant").doing(DOING)?,
        version: row.try_get("version").doing(DOING)?,
        uid: row.try_get("source_uid").doing(DOING)?,
        generation: row.try_get("source_generation").doing(DOING)?,
        managed_by_kubernetes: row.try_get::<&str, _>("managed_by").doing(DOING)? == "kubernetes",
        archived: instant::read_optional(&row, "archived_at").doing(DOING)?.is_some(),
        spec: row.try_get::<Json<PlanSpec>, _>("spec").doing(DOING)?.0,
    }))
}

async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    name: &PlanName,
    tenant: Option<&str>,
    source: &Source,
) -> Result<String, StoreError> {
    let id = id::new(Kind::Plan);
    sqlx::query(
        "INSERT INTO plans (plan_id, tenant, name, version, managed_by, source_uid, source_generation)
         VALUES ($1, $2, $3, 1, 'kubernetes', $4, $5)",
    )
    .bind(&id)
    .bind(tenant)
    .bind(name.as_str())
    .bind(&source.uid)
    .bind(source.generation)
    .execute(&mut **transaction)
    .await
    .doing("storing a plan")?;
    Ok(id)
}

async fn revise(
    transaction: &mut Transaction<'_, Postgres>,
    known: &Known,
    source: &Source,
    version: i32,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE plans SET version = $2, source_uid = $3, source_generation = $4, archived_at = NULL, updated_at = now()
         WHERE plan_id = $1",
    )
    .bind(&known.id)
    .bind(version)
    .bind(&source.uid)
    .bind(source.generation)
    .execute(&mut **transaction)
    .await
    .doing("storing a plan")?;
    Ok(())
}

async fn insert_version(
    transaction: &mut Transaction<'_, Postgres>,
    id: &str,
    version: i32,
    tenant: Option<&str>,
    spec: &PlanSpec,
    meters: &[(String, String)],
    catalogue_version: i64,
) -> Result<(), StoreError> {
    const DOING: &str = "storing a version of a plan";
    sqlx::query(
        "INSERT INTO plan_versions (plan_id, version, tenant, currency, spec, catalogue_version)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(version)
    .bind(tenant)
    .bind(spec.currency.code())
    .bind(Json(spec))
    .bind(catalogue_version)
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    for (price, metric_id) in meters {
        sqlx::query("INSERT INTO plan_metrics (plan_id, version, tenant, price, metric_id) VALUES ($1, $2, $3, $4, $5)")
            .bind(id)
            .bind(version)
            .bind(tenant)
            .bind(price)
            .bind(metric_id)
            .execute(&mut **transaction)
            .await
            .doing(DOING)?;
    }
    Ok(())
}

async fn record(
    transaction: &mut Transaction<'_, Postgres>,
    by: &By,
    name: &PlanName,
    tenant: Option<&str>,
    action: &str,
    version: i32,
    spec: &PlanSpec,
) -> Result<(), StoreError> {
    audit::record(transaction, tenant, by, action, name.as_str(), json!({"version": version, "spec": spec}))
        .await
}
