//! What a version of a plan that is not there yet would mean for those who have the plan. Nothing is stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{PlanSpec, SpecError, SpecErrorCode, UpdatePolicy, check_meter_fit},
    ids::{PlanName, PriceName},
};

use super::{PlanVersion, Subscription, SubscriptionError, find};
use crate::{Charge, Listed, MeterRow, Page, StoreError, TenantRecords, error::Doing};

/// The next version of a plan, as if it were made at an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposedVersion {
    /// What the plan says now.
    pub current: PlanVersion,
    pub next: PlanVersion,
    /// What its prices would count.
    pub charges: Vec<(Charge, MeterRow)>,
}

impl TenantRecords {
    /// The next version of the plan that the tenant would be offered under this name. Its prices fit their meters, and what never
    /// changes in a plan is as it was.
    pub async fn propose_version(
        &self,
        plan: &PlanName,
        spec: &PlanSpec,
        made_at: Timestamp,
    ) -> Result<ProposedVersion, SubscriptionError> {
        let missing = || SubscriptionError::NoSuchPlan(plan.to_string());
        let current = self.plan_named(plan).await?.ok_or_else(missing)?;
        let unchanged = [
            ("currency", current.spec.currency == spec.currency),
            ("interval", current.spec.interval == spec.interval),
        ];
        if let Some((field, _)) = unchanged.iter().find(|(_, same)| !same) {
            let detail = format!("{field} cannot be changed: make another plan");
            return Err(SpecError::new(*field, SpecErrorCode::Conflicting, detail).into());
        }
        let mut meters: BTreeMap<String, MeterRow> = BTreeMap::new();
        let mut charges = Vec::new();
        for (index, price) in spec.prices.iter().enumerate() {
            let Some(meter) = &price.meter_ref else { continue };
            let field = format!("prices[{index}].meterRef.name");
            let missing = || SpecError::missing(field.clone(), format!("there is no meter {:?}", meter.name));
            let name = meter.name.parse().map_err(|_| missing())?;
            let row = self.meter_named(&name).await?.ok_or_else(missing)?;
            let price = PriceName::new(price.name.as_str()).map_err(|error| {
                SpecError::new(format!("prices[{index}].name"), SpecErrorCode::InvalidName, error.problem)
            })?;
            charges.push((Charge { price, meter: row.name.clone(), meter_id: row.id.clone() }, row.clone()));
            meters.insert(meter.name.clone(), row);
        }
        check_meter_fit(spec, |name| meters.get(name).map(|meter| &meter.spec))?;
        let next = PlanVersion {
            version: current.version + 1,
            spec: spec.clone(),
            created_at: made_at,
            ..current.clone()
        };
        Ok(ProposedVersion { current, next, charges })
    }

    /// Subscriptions that have not ended and whose terms name the plan, by its id (`plan_…`).
    pub async fn subscriptions_of_plan(
        &self,
        plan_id: &str,
        page: &Page,
    ) -> Result<Listed<Subscription>, StoreError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let rows = sqlx::query(find::select!(
            "WHERE s.tenant = $1 AND s.subscription_id > $2 AND s.state <> 'ended'
               AND (s.plan_id = $3 OR EXISTS (SELECT 1 FROM jsonb_each_text(s.plans) named WHERE named.value = $3))
             ORDER BY s.subscription_id LIMIT $4"
        ))
        .bind(self.scope().tenant().as_str())
        .bind(page.after_id())
        .bind(plan_id)
        .bind(page.fetch())
        .fetch_all(&mut *transaction)
        .await
        .doing("listing the subscriptions of a plan")?;
        let subscriptions = rows.iter().map(find::read).collect::<Result<Vec<_>, _>>()?;
        Ok(page.cut(subscriptions, |subscription| subscription.id.to_string()))
    }
}

impl ProposedVersion {
    /// The same as if it had been made before a period began, for everybody: what the plan will cost once it holds throughout.
    pub fn throughout(mut self, period_start: Timestamp) -> Self {
        self.next.spec.update_policy = UpdatePolicy::NextPeriod;
        self.next.created_at = period_start;
        self
    }
}
