//! By which rules a period is billed: its bounds, the version of the plan that holds for it, and the meters.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    catalogue::{IntervalSpec, MeterSpec, PlanSpec},
    decimal::{Amount, Quantity},
    ids::{MeterName, PriceName, SubscriptionId},
    invoice::{
        Adjustments, AdvanceCharge, BilledSegment, InvoiceInput, InvoiceKind, Metered, NextTerms, PlanTerms,
        PriceUsage, Terms, charged_ahead, metered,
    },
    period::{Period, Schedule},
    subscription::{SegmentState, Share, overridden},
};
use sqlx::{
    Postgres, Row, Transaction,
    postgres::PgRow,
    types::{BigDecimal, Json},
};

use super::{PeriodBefore, PeriodTerms, PlanVersion, Subscription, SubscriptionError, find};
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
        let share = share(&subscription, &plan.spec.interval, &period)?;
        let next = match period_from(&mut transaction, &subscription, period.end).await? {
            Some(next) => {
                let plan = plan_version_at(&mut transaction, &subscription.plan_id, next.start).await?;
                Some((next, self::share(&subscription, &plan.spec.interval, &next)?))
            }
            None => None,
        };
        let before = period_before(&mut transaction, &subscription, &period).await?;
        let index = periods_before(&subscription, &plan.spec.interval, &period)?;
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
            share,
            next,
            subscription,
            plan,
            before,
            index,
            charges,
            catalogue_version,
        })
    }
}

impl PeriodTerms {
    /// What a shell must read before it can ask for the invoice: each metered price and what it asks of usage.
    pub fn metered(&self) -> Result<Vec<Metered>, SubscriptionError> {
        Ok(metered(&[self.segment()?])?)
    }

    /// The meters that the prices count, by name, each with its version.
    pub fn meters(&self) -> BTreeMap<MeterName, (MeterSpec, i32)> {
        self.charges
            .iter()
            .map(|(charge, meter)| (charge.meter.clone(), (meter.spec.clone(), meter.version)))
            .collect()
    }

    /// The engine's input: these terms, and what each metered price was told up to the cutoff.
    pub fn invoice_input(
        &self,
        usage: Vec<PriceUsage>,
        stored_before: Timestamp,
    ) -> Result<InvoiceInput, SubscriptionError> {
        let segment = self.segment()?;
        let first = self.period.start == self.subscription.starts_at;
        let next = self.next.map(|(period, share)| NextTerms { period, terms: segment.terms.clone(), share });
        let custom = &self.subscription.terms;
        let mut input = InvoiceInput {
            engine_version: ENGINE_VERSION,
            catalogue_version: self.catalogue_version,
            tenant: self.subscription.tenant.clone(),
            customer: self.subscription.customer.clone(),
            subscription: self.subscription.id.clone(),
            time_zone: self.subscription.time_zone.clone(),
            period: self.period,
            kind: InvoiceKind::Period,
            plans_before: match &self.before {
                Some(before) => vec![before.plan.clone()],
                None if first => Vec::new(),
                None => vec![self.plan.name.clone()],
            },
            charged_in_advance: Vec::new(),
            next,
            stored_before,
            usage,
            adjustments: Adjustments {
                coupons: custom
                    .coupons
                    .iter()
                    .filter(|coupon| coupon.applies_in(self.index))
                    .cloned()
                    .collect(),
                credits: None,
                tax_rates: custom.tax_rates.clone(),
                tax_rounding: custom.tax_rounding,
            },
            segments: vec![segment],
        };
        input.charged_in_advance = match &self.before {
            Some(before) => before.charged_in_advance.clone(),
            None if first => Vec::new(),
            None => self.assumed_in_advance(&input)?,
        };
        Ok(input)
    }

