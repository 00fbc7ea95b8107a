//! Making and cancelling subscriptions, by the REST API or by the operator's Tenant objects.

use jiff::Timestamp;
use meridian_billing::{
    catalogue::SpecError,
    ids::{PlanName, SubscriptionId},
    period::Period,
    subscription::{overridden, unknown_override},
};
use serde_json::json;
use sqlx::{
    Postgres, Row, Transaction,
    types::{Json, Uuid},
};

use super::{ManagedBy, NewSubscription, Subscription, SubscriptionError, SubscriptionState, find, terms};
use crate::{
    By, StoreError, TenantRecords, audit, catalogue,
    error::Doing,
    id::{self, Kind},
    instant::{Instant, optional},
};

impl TenantRecords {
    /// `seed` decides the id: the same seed again returns the subscription that it made.
    pub async fn create_subscription(
        &self,
        new: &NewSubscription,
        seed: Uuid,
        by: &By,
    ) -> Result<Subscription, SubscriptionError> {
        const DOING: &str = "creating a subscription";
        let tenant = self.scope.tenant().as_str();
        let id = id::from_seed(Kind::Subscription, seed);
        let mut transaction = self.scope.begin(&self.pool).await?;
        if let Some(made_before) = find::find(&mut transaction, tenant, &id).await? {
            return Ok(made_before);
        }
        if new.ends_at.is_some_and(|end| end <= new.starts_at) {
            return Err(SubscriptionError::EndsBeforeStart);
        }
        // Held, so that the customer is not archived between this look and the insert.
        let customer = sqlx::query(
            "SELECT key, time_zone FROM customers
             WHERE tenant = $1 AND customer_id = $2 AND archived_at IS NULL FOR SHARE",
        )
        .bind(tenant)
        .bind(&new.customer_id)
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?
        .ok_or(SubscriptionError::NoSuchCustomer)?;
        let plan_id = plan_named(&mut transaction, tenant, &new.plan).await?;
        let plan_id = plan_id.ok_or_else(|| SubscriptionError::NoSuchPlan(new.plan.to_string()))?;
        let subscription = Subscription {
            id: SubscriptionId::new(id).map_err(|error| StoreError::unreadable(DOING, error))?,
            tenant: self.scope.tenant().clone(),
            customer_id: new.customer_id.clone(),
            customer: catalogue::parsed(&customer, "key")?,
            plan_id,
            plan: new.plan.clone(),
            state: SubscriptionState::Active,
            time_zone: match &new.time_zone {
                Some(zone) => zone.clone(),
                None => customer.try_get("time_zone").doing(DOING)?,
            },
            anchor: new.anchor,
            starts_at: new.starts_at,
            ends_at: new.ends_at,
            next_period: None,
            terms: new.terms.clone(),
            managed_by: ManagedBy::Api,
            created_at: Timestamp::UNIX_EPOCH,
        };
        check_terms(&mut transaction, &subscription).await?;
        let subscription = insert(&mut transaction, subscription, by).await?;
        catalogue::bump(&mut transaction).await?;
        transaction.commit().await.doing(DOING)?;
        Ok(subscription)
    }

    /// Ends the subscription at `ends_at`: usage until then is still billed. Cancelling again keeps the first end.
    pub async fn cancel_subscription(
        &self,
        id: &SubscriptionId,
        ends_at: Timestamp,
        by: &By,
    ) -> Result<Subscription, SubscriptionError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let subscription = find::find_locked(&mut transaction, tenant, id.as_str())
            .await?
            .ok_or(SubscriptionError::NotFound)?;
        if subscription.managed_by == ManagedBy::Kubernetes {
            return Err(SubscriptionError::ManagedByKubernetes);
        }
        if subscription.state != SubscriptionState::Active {
            return Ok(subscription);
        }
        if ends_at < subscription.starts_at {
            return Err(SubscriptionError::EndsBeforeStart);
        }
        let cancelled = cancel(&mut transaction, subscription, ends_at, by).await?;
        catalogue::bump(&mut transaction).await?;
        transaction.commit().await.doing("cancelling a subscription")?;
        Ok(cancelled)
    }
}

/// Its own terms must fit the plan that it begins with, so that the first invoice does not find out.
async fn check_terms(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
) -> Result<(), SubscriptionError> {
    let plan = terms::plan_version_at(transaction, &subscription.plan_id, subscription.starts_at).await?;
    let custom = &subscription.terms;
    custom.validate()?;
    if let Some(unknown) = unknown_override(&[&plan.spec], &custom.overrides) {
        return Err(unknown.into());
    }
    overridden(&plan.spec, &custom.overrides)?;
    for (index, taken) in custom.quantities.iter().enumerate() {
        let flat = plan.spec.prices.iter().any(|price| price.name == taken.price && price.flat.is_some());
        if !flat {
            let detail = format!("the plan has no flat price {:?}", taken.price);
            return Err(SpecError::missing(format!("quantities[{index}].price"), detail).into());
        }
    }
    Ok(())
}

