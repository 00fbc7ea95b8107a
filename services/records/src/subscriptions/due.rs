//! What is to be billed, and moving on from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use meridian_billing::period::Period;
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};

use super::{Course, DuePeriod, SubscriptionError, find, plan_book::PlanShelf};
use crate::{
    Records, StoreError,
    catalogue::parsed,
    error::Doing,
    instant::{Instant, optional},
    scope::begin_for_every_tenant,
};

/// A page of next periods under this condition, earliest end first, behind the last one seen; `more` adds others.
macro_rules! next_periods {
    ($condition:literal $($more:tt)*) => {
        concat!(
            "SELECT p.tenant, p.subscription_id, c.key AS customer, p.next_period_start, p.next_period_end
             FROM (
                 (SELECT s.tenant, s.subscription_id, s.customer_id, s.next_period_start, s.next_period_end FROM subscriptions s
                  WHERE ",
            $condition,
            " AND ($2::timestamptz IS NULL OR (s.next_period_end, s.subscription_id) > ($2, $3))
                  ORDER BY s.next_period_end, s.subscription_id LIMIT $4)"
            $($more)*,
            ") p JOIN customers c USING (tenant, customer_id)
             ORDER BY p.next_period_end, p.subscription_id LIMIT $4"
        )
    };
}

/// Periods that are to be billed again, and that nobody took up: their newest invoice is void, and marked.
macro_rules! to_bill_again {
    () => {
        " UNION ALL
          (SELECT i.tenant, i.subscription_id, i.customer_id, i.period_start, i.period_end FROM invoices i
           WHERE i.state = 'void' AND i.reissued AND i.part = 0 AND i.period_end <= $1
             AND ($2::timestamptz IS NULL OR (i.period_end, i.subscription_id) > ($2, $3))
             AND NOT EXISTS (SELECT 1 FROM invoices n
                 WHERE n.tenant = i.tenant AND n.subscription_id = i.subscription_id AND n.period_start = i.period_start
                   AND n.part = 0 AND n.revision > i.revision AND n.state <> 'draft')
           ORDER BY i.period_end, i.subscription_id LIMIT $4)"
    };
}

impl Records {
    /// Periods that ended at least `grace` before `now`, of subscriptions that are at least as old as the grace (a tenant
    /// that is made today with a start in the past has that long to send its past usage); and those that are to be billed again,
    /// whoever began with it. Earliest end first; `after` goes
    /// on behind the last one seen, so that periods which cannot be billed do not hide those behind them.
    ///
    /// It sweeps over every tenant, because the billing cycle does; what is then done runs in each tenant's own scope.
    pub async fn due_periods(
        &self,
        now: Timestamp,
        grace: Duration,
        after: Option<&DuePeriod>,
        limit: u32,
    ) -> Result<Vec<DuePeriod>, StoreError> {
        const DOING: &str = "finding due periods";
        let latest = now.checked_sub(grace).map_err(|error| StoreError::unreadable(DOING, error))?;
        let query = next_periods!("s.next_period_end <= $1 AND s.created_at <= $1", to_bill_again!());
        self.next_periods(DOING, query, latest, after, limit).await
    }

    /// Periods that are running and may be billed in part: of subscriptions with thresholds, and first ones of those that begin with an
    /// invoice and have none yet. In the order of [`Records::due_periods`]. A subscription whose last period is not billed yet waits
    /// for that: usage is billed in its order.
    pub async fn running_to_bill(
        &self,
        now: Timestamp,
        after: Option<&DuePeriod>,
        limit: u32,
    ) -> Result<Vec<DuePeriod>, StoreError> {
        const DOING: &str = "finding running periods to bill";
        let query = next_periods!(
            "s.next_period_start <= $1 AND s.next_period_end > $1 AND (s.terms ? 'thresholds'
                OR s.terms->>'firstInvoice' = 'AtStart' AND NOT EXISTS (SELECT FROM invoices i
                    WHERE i.tenant = s.tenant AND i.subscription_id = s.subscription_id AND i.state <> 'draft'))"
        );
        self.next_periods(DOING, query, now, after, limit).await
    }

    /// A page of subscriptions' next periods; `query` is of [`next_periods!`] and says which as of `at`.
    async fn next_periods(
        &self,
        doing: &'static str,
        query: &'static str,
        at: Timestamp,
        after: Option<&DuePeriod>,
        limit: u32,
    ) -> Result<Vec<DuePeriod>, StoreError> {
        let mut transaction = begin_for_every_tenant(&self.pool).await?;
        let rows = sqlx::query(query)
            .bind(Instant(at))
            .bind(optional(after.map(|due| due.period.end)))
            .bind(after.map_or("", |due| due.subscription.as_str()))
            .bind(i64::from(limit))
            .fetch_all(&mut *transaction)
            .await
            .doing(doing)?;
        transaction.commit().await.doing(doing)?;
        rows.iter().map(due_period).collect()
    }
}

fn due_period(row: &PgRow) -> Result<DuePeriod, StoreError> {
    const DOING: &str = "reading a period to bill";
    Ok(DuePeriod {
        tenant: parsed(row, "tenant")?,
        subscription: parsed(row, "subscription_id")?,
        customer: parsed(row, "customer")?,
        period: Period {
            start: row.try_get::<Instant, _>("next_period_start").doing(DOING)?.0,
            end: row.try_get::<Instant, _>("next_period_end").doing(DOING)?.0,
        },
    })
}

const DOING: &str = "moving on to the next period";

