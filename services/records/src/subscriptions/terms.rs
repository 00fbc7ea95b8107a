//! By which rules a period is billed: its bounds, the version of the plan that holds for it, and the meters.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    catalogue::{IntervalSpec, PlanSpec},
    ids::{MeterName, PriceName, SubscriptionId},
    invoice::{FirstPeriod, InvoiceInput, MeterUsage},
    period::{Period, Schedule},
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::Json};

use super::{PeriodTerms, PlanVersion, Subscription, SubscriptionError, find};
use crate::{
    Charge, MeterRow, StoreError, TenantRecords,
    catalogue::{self, parsed},
    customers,
    error::Doing,
    instant::Instant,
};

impl TenantRecords {
    /// The terms of the period that starts at `period_start`; None: of the next period to bill. Read in one snapshot.
    pub async fn period_terms(
        &self,
        subscription: &SubscriptionId,
        period_start: Option<Timestamp>,
    ) -> Result<PeriodTerms, SubscriptionError> {
        const DOING: &str = "reading the terms of a period";
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin_snapshot(&self.pool).await?;
        let subscription = find::find(&mut transaction, tenant, subscription.as_str())
            .await?
            .ok_or(SubscriptionError::NotFound)?;
        let period = match period_start {
            Some(start) => period_at(&mut transaction, &subscription, start).await?,
            None => subscription.next_period.ok_or(SubscriptionError::NothingToBill)?,
        };
        let plan = plan_version_at(&mut transaction, &subscription.plan_id, period.start).await?;
        let next_period = period_from(&mut transaction, &subscription, period.end).await?;
        let charges = charges(&mut transaction, &plan).await?;
        let customer = sqlx::query("SELECT * FROM customers WHERE tenant = $1 AND customer_id = $2")
            .bind(tenant)
            .bind(&subscription.customer_id)
            .fetch_one(&mut *transaction)
            .await
            .doing(DOING)?;
        let catalogue_version = sqlx::query_scalar("SELECT version FROM catalogue")
            .fetch_one(&mut *transaction)
            .await
            .doing(DOING)?;
        Ok(PeriodTerms {
            customer: customers::read(&customer)?,
            period,
            first_period: if period.start == subscription.starts_at {
                FirstPeriod::Yes
            } else {
                FirstPeriod::No
            },
            next_period,
            subscription,
            plan,
            charges,
            catalogue_version,
        })
    }
}

impl PeriodTerms {
    /// The engine's input: these terms, and what each meter counted up to the cutoff.
    pub fn invoice_input(
        &self,
        usage: BTreeMap<MeterName, MeterUsage>,
        stored_before: Timestamp,
    ) -> InvoiceInput {
        InvoiceInput {
            engine_version: ENGINE_VERSION,
            catalogue_version: self.catalogue_version,
            tenant: self.subscription.tenant.clone(),
            customer: self.subscription.customer.clone(),
            subscription: self.subscription.id.clone(),
            plan: self.plan.name.clone(),
            plan_version: self.plan.version,
            plan_spec: self.plan.spec.clone(),
            period: self.period,
            first_period: self.first_period,
            next_period: self.next_period,
            stored_before,
            usage,
        }
    }
}

