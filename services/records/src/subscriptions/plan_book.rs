//! Every plan that a subscription's terms name, with all its versions: what a period is billed by is looked up here, once the
//! timeline has said which plan is in force when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use meridian_billing::{catalogue::IntervalSpec, ids::PlanName};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};

use super::{PlanVersion, Subscription};
use crate::{StoreError, catalogue::parsed, error::Doing, instant::Instant};

const DOING: &str = "reading the versions of a plan";

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlanBook {
    /// In the order of their making; none is empty.
    versions: BTreeMap<PlanName, Vec<PlanVersion>>,
}

impl PlanBook {
    pub(super) async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        subscription: &Subscription,
    ) -> Result<Self, StoreError> {
        let ids: BTreeMap<&PlanName, &String> = subscription.plan_ids().collect();
        let wanted: BTreeSet<&str> = ids.values().map(|id| id.as_str()).collect();
        let rows = sqlx::query(
            "SELECT v.plan_id, p.name, v.version, v.spec, v.created_at FROM plan_versions v JOIN plans p USING (plan_id)
             WHERE v.plan_id = ANY($1) ORDER BY v.plan_id, v.version",
        )
        .bind(wanted.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let all = rows.iter().map(read_plan_version).collect::<Result<Vec<_>, _>>()?;
        let mut versions = BTreeMap::new();
        for (name, id) in ids {
            let of_plan: Vec<PlanVersion> =
                all.iter().filter(|version| version.plan_id == *id).cloned().collect();
            if of_plan.is_empty() {
                return Err(StoreError::unreadable(DOING, format!("plan {id} has none")));
            }
            versions.insert(name.clone(), of_plan);
        }
        Ok(Self { versions })
    }

    /// A plan's interval never changes.
    pub(super) fn interval(&self, plan: &PlanName) -> Option<IntervalSpec> {
        self.versions.get(plan).and_then(|versions| versions.last()).map(|version| version.spec.interval)
    }

    pub(super) fn versions(&self, plan: &PlanName) -> Option<&[PlanVersion]> {
        self.versions.get(plan).map(Vec::as_slice)
    }

    /// The newest version made by then, or the newest of all when none was: billing began in the past, and nothing else was ever
    /// promised.
    pub(super) fn newest_at(&self, plan: &PlanName, at: Timestamp) -> Option<&PlanVersion> {
        let versions = self.versions.get(plan)?;
        versions.iter().rev().find(|version| version.created_at <= at).or_else(|| versions.last())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &PlanName> {
        self.versions.keys()
    }
}

pub(crate) fn read_plan_version(row: &PgRow) -> Result<PlanVersion, StoreError> {
    Ok(PlanVersion {
        plan_id: row.try_get("plan_id").doing(DOING)?,
        name: parsed(row, "name")?,
        version: row.try_get("version").doing(DOING)?,
        spec: row.try_get::<Json<_>, _>("spec").doing(DOING)?.0,
        created_at: row.try_get::<Instant, _>("created_at").doing(DOING)?.0,
    })
}