/// Moves the next period past every period that has an invoice which is no draft: a void one was issued too, and issuing it
/// again is somebody's decision. Called in the transaction that issues, and
/// harmless when called again. Periods may have been issued out of order, so it looks again after each step.
pub(crate) async fn advance(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    subscription: &str,
) -> Result<(), StoreError> {
    let Some(mut subscription) = find::find_locked(transaction, tenant, subscription).await? else {
        return Ok(());
    };
    let before = subscription.next_period;
    let course = Course::read(transaction, &subscription).await.map_err(store)?;
    while let Some(next) = subscription.next_period {
        let Some(end) = issued_until(transaction, tenant, subscription.id.as_str(), next.start).await? else {
            break;
        };
        subscription.next_period = course.following(end).map_err(store)?;
    }
    if subscription.next_period == before {
        return Ok(());
    }
    sqlx::query(
        "UPDATE subscriptions SET next_period_start = $3, next_period_end = $4, updated_at = now(),
             state = CASE WHEN $3 IS NULL THEN 'ended' ELSE state END
         WHERE tenant = $1 AND subscription_id = $2",
    )
    .bind(tenant)
    .bind(subscription.id.as_str())
    .bind(optional(subscription.next_period.map(|next| next.start)))
    .bind(optional(subscription.next_period.map(|next| next.end)))
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok(())
}

/// A period that was issued, and by which terms it was computed.
pub(crate) struct Billed<'a> {
    pub subscription: &'a str,
    pub start: Timestamp,
    pub end: Timestamp,
    pub terms_version: i64,
}

/// Like [`advance`] for many subscriptions whose periods were issued in this transaction. Those that do not simply take the next
/// step, because periods were issued out of order, go by themselves. An error where one has other terms by now.
pub(crate) async fn advance_all(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    billed: &[Billed<'_>],
) -> Result<(), StoreError> {
    let ids: Vec<&str> = billed.iter().map(|billed| billed.subscription).collect();
    let rows = find::rows_locked(transaction, tenant, &ids).await?;
    let locked = rows.values().map(find::read).collect::<Result<Vec<_>, _>>()?;
    let shelf = PlanShelf::read(transaction, locked.iter()).await?;
    let billed: BTreeMap<&str, &Billed<'_>> =
        billed.iter().map(|billed| (billed.subscription, billed)).collect();
    let mut steps: Vec<(&str, Option<Period>)> = Vec::with_capacity(locked.len());
    let mut astray: BTreeSet<String> = BTreeSet::new();
    for subscription in &locked {
        let id = subscription.id.as_str();
        let Some(billed) = billed.get(id) else { continue };
        if billed.terms_version != subscription.terms_version {
            return Err(StoreError::unreadable(DOING, format!("the terms of {id} changed meanwhile")));
        }
        if subscription.next_period.is_none_or(|next| next.start != billed.start) {
            astray.insert(id.to_owned());
            continue;
        }
        let course = Course::of(subscription, &shelf).map_err(store)?;
        steps.push((id, course.following(billed.end).map_err(store)?));
    }
    astray.extend(issued_ahead(transaction, tenant, &steps).await?);
    steps.retain(|(id, _)| !astray.contains(*id));
    take(transaction, tenant, &steps).await?;
    for id in &astray {
        advance(transaction, tenant, id).await?;
    }
    Ok(())
}

/// Those whose next period was issued before this one.
async fn issued_ahead(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    steps: &[(&str, Option<Period>)],
) -> Result<Vec<String>, StoreError> {
    let next = || steps.iter().filter_map(|(id, next)| Some((*id, (*next)?.start)));
    sqlx::query_scalar(
        "SELECT DISTINCT i.subscription_id FROM unnest($2::text[], $3::timestamptz[]) AS next (subscription_id, period_start)
         JOIN invoices i USING (subscription_id, period_start)
         WHERE i.tenant = $1 AND i.part = 0 AND i.state <> 'draft'",
    )
    .bind(tenant)
    .bind(next().map(|(id, _)| id).collect::<Vec<_>>())
    .bind(next().map(|(_, start)| Instant(start)).collect::<Vec<_>>())
    .fetch_all(&mut **transaction)
    .await
    .doing("finding periods that were issued ahead")
}

async fn take(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    steps: &[(&str, Option<Period>)],
) -> Result<(), StoreError> {
    let bounds = |bound: fn(Period) -> Timestamp| {
        steps.iter().map(|(_, next)| optional(next.map(bound))).collect::<Vec<_>>()
    };
    sqlx::query(
        "UPDATE subscriptions s SET next_period_start = step.next_start, next_period_end = step.next_end, updated_at = now(),
             state = CASE WHEN step.next_start IS NULL THEN 'ended' ELSE s.state END
         FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) AS step (subscription_id, next_start, next_end)
         WHERE s.tenant = $1 AND s.subscription_id = step.subscription_id",
    )
    .bind(tenant)
    .bind(steps.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(bounds(|next| next.start))
    .bind(bounds(|next| next.end))
    .execute(&mut **transaction)
    .await
    .doing("moving on to the next periods")?;
    Ok(())
}

/// Where the invoice that starts at `start` and is no draft any more ends.
async fn issued_until(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    subscription: &str,
    start: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let end: Option<Instant> = sqlx::query_scalar(
        "SELECT period_end FROM invoices
         WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3 AND part = 0 AND state <> 'draft'
         ORDER BY revision LIMIT 1",
    )
    .bind(tenant)
    .bind(subscription)
    .bind(Instant(start))
    .fetch_optional(&mut **transaction)
    .await
    .doing("finding the issued invoice of a period")?;
    Ok(end.map(|end| end.0))
}

fn store(error: SubscriptionError) -> StoreError {
    match error {
        SubscriptionError::Store(error) => error,
        other => StoreError::unreadable("computing the next period", other),
    }
}