/// The bounds of the period that starts at `start`, which must be a boundary within the subscription's life.
async fn period_at(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    start: Timestamp,
) -> Result<Period, SubscriptionError> {
    if let Some(next) = subscription.next_period.filter(|next| next.start == start) {
        return Ok(next);
    }
    let no_such_period = SubscriptionError::NoSuchPeriod(start);
    if start < subscription.starts_at || subscription.ends_at.is_some_and(|end| start >= end) {
        return Err(no_such_period);
    }
    // A period that was computed before keeps the bounds that it had then.
    let computed: Option<Instant> = sqlx::query_scalar(
        "SELECT period_end FROM invoices WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3
         ORDER BY revision DESC LIMIT 1",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .bind(Instant(start))
    .fetch_optional(&mut **transaction)
    .await
    .doing("reading the bounds of a period")?;
    if let Some(end) = computed {
        return Ok(Period { start, end: end.0 });
    }
    let plan = plan_version_at(transaction, &subscription.plan_id, start).await?;
    let period = bounds(subscription, &plan.spec.interval, start)?;
    if period.start == start { Ok(period) } else { Err(no_such_period) }
}

/// The period that contains `at`, cut off where the subscription starts and ends.
fn bounds(
    subscription: &Subscription,
    interval: &IntervalSpec,
    at: Timestamp,
) -> Result<Period, SubscriptionError> {
    let period = Schedule::new(*interval, subscription.anchor, &subscription.time_zone)?.containing(at)?;
    Ok(Period {
        start: period.start.max(subscription.starts_at),
        end: subscription.ends_at.map_or(period.end, |last| period.end.min(last)),
    })
}

/// The period that begins where another ended; None at the subscription's end.
pub(crate) async fn period_from(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    start: Timestamp,
) -> Result<Option<Period>, SubscriptionError> {
    if subscription.ends_at.is_some_and(|last| start >= last) {
        return Ok(None);
    }
    let plan = plan_version_at(transaction, &subscription.plan_id, start).await?;
    let period = bounds(subscription, &plan.spec.interval, start)?;
    // The interval may have changed with the plan: then the period that contains `start` would begin before it.
    Ok(Some(Period { start, end: period.end }))
}

/// The first period of a subscription that is being made or moved.
pub(crate) async fn first_period(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
) -> Result<Period, SubscriptionError> {
    let plan = plan_version_at(transaction, &subscription.plan_id, subscription.starts_at).await?;
    bounds(subscription, &plan.spec.interval, subscription.starts_at)
}

/// The newest version made at or before `at`, or the newest of all when none was.
pub(super) async fn plan_version_at(
    transaction: &mut Transaction<'_, Postgres>,
    plan_id: &str,
    at: Timestamp,
) -> Result<PlanVersion, StoreError> {
    const DOING: &str = "finding the version of a plan";
    let row = sqlx::query(
        "SELECT v.plan_id, p.name, v.version, v.spec, v.created_at FROM plan_versions v JOIN plans p USING (plan_id)
         WHERE v.plan_id = $1 ORDER BY (v.created_at <= $2) DESC, v.version DESC LIMIT 1",
    )
    .bind(plan_id)
    .bind(Instant(at))
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)?;
    read_plan_version(&row)
}

pub(crate) fn read_plan_version(row: &PgRow) -> Result<PlanVersion, StoreError> {
    const DOING: &str = "reading a version of a plan";
    Ok(PlanVersion {
        plan_id: row.try_get("plan_id").doing(DOING)?,
        name: parsed(row, "name")?,
        version: row.try_get("version").doing(DOING)?,
        spec: row.try_get::<Json<PlanSpec>, _>("spec").doing(DOING)?.0,
        created_at: row.try_get::<Instant, _>("created_at").doing(DOING)?.0,
    })
}

async fn charges(
    transaction: &mut Transaction<'_, Postgres>,
    plan: &PlanVersion,
) -> Result<Vec<(Charge, MeterRow)>, StoreError> {
    let rows = sqlx::query(
        "SELECT pm.price, m.metric_id, m.tenant, m.name, m.version, v.spec
         FROM plan_metrics pm JOIN metrics m USING (metric_id)
         JOIN metric_versions v ON v.metric_id = m.metric_id AND v.version = m.version
         WHERE pm.plan_id = $1 AND pm.version = $2 ORDER BY pm.price",
    )
    .bind(&plan.plan_id)
    .bind(plan.version)
    .fetch_all(&mut **transaction)
    .await
    .doing("reading the charges of a plan")?;
    rows.iter()
        .map(|row| {
            let meter = catalogue::read_meter(row)?;
            let price: PriceName = parsed(row, "price")?;
            let name: MeterName = meter.name.clone();
            Ok((Charge { price, meter: name, meter_id: meter.id.clone() }, meter))
        })
        .collect()
}
