//! Making, changing and cancelling subscriptions, by the REST API or by the operator's Tenant objects.
//!
//! Time that is billed is over: a change takes effect in the next period to bill or later. So invoices that were issued are
//! explained by the terms as they stand, whenever somebody asks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    catalogue::{PlanSpec, SpecError, check_meter_fit},
    ids::{PlanName, SubscriptionId},
    period::Anchor,
    subscription::{BillingAnchor, ChangeSpec, overridden, unknown_override},
};
use serde_json::json;
use sqlx::{
    Postgres, Row, Transaction,
    types::{Json, Uuid},
};

use super::{
    BILLED_FROM, BILLED_UNTIL, Course, ManagedBy, NewSubscription, Subscription, SubscriptionError,
    SubscriptionState, billable, charged::charged_by_invoice, find, plan_charges::PlanCharges,
};
use crate::{
    By, StoreError, TenantRecords, audit, catalogue,
    error::Doing,
    id::{self, Kind},
    instant::{Instant, optional},
};

/// When a cancelled subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAt {
    Instant(Timestamp),
    /// With the period that this instant lies in.
    PeriodEnd(Timestamp),
}

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
        in_range("starts_at", new.starts_at)?;
        if let Some(ends_at) = new.ends_at {
            in_range("ends_at", ends_at)?;
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
        let mut subscription = Subscription {
            id: SubscriptionId::new(id).map_err(|error| StoreError::unreadable(DOING, error))?,
            tenant: self.scope.tenant().clone(),
            customer_id: new.customer_id.clone(),
            customer: catalogue::parsed(&customer, "key")?,
            plan_id,
            plan: new.plan.clone(),
            plans: BTreeMap::new(),
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
            terms_version: 0,
            managed_by: ManagedBy::Api,
            // The database's own follows; no plan's version is younger than this transaction.
            created_at: Timestamp::UNIX_EPOCH,
        };
        name_plans(&mut transaction, &mut subscription).await?;
        let subscription = insert(&mut transaction, subscription, by).await?;
        catalogue::bump(&mut transaction).await?;
        transaction.commit().await.doing(DOING)?;
        Ok(subscription)
    }

    /// Adds a change to the subscription's terms: another plan, seats, add-ons, a pause, an end. It takes effect at its own
    /// instant or, as it says, with the period after.
    pub async fn change_subscription(
        &self,
        id: &SubscriptionId,
        change: ChangeSpec,
        by: &By,
    ) -> Result<Subscription, SubscriptionError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let mut subscription = self.own_locked(&mut transaction, id).await?;
        in_range("at", change.at)?;
        let standing = subscription.terms.changes.iter().rfind(|known| known.at == change.at);
        if standing == Some(&change) {
            // Asked for a second time.
            return Ok(subscription);
        }
        let course = Course::read(&mut transaction, &subscription).await?;
        refuse_billed_time(&mut transaction, &course, &subscription, change.at).await?;
        let detail = json!({"change": change});
        subscription.terms.add_change(change);
        name_plans(&mut transaction, &mut subscription).await?;
        let subscription =
            self.changed(&mut transaction, subscription, "subscription.change", detail, by).await?;
        transaction.commit().await.doing("changing a subscription")?;
        Ok(subscription)
    }

    /// Takes back what was to change at this instant, which is still to come.
    pub async fn withdraw_change(
        &self,
        id: &SubscriptionId,
        at: Timestamp,
        now: Timestamp,
        by: &By,
    ) -> Result<Subscription, SubscriptionError> {
        let mut transaction = self.scope.begin(&self.pool).await?;
        let mut subscription = self.own_locked(&mut transaction, id).await?;
        let before = subscription.terms.changes.len();
        subscription.terms.changes.retain(|change| change.at != at);
        if subscription.terms.changes.len() == before {
            return Err(SubscriptionError::NoSuchChange(at));
        }
        if at <= now {
            return Err(SubscriptionError::ChangeInForce(at));
        }
        let detail = json!({"at": at});
        let action = "subscription.withdraw_change";
        let subscription = self.changed(&mut transaction, subscription, action, detail, by).await?;
        transaction.commit().await.doing("withdrawing a change of a subscription")?;
        Ok(subscription)
    }

    /// Ends the subscription: usage until then is still billed. Cancelling again keeps the first end.
    pub async fn cancel_subscription(
        &self,
        id: &SubscriptionId,
        at: CancelAt,
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
        let (CancelAt::Instant(asked) | CancelAt::PeriodEnd(asked)) = at;
        in_range("at", asked)?;
        let course = Course::read(&mut transaction, &subscription).await?;
        let ends_at = match at {
            CancelAt::Instant(at) => at,
            CancelAt::PeriodEnd(at) => course.containing(at)?.map_or(at, |period| period.end),
        };
        if ends_at < subscription.starts_at {
            return Err(SubscriptionError::EndsBeforeStart);
        }
        refuse_billed_time(&mut transaction, &course, &subscription, ends_at).await?;
        refuse_end_of_charged_time(&mut transaction, &subscription, ends_at).await?;
        let cancelled = cancel(&mut transaction, subscription, ends_at, by).await?;
        catalogue::bump(&mut transaction).await?;
        transaction.commit().await.doing("cancelling a subscription")?;
        Ok(cancelled)
    }

    /// The subscription, held, if this API may change it.
    async fn own_locked(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        id: &SubscriptionId,
    ) -> Result<Subscription, SubscriptionError> {
        let tenant = self.scope.tenant().as_str();
        let subscription =
            find::find_locked(transaction, tenant, id.as_str()).await?.ok_or(SubscriptionError::NotFound)?;
        match (subscription.managed_by, subscription.next_period) {
            (ManagedBy::Kubernetes, _) => Err(SubscriptionError::ManagedByKubernetes),
            (ManagedBy::Api, None) => Err(SubscriptionError::NothingToBill),
            (ManagedBy::Api, Some(_)) => Ok(subscription),
        }
    }

    /// Stores a subscription whose terms became others, if they make sense.
    async fn changed(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        mut subscription: Subscription,
        action: &str,
        detail: serde_json::Value,
        by: &By,
    ) -> Result<Subscription, SubscriptionError> {
        let course = Course::read(transaction, &subscription).await?;
        check_terms(transaction, &course, &subscription).await?;
        let before = subscription.next_period.ok_or(SubscriptionError::NothingToBill)?;
        subscription.next_period = course.starting_at(before.start)?;
        if subscription.next_period.is_none() {
            refuse_end_of_charged_time(transaction, &subscription, before.start).await?;
            subscription.state = SubscriptionState::Ended;
        }
        store(transaction, &subscription).await?;
        let (tenant, id) = (subscription.tenant.as_str(), subscription.id.as_str());
        audit::record(transaction, Some(tenant), by, action, id, detail).await?;
        catalogue::bump(transaction).await?;
        Ok(subscription)
    }
}

