//! What the prices of plans count: each with its meter as it is now.

use std::collections::{BTreeMap, BTreeSet};

use meridian_billing::{ids::PriceName, invoice::BilledSegment};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};

use super::{PlanVersion, ProposedVersion, Subscription, SubscriptionError};
use crate::{
    Charge, MeterRow, StoreError, TenantRecords,
    catalogue::{self, parsed},
    error::Doing,
};

const DOING: &str = "reading the charges of plans";

impl TenantRecords {
    /// What the prices of a billed period count: by the versions of the plans that it was billed by, whatever holds now.
    pub async fn charges_of_billed(
        &self,
        subscription: &Subscription,
        segments: &[BilledSegment],
    ) -> Result<Vec<(Charge, MeterRow)>, SubscriptionError> {
        let mut versions: BTreeSet<(&str, i32)> = BTreeSet::new();
        for segment in segments {
            for plan in std::iter::once(&segment.terms.plan).chain(&segment.terms.add_ons) {
                let known = subscription.plan_ids().find(|(name, _)| **name == plan.name);
                let (_, id) = known.ok_or_else(|| SubscriptionError::NoSuchPlan(plan.name.to_string()))?;
                versions.insert((id.as_str(), plan.version));
            }
        }
        let mut transaction = self.scope.begin(&self.pool).await?;
        let read = PlanCharges::read(&mut transaction, &versions).await?;
        let charges = read.of_versions(versions.into_iter())?;
        one_meter_of_a_name(&charges)?;
        Ok(charges)
    }
}

/// The charges of versions of plans, each read once for all subscriptions that have it.
pub(super) struct PlanCharges(BTreeMap<(String, i32), ChargesOfPlan>);

type ChargesOfPlan = Result<Vec<(Charge, MeterRow)>, StoreError>;

impl PlanCharges {
    pub async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        plans: &BTreeSet<(&str, i32)>,
    ) -> Result<Self, StoreError> {
        let rows = sqlx::query(
            "SELECT wanted.plan_id, wanted.version AS plan_version, pm.price, m.metric_id, m.tenant, m.name, m.version, v.spec
             FROM unnest($1::text[], $2::int[]) AS wanted (plan_id, version)
             JOIN plan_metrics pm USING (plan_id, version) JOIN metrics m USING (metric_id)
             JOIN metric_versions v ON v.metric_id = m.metric_id AND v.version = m.version
             ORDER BY pm.price",
        )
        .bind(plans.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(plans.iter().map(|(_, version)| *version).collect::<Vec<_>>())
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let mut by_plan: BTreeMap<(String, i32), Vec<&PgRow>> = BTreeMap::new();
        for row in &rows {
            let plan = (row.try_get("plan_id").doing(DOING)?, row.try_get("plan_version").doing(DOING)?);
            by_plan.entry(plan).or_default().push(row);
        }
        let read = |rows: Vec<&PgRow>| rows.into_iter().map(charge).collect();
        Ok(Self(by_plan.into_iter().map(|(plan, rows)| (plan, read(rows))).collect()))
    }

    /// The same for versions of plans by their ids, whatever the meters are named.
    fn of_versions<'a>(
        &self,
        plans: impl Iterator<Item = (&'a str, i32)>,
    ) -> Result<Vec<(Charge, MeterRow)>, StoreError> {
        let mut charges: Vec<(Charge, MeterRow)> = Vec::new();
        for (plan, version) in plans {
            match self.0.get(&(plan.to_owned(), version)) {
                Some(Ok(known)) => charges.extend(known.iter().cloned()),
                Some(Err(error)) => return Err(error.repeated()),
                // It counts nothing, or it is the version that is not there yet.
                None => {}
            }
        }
        Ok(charges)
    }

    /// What the prices of these plans count, in the order of the plans, then of the prices' names.
    pub fn of(
        &self,
        plans: &[PlanVersion],
        proposed: Option<&ProposedVersion>,
    ) -> Result<Vec<(Charge, MeterRow)>, SubscriptionError> {
        let mut charges = self.of_versions(plans.iter().map(|plan| (plan.plan_id.as_str(), plan.version)))?;
        let in_force = |proposed: &&ProposedVersion| {
            let ProposedVersion { current: _, next, charges: _ } = proposed;
            plans.iter().any(|plan| (&plan.plan_id, plan.version) == (&next.plan_id, next.version))
        };
        let proposed = proposed.filter(in_force);
        charges.extend(proposed.into_iter().flat_map(|proposed| proposed.charges.iter().cloned()));
        one_meter_of_a_name(&charges)?;
        Ok(charges)
    }
}

fn charge(row: &PgRow) -> Result<(Charge, MeterRow), StoreError> {
    let meter = catalogue::read_meter(row)?;
    let price: PriceName = parsed(row, "price")?;
    Ok((Charge { price, meter: meter.name.clone(), meter_id: meter.id.clone() }, meter))
}

/// A plan of the tenant's own and a shared one may count different meters of one name; usage is told by name.
fn one_meter_of_a_name(charges: &[(Charge, MeterRow)]) -> Result<(), SubscriptionError> {
    for (index, (_, meter)) in charges.iter().enumerate() {
        if charges[..index].iter().any(|(_, known)| known.name == meter.name && known.id != meter.id) {
            let problem = format!("its plans count two different meters of the name {}", meter.name);
            return Err(SubscriptionError::Unbillable(problem));
        }
    }
    Ok(())
}
