//! Every plan that a subscription's terms name, with all its versions: what a period is billed by is looked up here, once the
//! timeline has said which plan is in force when.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    plans: BTreeMap<PlanName, Arc<BookedPlan>>,
}

/// The plans that many subscriptions name, by their ids, each read once. What cannot be read is so for those who name it.
pub(crate) struct PlanShelf(BTreeMap<String, Result<Arc<BookedPlan>, StoreError>>);

/// A plan's versions in the order of their numbers, and the same as the rule of updates looks at them. There is at least one.
#[derive(Debug, Clone, PartialEq)]
struct BookedPlan {
    versions: Vec<PlanVersion>,
    made: Vec<VersionMade<Bills>>,
}

/// What decides a version's invoices: what it says, and which meter (`mtr_…`) each of its prices counts.
type Bills = (PlanSpec, Vec<(String, String)>);

impl PlanShelf {
    pub(super) async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        subscriptions: impl Iterator<Item = &Subscription>,
    ) -> Result<Self, StoreError> {
        let wanted: BTreeSet<&str> =
            subscriptions.flat_map(Subscription::plan_ids).map(|(_, id)| id.as_str()).collect();
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let rows = sqlx::query(
            "SELECT v.plan_id, p.name, v.version, v.spec, v.created_at FROM plan_versions v JOIN plans p USING (plan_id)
             WHERE v.plan_id = ANY($1) ORDER BY v.plan_id, v.version",
        )
        .bind(&wanted)
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let metered: Vec<CountedPrice> = sqlx::query_as(
            "SELECT plan_id, version, price, metric_id FROM plan_metrics WHERE plan_id = ANY($1) ORDER BY price",
        )
        .bind(&wanted)
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let mut versions: BTreeMap<String, Vec<&PgRow>> = BTreeMap::new();
        for row in &rows {
            versions.entry(row.try_get("plan_id").doing(DOING)?).or_default().push(row);
        }
        let plans = versions.into_iter().map(|(id, rows)| (id, booked(&rows, &metered).map(Arc::new)));
        Ok(Self(plans.collect()))
    }

    /// The plans of one of the subscriptions that the shelf was read for.
    pub(super) fn book(&self, subscription: &Subscription) -> Result<PlanBook, StoreError> {
        let plan = |(name, id): (&PlanName, &String)| match self.0.get(id) {
            Some(Ok(plan)) => Ok((name.clone(), plan.clone())),
            Some(Err(error)) => Err(error.repeated()),
            None => Err(StoreError::unreadable(DOING, format!("plan {id} has none"))),
        };
        Ok(PlanBook { plans: subscription.plan_ids().map(plan).collect::<Result<_, _>>()? })
    }
}

/// A plan's id and version, one of its prices, and the meter that it counts.
type CountedPrice = (String, i32, String, String);

fn booked(rows: &[&PgRow], metered: &[CountedPrice]) -> Result<BookedPlan, StoreError> {
    let versions = rows.iter().map(|row| read_plan_version(row)).collect::<Result<Vec<_>, _>>()?;
    let meters = |of: &PlanVersion| {
        let own = metered.iter().filter(|(id, version, ..)| (id, version) == (&of.plan_id, &of.version));
        own.map(|(_, _, price, meter)| (price.clone(), meter.clone())).collect::<Vec<_>>()
    };
    let made = versions.iter().map(|version| made(version, meters(version))).collect();
    Ok(BookedPlan { versions, made })
}

impl PlanBook {
    /// Adds a version that is not there yet, if the plan is in the book.
    pub(super) fn propose(&mut self, proposed: &ProposedVersion) {
        let of_plan = |plan: &&mut Arc<BookedPlan>| {
            plan.versions.iter().any(|version| version.plan_id == proposed.next.plan_id)
        };
        let Some(plan) = self.plans.values_mut().find(of_plan).map(Arc::make_mut) else { return };
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
