//! What the platform bills the tenant itself: one customer with the empty key, one subscription kept from `planRef`.

use jiff::{Timestamp, civil::Time};
use meridian_billing::{
    ids::{CustomerKey, PlanName, SubscriptionId},
    period::{self, Anchor},
    subscription::CustomTerms,
};
use serde_json::json;
use sqlx::{Postgres, Transaction, types::Uuid};

use super::{ControlError, TenantRequest};
use crate::{
    By, ManagedBy, StoreError, Subscription, SubscriptionError, SubscriptionState, audit,
    error::Doing,
    id::{self, Kind},
    instant::Instant,
    subscriptions,
};

/// `created_at` is the organization's: where billing starts by default.
pub(super) async fn store(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    created_at: Timestamp,
    by: &By,
) -> Result<(), ControlError> {
    let tenant = request.name.as_str();
    let running = subscriptions::kept_by_kubernetes(transaction, tenant).await?;
    let Some(plan) = &request.spec.plan_ref else {
        if let Some(subscription) = running {
            let now = now(transaction).await?;
            let ends_at = now.max(subscription.starts_at);
            subscriptions::cancel(transaction, subscription, ends_at, by).await?;
        }
        return Ok(());
    };
    let plan_missing = || ControlError::PlanMissing { name: plan.name.clone() };
    let plan = PlanName::new(plan.name.as_str()).map_err(|_| plan_missing())?;
    let plan_id = subscriptions::plan_named(transaction, tenant, &plan).await?.ok_or_else(plan_missing)?;
    let customer_id = store_customer(transaction, request).await?;
    let starts_at = match request.spec.billing_start {
        Some(start) => start,
        None => month_of(created_at, request.spec.time_zone_name())?,
    };
    match running {
        Some(subscription) => change(transaction, request, subscription, plan_id, &plan, starts_at, by).await,
        None => subscribe(transaction, request, customer_id, plan_id, plan, starts_at, by).await,
    }
}

async fn now(transaction: &mut Transaction<'_, Postgres>) -> Result<Timestamp, StoreError> {
    let now: Instant = sqlx::query_scalar("SELECT now()")
        .fetch_one(&mut **transaction)
        .await
        .doing("asking the database for the time")?;
    Ok(now.0)
}

/// Midnight of the 1st, in that zone.
fn month_of(at: Timestamp, time_zone: &str) -> Result<Timestamp, ControlError> {
    let invalid = |detail: String| ControlError::Invalid { field: "timeZone".to_owned(), detail };
    let zone = period::zone(time_zone).map_err(|error| invalid(error.to_string()))?;
    let first = at.to_zoned(zone.clone()).date().first_of_month().to_datetime(Time::midnight());
    let start =
        zone.to_ambiguous_timestamp(first).compatible().map_err(|error| invalid(error.to_string()))?;
    Ok(start)
}

async fn store_customer(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
) -> Result<String, StoreError> {
    let spec = &request.spec;
    sqlx::query_scalar(
        "INSERT INTO customers (customer_id, tenant, key, name, time_zone, managed_by)
         VALUES ($1, $2, '', $3, $4, 'kubernetes')
         ON CONFLICT (tenant, key) DO UPDATE SET name = excluded.name, time_zone = excluded.time_zone, archived_at = NULL,
             updated_at = now()
         RETURNING customer_id",
    )
    .bind(id::new(Kind::Customer))
    .bind(request.name.as_str())
    .bind(spec.display_name.as_deref().unwrap_or(request.name.as_str()))
    .bind(spec.time_zone_name())
    .fetch_one(&mut **transaction)
    .await
    .doing("storing the tenant as its own customer")
}

async fn subscribe(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    customer_id: String,
    plan_id: String,
    plan: PlanName,
    starts_at: Timestamp,
    by: &By,
) -> Result<(), ControlError> {
    // Time that an earlier subscription was billed for is not billed again.
    let billed_until: Option<Instant> = sqlx::query_scalar(
        "SELECT max(ends_at) FROM subscriptions WHERE tenant = $1 AND customer_id = $2 AND managed_by = 'kubernetes'",
    )
    .bind(request.name.as_str())
    .bind(&customer_id)
    .fetch_one(&mut **transaction)
    .await
    .doing("finding when an earlier subscription ended")?;
    let subscription = Subscription {
        id: SubscriptionId::new(id::from_seed(Kind::Subscription, Uuid::now_v7()))
            .map_err(|error| StoreError::unreadable("making a subscription's id", error))?,
        tenant: request.name.clone(),
        customer_id,
        customer: CustomerKey::tenant_itself(),
        plan_id,
        plan,
        state: SubscriptionState::Active,
        time_zone: request.spec.time_zone_name().to_owned(),
        anchor: Anchor::Calendar,
        starts_at: billed_until.map_or(starts_at, |end| end.0.max(starts_at)),
        ends_at: None,
        next_period: None,
        terms: CustomTerms::default(),
        managed_by: ManagedBy::Kubernetes,
        created_at: Timestamp::UNIX_EPOCH,
    };
    subscriptions::insert(transaction, subscription, by).await.map(|_| ()).map_err(control)
}

/// Another plan or zone holds from the next period to bill on; another start only while nothing was billed.
async fn change(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    before: Subscription,
    plan_id: String,
    plan: &PlanName,
    starts_at: Timestamp,
    by: &By,
) -> Result<(), ControlError> {
    let tenant = request.name.as_str();
    let time_zone = request.spec.time_zone_name();
    let billed = subscriptions::has_invoices(transaction, tenant, &before.id).await?;
    // Only a start that the spec names moves it; the default was taken once.
    let moved = request.spec.billing_start.is_some() && starts_at != before.starts_at;
    if moved && billed {
        return Err(ControlError::Immutable { field: "billingStart" });
    }
    if !moved && plan_id == before.plan_id && time_zone == before.time_zone {
        return Ok(());
    }
    let mut after = before.clone();
    after.plan_id = plan_id;
    after.time_zone = time_zone.to_owned();
    if moved {
        after.starts_at = starts_at;
    }
    after.next_period = if billed {
        match before.next_period {
            Some(next) => {
                subscriptions::period_from(transaction, &after, next.start).await.map_err(control)?
            }
            None => None,
        }
    } else {
        Some(subscriptions::first_period(transaction, &after).await.map_err(control)?)
    };
    subscriptions::store_terms(transaction, &after).await?;
    let detail = json!({
        "before": {"plan_id": before.plan_id, "time_zone": before.time_zone, "starts_at": before.starts_at},
        "after": {"plan_id": after.plan_id, "plan": plan, "time_zone": after.time_zone, "starts_at": after.starts_at},
    });
    audit::record(transaction, Some(tenant), by, "subscription.change", after.id.as_str(), detail).await?;
    Ok(())
}

fn control(error: SubscriptionError) -> ControlError {
    match error {
        SubscriptionError::Store(error) => ControlError::Store(error),
        SubscriptionError::Period(error) => {
            ControlError::Invalid { field: "billingStart".to_owned(), detail: error.to_string() }
        }
        other => ControlError::Invalid { field: "planRef".to_owned(), detail: other.to_string() },
    }
}