/// Timestamps come from outside: what databases cannot hold, and what it would take long to count periods up to, is refused.
fn in_range(field: &'static str, at: Timestamp) -> Result<(), SubscriptionError> {
    if (BILLED_FROM..=BILLED_UNTIL).contains(&at) {
        Ok(())
    } else {
        Err(SubscriptionError::OutOfRange { field, at })
    }
}

/// Before the next period to bill nothing changes any more, nor before the end of any invoice: periods may have been issued ahead,
/// and a threshold may have asked for one within its period. While nothing is billed, the trial may.
async fn refuse_billed_time(
    transaction: &mut Transaction<'_, Postgres>,
    course: &Course,
    subscription: &Subscription,
    at: Timestamp,
) -> Result<(), SubscriptionError> {
    let Some(next) = subscription.next_period else { return Ok(()) };
    let until = match invoiced_until(transaction, subscription).await? {
        Some(until) => until.max(next.start),
        None if course.first()?.is_none_or(|first| first.start == next.start) => return Ok(()),
        None => next.start,
    };
    if at < until {
        return Err(SubscriptionError::AlreadyBilled { until });
    }
    Ok(())
}

/// The end of the last period, or part of one, that has an invoice which is no draft.
pub(crate) async fn invoiced_until(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
) -> Result<Option<Timestamp>, StoreError> {
    let until: Option<Instant> = sqlx::query_scalar(
        "SELECT max(period_end) FROM invoices WHERE tenant = $1 AND subscription_id = $2 AND state <> 'draft'",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .fetch_one(&mut **transaction)
    .await
    .doing("finding until when a subscription is billed")?;
    Ok(until.map(|until| until.0))
}

/// An end at the very end of a period with an invoice leaves none that could give back what was charged in advance after it.
async fn refuse_end_of_charged_time(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    ends_at: Timestamp,
) -> Result<(), SubscriptionError> {
    let Some(next) = subscription.next_period else { return Ok(()) };
    let charged = charged_by_invoice(transaction, subscription, ends_at).await?;
    if charged.is_some_and(|charged| charged.iter().any(|charge| !charge.amount.is_zero())) {
        return Err(SubscriptionError::ChargedAhead { at: ends_at, until: next.end.max(ends_at) });
    }
    Ok(())
}

/// Its own terms must fit its plans and their meters, so that no invoice finds out.
async fn check_terms(
    transaction: &mut Transaction<'_, Postgres>,
    course: &Course,
    subscription: &Subscription,
) -> Result<(), SubscriptionError> {
    let custom = &subscription.terms;
    custom.validate()?;
    let versions = course.newest_versions();
    let plans: Vec<&PlanSpec> = versions.iter().map(|version| &version.spec).collect();
    if let Some(unknown) = unknown_override(&plans, &custom.overrides) {
        return Err(unknown.into());
    }
    let wanted = versions.iter().map(|version| (version.plan_id.as_str(), version.version)).collect();
    let meters = PlanCharges::read(transaction, &wanted).await?.of(&versions, None)?;
    let meter = |name: &str| {
        meters.iter().find(|(charge, _)| charge.meter.as_str() == name).map(|(_, meter)| &meter.spec)
    };
    let own: Vec<PlanSpec> =
        plans.iter().map(|plan| overridden(plan, &custom.overrides)).collect::<Result<_, _>>()?;
    billable::check(custom, &subscription.plan, &versions, &own)?;
    for own in &own {
        let counted = own.prices.iter().filter_map(|price| Some((price, price.meter_ref.as_ref()?)));
        for (price, counted) in counted {
            if meter(&counted.name).is_none() {
                let detail = format!("price {} keeps the meter of its plan", price.name);
                return Err(SpecError::missing("overrides", detail).into());
            }
        }
        check_meter_fit(own, meter)?;
    }
    let has_flat = |name: &str| {
        plans.iter().any(|plan| plan.prices.iter().any(|price| price.name == name && price.flat.is_some()))
    };
    let of_changes = custom.changes.iter().enumerate().flat_map(|(change, spec)| {
        let field = move |index| format!("changes[{change}].quantities[{index}].price");
        spec.quantities.iter().flatten().enumerate().map(move |(index, taken)| (field(index), taken))
    });
    let from_the_start = custom
        .quantities
        .iter()
        .enumerate()
        .map(|(index, taken)| (format!("quantities[{index}].price"), taken));
    course.check()?;
    // What is billed is as it is.
    let begins = match subscription.next_period {
        Some(next) => Some(next.start),
        None => course.first()?.map(|first| first.start),
    };
    if let Some(begins) = begins {
        let changes = custom.changes.iter().map(|change| change.at).filter(|at| *at > begins);
        for at in std::iter::once(begins).chain(changes) {
            course.check_charges(at)?;
        }
    }
    for (field, taken) in from_the_start.chain(of_changes) {
        if !has_flat(&taken.price) {
            let detail = format!("no plan of the subscription has a flat price {:?}", taken.price);
            return Err(SpecError::missing(field, detail).into());
        }
    }
    Ok(())
}

/// Finds the plans that the terms name and that the subscription does not know yet.
async fn name_plans(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &mut Subscription,
) -> Result<(), SubscriptionError> {
    let named: Vec<String> = subscription.terms.plans_named().map(str::to_owned).collect();
    for name in named {
        let missing = || SubscriptionError::NoSuchPlan(name.clone());
        let plan = PlanName::new(name.as_str()).map_err(|_| missing())?;
        if plan == subscription.plan || subscription.plans.contains_key(&plan) {
            continue;
        }
        let id = plan_named(transaction, subscription.tenant.as_str(), &plan).await?.ok_or_else(missing)?;
        subscription.plans.insert(plan, id);
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
    let course = Course::read(transaction, &subscription).await?;
    check_terms(transaction, &course, &subscription).await?;
    let first = course.first()?.ok_or(SubscriptionError::NothingToBill)?;
    let created_at: Instant = sqlx::query_scalar(
        "INSERT INTO subscriptions (subscription_id, tenant, customer_id, plan_id, state, time_zone, anchor, starts_at, ends_at,
             next_period_start, next_period_end, managed_by, terms, plans)
         VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING created_at",
    )
    .bind(subscription.id.as_str())
    .bind(subscription.tenant.as_str())
    .bind(&subscription.customer_id)
    .bind(&subscription.plan_id)
    .bind(&subscription.time_zone)
    .bind(Json(match subscription.anchor {
        BillingAnchor::Calendar => Anchor::Calendar,
        BillingAnchor::Anniversary => Anchor::Start { at: subscription.starts_at },
    }))
    .bind(Instant(subscription.starts_at))
    .bind(optional(subscription.ends_at))
    .bind(Instant(first.start))
    .bind(Instant(first.end))
    .bind(subscription.managed_by.as_str())
    .bind(Json(&subscription.terms))
    .bind(Json(&subscription.plans))
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

/// Rewrites what a running subscription is billed by.
pub(crate) async fn store(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE subscriptions SET plan_id = $3, time_zone = $4, starts_at = $5, ends_at = $6, next_period_start = $7,
             next_period_end = $8, state = $9, terms = $10, plans = $11, terms_version = terms_version + 1, updated_at = now()
         WHERE tenant = $1 AND subscription_id = $2",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .bind(&subscription.plan_id)
    .bind(&subscription.time_zone)
    .bind(Instant(subscription.starts_at))
    .bind(optional(subscription.ends_at))
    .bind(optional(subscription.next_period.map(|next| next.start)))
    .bind(optional(subscription.next_period.map(|next| next.end)))
    .bind(subscription.state.as_str())
    .bind(Json(&subscription.terms))
    .bind(Json(&subscription.plans))
    .execute(&mut **transaction)
    .await
    .doing("storing a subscription")?;
    Ok(())
}

/// Whatever was computed of the subscription's next invoices is computed again. Holds its row until the transaction ends.
pub(crate) async fn raise_terms_version(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    id: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE subscriptions SET terms_version = terms_version + 1 WHERE tenant = $1 AND subscription_id = $2",
    )
    .bind(tenant)
    .bind(id)
    .execute(&mut **transaction)
    .await
    .doing("noting that a subscription is billed by other terms")?;
    Ok(())
}

/// What is still to bill is cut off at the end; when nothing is, the subscription has ended. Changes that were to come after it
/// are gone with it.
pub(crate) async fn cancel(
    transaction: &mut Transaction<'_, Postgres>,
    mut subscription: Subscription,
    ends_at: Timestamp,
    by: &By,
) -> Result<Subscription, SubscriptionError> {
    let ends_at = subscription.ends_at.map_or(ends_at, |planned| planned.min(ends_at));
    subscription.ends_at = Some(ends_at);
    subscription.terms.changes.retain(|change| change.at < ends_at);
    subscription.next_period = match subscription.next_period.filter(|next| next.start < ends_at) {
        Some(next) => Course::read(transaction, &subscription).await?.starting_at(next.start)?,
        None => None,
    };
    subscription.state = if subscription.next_period.is_some() {
        SubscriptionState::Cancelled
    } else {
        SubscriptionState::Ended
    };
    store(transaction, &subscription).await?;
    let tenant = Some(subscription.tenant.as_str());
    let detail = json!({"ends_at": ends_at});
    audit::record(transaction, tenant, by, "subscription.cancel", subscription.id.as_str(), detail).await?;
    Ok(subscription)
}