/// The id of the tenant's own plan of that name, else of the shared one; archived plans are not for new subscriptions.
pub(crate) async fn plan_named(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    name: &PlanName,
) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT plan_id FROM plans WHERE name = $2 AND (tenant IS NULL OR tenant = $1) AND archived_at IS NULL
         ORDER BY tenant IS NULL LIMIT 1",
    )
    .bind(tenant)
    .bind(name.as_str())
    .fetch_optional(&mut **transaction)
    .await
    .doing("finding a plan by its name")
}

/// Inserts it with its first period, and the audit row. `created_at` and `next_period` are filled in here.
pub(crate) async fn insert(
    transaction: &mut Transaction<'_, Postgres>,
    mut subscription: Subscription,
    by: &By,
) -> Result<Subscription, SubscriptionError> {
    let first = terms::first_period(transaction, &subscription).await?;
    let created_at: Instant = sqlx::query_scalar(
        "INSERT INTO subscriptions (subscription_id, tenant, customer_id, plan_id, state, time_zone, anchor, starts_at, ends_at,
             next_period_start, next_period_end, managed_by, terms)
         VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $9, $10, $11, $12) RETURNING created_at",
    )
    .bind(subscription.id.as_str())
    .bind(subscription.tenant.as_str())
    .bind(&subscription.customer_id)
    .bind(&subscription.plan_id)
    .bind(&subscription.time_zone)
    .bind(Json(subscription.anchor))
    .bind(Instant(subscription.starts_at))
    .bind(optional(subscription.ends_at))
    .bind(Instant(first.start))
    .bind(Instant(first.end))
    .bind(subscription.managed_by.as_str())
    .bind(Json(&subscription.terms))
    .fetch_one(&mut **transaction)
    .await
    .doing("inserting a subscription")?;
    subscription.created_at = created_at.0;
    subscription.next_period = Some(first);
    let detail = json!({
        "customer": subscription.customer_id, "plan": subscription.plan, "starts_at": subscription.starts_at,
        "ends_at": subscription.ends_at, "time_zone": subscription.time_zone,
        "anchor": subscription.anchor, "terms": subscription.terms,
    });
    let tenant = Some(subscription.tenant.as_str());
    audit::record(transaction, tenant, by, "subscription.create", subscription.id.as_str(), detail).await?;
    Ok(subscription)
}

/// Rewrites what a running subscription is billed by: plan, zone, start and the next period.
pub(crate) async fn store_terms(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE subscriptions SET plan_id = $3, time_zone = $4, starts_at = $5, next_period_start = $6, next_period_end = $7,
             updated_at = now()
         WHERE tenant = $1 AND subscription_id = $2",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .bind(&subscription.plan_id)
    .bind(&subscription.time_zone)
    .bind(Instant(subscription.starts_at))
    .bind(optional(subscription.next_period.map(|next| next.start)))
    .bind(optional(subscription.next_period.map(|next| next.end)))
    .execute(&mut **transaction)
    .await
    .doing("changing a subscription")?;
    Ok(())
}

/// What is still to bill is cut off at the end; when nothing is, the subscription has ended.
pub(crate) async fn cancel(
    transaction: &mut Transaction<'_, Postgres>,
    mut subscription: Subscription,
    ends_at: Timestamp,
    by: &By,
) -> Result<Subscription, StoreError> {
    let ends_at = subscription.ends_at.map_or(ends_at, |planned| planned.min(ends_at));
    subscription.ends_at = Some(ends_at);
    subscription.next_period = subscription
        .next_period
        .filter(|next| next.start < ends_at)
        .map(|next| Period { end: next.end.min(ends_at), ..next });
    subscription.state = if subscription.next_period.is_some() {
        SubscriptionState::Cancelled
    } else {
        SubscriptionState::Ended
    };
    sqlx::query(
        "UPDATE subscriptions SET state = $3, ends_at = $4, next_period_start = $5, next_period_end = $6, updated_at = now()
         WHERE tenant = $1 AND subscription_id = $2",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .bind(subscription.state.as_str())
    .bind(Instant(ends_at))
    .bind(optional(subscription.next_period.map(|next| next.start)))
    .bind(optional(subscription.next_period.map(|next| next.end)))
    .execute(&mut **transaction)
    .await
    .doing("cancelling a subscription")?;
    let tenant = Some(subscription.tenant.as_str());
    let detail = json!({"ends_at": ends_at});
    audit::record(transaction, tenant, by, "subscription.cancel", subscription.id.as_str(), detail).await?;
    Ok(subscription)
}