    /// What the invoice before will charge for this period: it is not there yet, and this one must not charge it too.
    fn assumed_in_advance(&self, input: &InvoiceInput) -> Result<Vec<AdvanceCharge>, SubscriptionError> {
        let terms = input.segments[0].terms.clone();
        let next = Some(NextTerms { period: self.period, terms, share: self.share });
        charged_ahead(&InvoiceInput { next, ..input.clone() })
            .map_err(|error| SubscriptionError::Unbillable(error.to_string()))
    }

    /// The whole period, by the plan with the subscription's overrides.
    fn segment(&self) -> Result<BilledSegment, SubscriptionError> {
        let custom = &self.subscription.terms;
        let plan = PlanTerms {
            name: self.plan.name.clone(),
            version: self.plan.version,
            spec: overridden(&self.plan.spec, &custom.overrides)?,
            quantity: Quantity::ONE,
        };
        Ok(BilledSegment {
            period: self.period,
            terms: Terms { plan, add_ons: Vec::new(), quantities: custom.quantities()? },
            share: self.share,
            state: SegmentState::Active,
        })
    }
}

/// How much of the schedule's whole period this one is.
fn share(
    subscription: &Subscription,
    interval: &IntervalSpec,
    period: &Period,
) -> Result<Share, SubscriptionError> {
    let whole =
        Schedule::new(*interval, subscription.anchor, &subscription.time_zone)?.containing(period.start)?;
    Share::new(period.micros(), whole.micros()).or_else(|_| Ok::<_, SubscriptionError>(Share::WHOLE))
}

/// How many periods of the subscription came before this one; what repeats for some periods counts them.
fn periods_before(
    subscription: &Subscription,
    interval: &IntervalSpec,
    period: &Period,
) -> Result<u32, SubscriptionError> {
    let schedule = Schedule::new(*interval, subscription.anchor, &subscription.time_zone)?;
    let mut start = subscription.starts_at;
    let mut before = 0;
    while start < period.start && before < PERIODS_COUNTED_MAX {
        start = schedule.containing(start)?.end;
        before += 1;
    }
    Ok(before)
}

/// Beyond this nothing repeats any more: a century of days.
const PERIODS_COUNTED_MAX: u32 = 36_525;

/// What the invoice of the period before did; None where there is none yet.
async fn period_before(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    period: &Period,
) -> Result<Option<PeriodBefore>, StoreError> {
    const DOING: &str = "reading what was charged in advance";
    let before = sqlx::query(
        "SELECT i.invoice_id, p.name AS plan FROM invoices i JOIN plans p USING (plan_id)
         WHERE i.tenant = $1 AND i.subscription_id = $2 AND i.period_end = $3 ORDER BY i.revision DESC LIMIT 1",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .bind(Instant(period.start))
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?;
    let Some(before) = before else { return Ok(None) };
    let invoice: String = before.try_get("invoice_id").doing(DOING)?;
    let rows = sqlx::query(
        "SELECT coalesce(l.detail->>'plan', p.name) AS plan, l.price, sum(l.amount) AS amount
         FROM invoice_line_items l JOIN invoices i USING (invoice_id) JOIN plans p USING (plan_id)
         WHERE l.tenant = $1 AND l.invoice_id = $2 AND l.period_start >= $3
           AND l.detail->>'role' IN ('flat', 'proration', 'discount')
         GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .bind(subscription.tenant.as_str())
    .bind(invoice)
    .bind(Instant(period.start))
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    let charge = |row: &PgRow| {
        let amount: BigDecimal = row.try_get("amount").doing(DOING)?;
        let amount =
            Amount::from_bigdecimal(&amount).map_err(|error| StoreError::unreadable(DOING, error))?;
        Ok(AdvanceCharge { plan: parsed(row, "plan")?, price: parsed(row, "price")?, amount })
    };
    let charged_in_advance = rows.iter().map(charge).collect::<Result<_, StoreError>>()?;
    Ok(Some(PeriodBefore { plan: parsed(&before, "plan")?, charged_in_advance }))
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
