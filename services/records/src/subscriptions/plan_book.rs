//! Every plan that a subscription's terms name, with all its versions: what a period is billed by is looked up here, once the
//! timeline has said which plan is in force when.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{IntervalSpec, PlanSpec},
    ids::PlanName,
    subscription::{HeldPlan, VersionMade, cuts, version_in_force},
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};

use super::{PlanVersion, ProposedVersion, Subscription};
use crate::{StoreError, catalogue::parsed, error::Doing, instant::Instant};

const DOING: &str = "reading the versions of a plan";

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlanBook {
    plans: BTreeMap<PlanName, BookedPlan>,
}

/// A plan's versions in the order of their numbers, and the same as the rule of updates looks at them. There is at least one.
#[derive(Debug, Clone, PartialEq)]
struct BookedPlan {
    versions: Vec<PlanVersion>,
    made: Vec<VersionMade<Bills>>,
}

/// What decides a version's invoices: what it says, and which meter (`mtr_…`) each of its prices counts.
type Bills = (PlanSpec, Vec<(String, String)>);

impl PlanBook {
    pub(super) async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        subscription: &Subscription,
    ) -> Result<Self, StoreError> {
        let ids: BTreeMap<&PlanName, &String> = subscription.plan_ids().collect();
        let wanted: BTreeSet<&str> = ids.values().map(|id| id.as_str()).collect();
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let rows = sqlx::query(
            "SELECT v.plan_id, p.name, v.version, v.spec, v.created_at FROM plan_versions v JOIN plans p USING (plan_id)
             WHERE v.plan_id = ANY($1) ORDER BY v.plan_id, v.version",
        )
        .bind(&wanted)
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let all = rows.iter().map(read_plan_version).collect::<Result<Vec<_>, _>>()?;
        let metered: Vec<(String, i32, String, String)> = sqlx::query_as(
            "SELECT plan_id, version, price, metric_id FROM plan_metrics WHERE plan_id = ANY($1) ORDER BY price",
        )
        .bind(&wanted)
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let meters = |of: &PlanVersion| {
            let own = metered.iter().filter(|(id, version, ..)| (id, version) == (&of.plan_id, &of.version));
            own.map(|(_, _, price, meter)| (price.clone(), meter.clone())).collect::<Vec<_>>()
        };
        let mut plans = BTreeMap::new();
        for (name, id) in ids {
            let versions: Vec<PlanVersion> =
                all.iter().filter(|version| version.plan_id == *id).cloned().collect();
            if versions.is_empty() {
                return Err(StoreError::unreadable(DOING, format!("plan {id} has none")));
            }
            let made = versions.iter().map(|version| made(version, meters(version))).collect();
            plans.insert(name.clone(), BookedPlan { versions, made });
        }
        Ok(Self { plans })
    }

    /// Adds a version that is not there yet, if the plan is in the book.
    pub(super) fn propose(&mut self, proposed: &ProposedVersion) {
        let of_plan = |plan: &&mut BookedPlan| {
            plan.versions.iter().any(|version| version.plan_id == proposed.next.plan_id)
        };
        let Some(plan) = self.plans.values_mut().find(of_plan) else { return };
        let meters =
            proposed.charges.iter().map(|(charge, _)| (charge.price.to_string(), charge.meter_id.clone()));
        let mut meters: Vec<(String, String)> = meters.collect();
        meters.sort();
        plan.made.push(made(&proposed.next, meters));
        plan.versions.push(proposed.next.clone());
    }

    /// A plan's interval never changes.
    pub(super) fn interval(&self, plan: &PlanName) -> Option<IntervalSpec> {
        let versions = &self.plans.get(plan)?.versions;
        versions.last().map(|version| version.spec.interval)
    }

    pub(super) fn version(&self, plan: &PlanName, number: i32) -> Option<&PlanVersion> {
        self.plans.get(plan)?.versions.iter().find(|version| version.version == number)
    }

    pub(super) fn newest(&self, plan: &PlanName) -> Option<&PlanVersion> {
        self.plans.get(plan)?.versions.last()
    }

    /// The version that bills a subscription which holds the plan so.
    pub(super) fn in_force(&self, plan: &PlanName, held: HeldPlan, at: Timestamp) -> Option<&PlanVersion> {
        let made = version_in_force(&self.plans.get(plan)?.made, held, at)?;
        self.version(plan, made.number)
    }

    /// Where another version comes into force within a period.
    pub(super) fn cuts(&self, plan: &PlanName, held: HeldPlan, until: Timestamp) -> Vec<Timestamp> {
        let made = self.plans.get(plan).map(|plan| plan.made.as_slice()).unwrap_or_default();
        cuts(made, held, until).into_iter().map(|cut| cut.at).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &PlanName> {
        self.plans.keys()
    }
}

fn made(version: &PlanVersion, meters: Vec<(String, String)>) -> VersionMade<Bills> {
    VersionMade {
        number: version.version,
        made_at: version.created_at,
        policy: version.spec.update_policy,
        bills: (version.spec.as_billed(), meters),
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
