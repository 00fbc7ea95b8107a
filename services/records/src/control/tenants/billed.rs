//! What the platform bills the tenant itself: one customer with the empty key, one subscription kept from `planRef`.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Time};
use meridian_billing::{
    catalogue::NameRef,
    ids::{CustomerKey, PlanName, SubscriptionId},
    period::{self, Period},
    subscription::{BillingAnchor, ChangeSpec, CustomTerms},
};
use serde_json::json;
use sqlx::{Postgres, Transaction, types::Uuid};

use super::{ControlError, TenantRequest};
use crate::{
    By, ManagedBy, StoreError, Subscription, SubscriptionState, audit,
    error::Doing,
    id::{self, Kind},
    instant::Instant,
    subscriptions::{self, Course},
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
        Some(subscription) => change(transaction, request, subscription, plan_id, plan, starts_at, by).await,
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
        plans: BTreeMap::new(),
        state: SubscriptionState::Active,
        time_zone: request.spec.time_zone_name().to_owned(),
        anchor: BillingAnchor::Calendar,
        starts_at: billed_until.map_or(starts_at, |end| end.0.max(starts_at)),
        ends_at: None,
        next_period: None,
        terms: CustomTerms::default(),
        terms_version: 0,
        managed_by: ManagedBy::Kubernetes,
        created_at: Timestamp::UNIX_EPOCH,
    };
    subscriptions::insert(transaction, subscription, by).await.map(|_| ()).map_err(ControlError::from)
}

/// While nothing was billed, everything may become another. Then another plan holds from the next period to bill on; for
/// another zone, which cuts periods elsewhere, this subscription ends and one of the new zone goes on.
async fn change(
    transaction: &mut Transaction<'_, Postgres>,
    request: &TenantRequest,
    before: Subscription,
    plan_id: String,
    plan: PlanName,
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
    let (_, current_id) = before.current_plan();
    if !moved && plan_id == *current_id && time_zone == before.time_zone {
        return Ok(());
    }
    let mut after = before.clone();
    // Periods may have been issued ahead.
    let invoiced = subscriptions::invoiced_until(transaction, &before).await?;
    let from = |next: Period| invoiced.map_or(next.start, |until| until.max(next.start));
    match before.next_period.filter(|_| billed) {
        None => {
            (after.plan, after.plan_id) = (plan, plan_id);
            (after.plans, after.terms) = (BTreeMap::new(), CustomTerms::default());
            after.time_zone = time_zone.to_owned();
            if moved {
                after.starts_at = starts_at;
            }
            let course = Course::read(transaction, &after).await?;
            after.next_period = course.first()?;
        }
        Some(next) if time_zone == before.time_zone && after.may_name(&plan, &plan_id) => {
            // What was to hold from then on, and never did, is forgotten.
            after.terms.changes.retain(|change| change.at < from(next));
            if after.current_plan().1 != &plan_id {
                let plan_ref = Some(NameRef { name: plan.to_string() });
                after.terms.add_change(ChangeSpec { plan_ref, ..ChangeSpec::at(from(next)) });
                if plan != after.plan {
                    after.plans.insert(plan, plan_id);
                }
            }
            let course = Course::read(transaction, &after).await?;
            after.next_period = course.starting_at(next.start)?;
        }
        Some(next) => {
            let from = from(next);
            let charged = subscriptions::charged_by_invoice(transaction, &before, from).await?;
            // What is charged in advance is served by the subscription that charged it.
            let charged =
                charged.is_some_and(|charges| charges.iter().any(|charge| !charge.amount.is_zero()));
            let served = Course::read(transaction, &before).await?.containing(from)?;
            let ends_at = served.filter(|_| charged).map_or(from, |period| period.end);
            let customer_id = before.customer_id.clone();
            subscriptions::cancel(transaction, before, ends_at, by).await?;
            return subscribe(transaction, request, customer_id, plan_id, plan, starts_at, by).await;
        }
    }
    subscriptions::store(transaction, &after).await?;
    let shown = |of: &Subscription| {
        let (plan, plan_id) = of.current_plan();
        json!({"plan_id": plan_id, "plan": plan, "time_zone": of.time_zone, "starts_at": of.starts_at})
    };
    let detail = json!({"before": shown(&before), "after": shown(&after)});
    audit::record(transaction, Some(tenant), by, "subscription.change", after.id.as_str(), detail).await?;
    Ok(())
}
