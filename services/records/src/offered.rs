//! The catalogue as one tenant sees it: its own meters and plans, and the region's shared ones.

use meridian_billing::ids::{MeterName, PlanName};
use sqlx::{Row, postgres::PgRow};

use crate::{
    Listed, MeterRow, Page, PlanVersion, StoreError, TenantRecords, catalogue, error::Doing, subscriptions,
};

/// The current version of a plan that the tenant may subscribe to.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedPlan {
    /// False: the tenant's own.
    pub shared: bool,
    pub current: PlanVersion,
}

impl TenantRecords {
    /// Meters that are not archived. A tenant's own hides a shared one of the same name.
    pub async fn meters(&self, page: &Page) -> Result<Listed<MeterRow>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT m.metric_id, m.tenant, m.name, m.version, v.spec FROM metrics m JOIN metric_versions v USING (metric_id, version)
             WHERE m.archived_at IS NULL AND m.metric_id > $1 AND (m.tenant IS NOT NULL OR NOT EXISTS (
                 SELECT 1 FROM metrics own WHERE own.name = m.name AND own.tenant IS NOT NULL AND own.archived_at IS NULL))
             ORDER BY m.metric_id LIMIT $2",
        )
        .bind(page.after_id())
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing("listing meters")?;
        let meters = rows.iter().map(catalogue::read_meter).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(meters, |meter| meter.id.clone()))
    }

    /// The tenant's own meter of that name, else the shared one.
    pub async fn meter_named(&self, name: &MeterName) -> Result<Option<MeterRow>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let row = sqlx::query(
            "SELECT m.metric_id, m.tenant, m.name, m.version, v.spec FROM metrics m JOIN metric_versions v USING (metric_id, version)
             WHERE m.name = $1 AND m.archived_at IS NULL ORDER BY m.tenant IS NULL LIMIT 1",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .doing("finding a meter by its name")?;
        row.as_ref().map(catalogue::read_meter).transpose()
    }

    /// The newest version of the tenant's own plan of that name, else of the shared one.
    pub async fn plan_named(&self, name: &PlanName) -> Result<Option<PlanVersion>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let row = sqlx::query(
            "SELECT v.plan_id, p.name, v.version, v.spec, v.created_at
             FROM plans p JOIN plan_versions v USING (plan_id, version)
             WHERE p.name = $1 AND p.archived_at IS NULL ORDER BY p.tenant IS NULL LIMIT 1",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .doing("finding a plan by its name")?;
        row.as_ref().map(subscriptions::read_plan_version).transpose()
    }

    /// Plans that are not archived, each in its newest version.
    pub async fn plans(&self, page: &Page) -> Result<Listed<OfferedPlan>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(
            "SELECT p.tenant, v.plan_id, p.name, v.version, v.spec, v.created_at
             FROM plans p JOIN plan_versions v USING (plan_id, version)
             WHERE p.archived_at IS NULL AND p.plan_id > $1 AND (p.tenant IS NOT NULL OR NOT EXISTS (
                 SELECT 1 FROM plans own WHERE own.name = p.name AND own.tenant IS NOT NULL AND own.archived_at IS NULL))
             ORDER BY p.plan_id LIMIT $2",
        )
        .bind(page.after_id())
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing("listing plans")?;
        let offered = |row: &PgRow| -> Result<OfferedPlan, StoreError> {
            let owner: Option<String> = row.try_get("tenant").doing("reading a plan")?;
            Ok(OfferedPlan { shared: owner.is_none(), current: subscriptions::read_plan_version(row)? })
        };
        let plans = rows.iter().map(offered).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(plans, |plan| plan.current.plan_id.clone()))
    }
}
