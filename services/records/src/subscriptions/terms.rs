//! By which rules a period is billed: its parts with their plans, what was charged for it before, and the meters.

use std::collections::BTreeMap;

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    catalogue::MeterSpec,
    decimal::Amount,
    ids::{MeterName, PriceName, SubscriptionId},
    invoice::{
        Adjustments, AdvanceCharge, BilledSegment, Computation, InvoiceError, InvoiceInput, InvoiceKind,
        Metered, PriceUsage, Progress, charged_ahead, metered, usage_amount,
    },
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow, types::BigDecimal};

use super::{
    ChargedAhead, PeriodTerms, PlanVersion, ProposedVersion, Subscription, SubscriptionError,
    course::{Course, Placed},
    find,
};
use crate::{
    Charge, MeterRow, RedeemedCoupon, StoreError, TenantRecords,
    catalogue::{self, parsed},
    coupons, customers,
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
        self.terms_of_period(subscription, period_start, None).await
    }

    /// The same as if a plan had one more version.
    pub async fn proposed_terms(
        &self,
        subscription: &SubscriptionId,
        period_start: Timestamp,
        proposed: &ProposedVersion,
    ) -> Result<PeriodTerms, SubscriptionError> {
        self.terms_of_period(subscription, Some(period_start), Some(proposed)).await
    }

    async fn terms_of_period(
        &self,
        subscription: &SubscriptionId,
        period_start: Option<Timestamp>,
        proposed: Option<&ProposedVersion>,
    ) -> Result<PeriodTerms, SubscriptionError> {
        const DOING: &str = "reading the terms of a period";
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin_snapshot(&self.pool).await?;
        let subscription = find::find(&mut transaction, tenant, subscription.as_str())
            .await?
            .ok_or(SubscriptionError::NotFound)?;
        let start = match (period_start, subscription.next_period) {
            (Some(start), _) => start,
            (None, Some(next)) => next.start,
            (None, None) => return Err(SubscriptionError::NothingToBill),
        };
        let mut course = Course::read(&mut transaction, &subscription).await?;
        if let Some(proposed) = proposed {
            course.propose(proposed);
        }
        let placed = course.placed(start)?.ok_or(SubscriptionError::NoSuchPeriod(start))?;
        let segments = course.segments(&placed)?;
        let next = placed.billed.next.as_ref().map(|next| course.foreseen(&placed, next)).transpose()?;
        let charged_ahead = charged_before(&mut transaction, &subscription, &course, &placed).await?;
        let (progress, billed_on_the_way) = progress(&mut transaction, &subscription, start).await?;
        let redeemed = coupons::redeemed(&mut transaction, tenant, &subscription.id).await?;
        let redeemed = redeemed
            .into_iter()
            .map(|RedeemedCoupon { coupon, redeemed_at }| Ok((coupon, course.index_at(redeemed_at)?)));
        let redeemed = redeemed.collect::<Result<_, SubscriptionError>>()?;
        let plans = plan_versions(&course, &segments)?;
        let charges = charges(&mut transaction, &plans, proposed).await?;
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
        let plan = plans.into_iter().next().ok_or(SubscriptionError::NoSuchPeriod(start))?;
        let Placed { billed, index, .. } = placed;
        Ok(PeriodTerms {
            customer: customers::read(&customer)?,
            period: billed.period,
            segments,
            next,
            plans_before: billed.plans_before,
            subscription,
            plan,
            charged_ahead,
            progress,
            billed_on_the_way,
            redeemed,
            index,
            charges,
            catalogue_version,
        })
    }
}

impl PeriodTerms {
    /// What a shell must read before it can ask for the invoice: each metered price and what it asks of usage.
    pub fn metered(&self) -> Result<Vec<Metered>, SubscriptionError> {
        Ok(metered(&self.segments)?)
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
        let mut input = self.input(InvoiceKind::Period, usage, stored_before);
        self.progress.take_off(&mut input).map_err(unbillable)?;
        input.charged_in_advance = match &self.charged_ahead {
            ChargedAhead::Known(charges) => charges.clone(),
            ChargedAhead::Expected(terms) => {
                charged_ahead(&InvoiceInput { next: Some((**terms).clone()), ..input.clone() })
                    .map_err(unbillable)?
            }
        };
        Ok(input)
    }

    /// The engine's input for usage up to the cutoff, because it reached a threshold.
    pub fn threshold_input(
        &self,
        usage: Vec<PriceUsage>,
        stored_before: Timestamp,
    ) -> Result<InvoiceInput, SubscriptionError> {
        let mut input = self.input(InvoiceKind::Progressive, usage, stored_before);
        self.progress.take_off(&mut input).map_err(unbillable)?;
        Ok(input)
    }

    /// Which of the invoices that thresholds ask for in this period would be the next one.
    pub(crate) fn next_part(&self) -> i32 {
        i32::try_from(self.progress.invoices()).unwrap_or(i32::MAX - 1) + 1
    }

    fn input(&self, kind: InvoiceKind, usage: Vec<PriceUsage>, stored_before: Timestamp) -> InvoiceInput {
        InvoiceInput {
            engine_version: ENGINE_VERSION,
            catalogue_version: self.catalogue_version,
            tenant: self.subscription.tenant.clone(),
            customer: self.subscription.customer.clone(),
            subscription: self.subscription.id.clone(),
            time_zone: self.subscription.time_zone.clone(),
            period: self.period,
            kind,
            segments: self.segments.clone(),
            plans_before: self.plans_before.clone(),
            charged_in_advance: Vec::new(),
            next: self.next.clone(),
            stored_before,
            usage,
            adjustments: self.adjustments(),
        }
    }

    fn adjustments(&self) -> Adjustments {
        let custom = &self.subscription.terms;
        let from_the_start = custom.coupons.iter().filter(|coupon| coupon.applies_in(self.index));
        let redeemed = self.redeemed.iter().filter_map(|(coupon, since)| {
            // Before its redemption it does not count.
            let periods = self.index.checked_sub(*since)?;
            coupon.applies_in(periods).then_some(coupon)
        });
        Adjustments {
            coupons: from_the_start.chain(redeemed).cloned().collect(),
            credits: None,
            tax_rates: custom.tax_rates.clone(),
            tax_rounding: custom.tax_rounding,
        }
    }
}

fn unbillable(error: InvoiceError) -> SubscriptionError {
    SubscriptionError::Unbillable(error.to_string())
}

/// What the invoices that thresholds asked for charged of the period, and which amount of usage the last of them had reached.
async fn progress(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    period_start: Timestamp,
) -> Result<(Progress, Amount), SubscriptionError> {
    const DOING: &str = "reading what was billed within a period";
    let texts: Vec<String> = sqlx::query_scalar(
        "SELECT computation FROM invoices
         WHERE tenant = $1 AND subscription_id = $2 AND period_start = $3 AND part > 0 AND state <> 'draft' ORDER BY part",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .bind(Instant(period_start))
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    let mut progress = Progress::default();
    let mut reached = Amount::ZERO;
    for text in texts {
        let Computation { input, invoice } =
            serde_json::from_str(&text).map_err(|error| StoreError::unreadable(DOING, error))?;
        progress.add(&input, &invoice).map_err(unbillable)?;
        // By this release's engine, whichever computed it.
        let input = InvoiceInput { engine_version: ENGINE_VERSION, ..input };
        reached = usage_amount(&input).map_err(unbillable)?;
    }
    Ok((progress, reached))
}

/// What earlier invoices charged in advance for a period. Where the invoice of the period before is still to come, it is what
/// that one will charge: this one must not charge it too.
async fn charged_before(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    course: &Course,
    placed: &Placed,
) -> Result<ChargedAhead, SubscriptionError> {
    let known = charged_by_invoice(transaction, subscription, placed.billed.period.start).await?;
    Ok(match (known, course.was_foreseen(placed)?) {
        (Some(charges), _) => ChargedAhead::Known(charges),
        (None, Some(foreseen)) => ChargedAhead::Expected(Box::new(foreseen)),
        (None, None) => ChargedAhead::Known(Vec::new()),
    })
}

/// What the invoice whose period ends at this instant charged for the time after it; None where there is no such invoice.
pub(crate) async fn charged_by_invoice(
    transaction: &mut Transaction<'_, Postgres>,
    subscription: &Subscription,
    period_end: Timestamp,
) -> Result<Option<Vec<AdvanceCharge>>, StoreError> {
    const DOING: &str = "reading what was charged in advance";
    let invoice = sqlx::query(
        "SELECT invoice_id, state, reissued FROM invoices
         WHERE tenant = $1 AND subscription_id = $2 AND period_end = $3 AND part = 0 ORDER BY revision DESC LIMIT 1",
    )
    .bind(subscription.tenant.as_str())
    .bind(subscription.id.as_str())
    .bind(Instant(period_end))
    .fetch_optional(&mut **transaction)
    .await
    .doing(DOING)?;
    let Some(invoice) = invoice else { return Ok(None) };
    match (invoice.try_get::<&str, _>("state").doing(DOING)?, invoice.try_get("reissued").doing(DOING)?) {
        // Its next revision is still to come.
        ("void", true) => return Ok(None),
        ("void", false) => return Ok(Some(Vec::new())),
        _ => {}
    }
    let invoice: String = invoice.try_get("invoice_id").doing(DOING)?;
    let rows = sqlx::query(
        "SELECT coalesce(l.detail->>'plan', p.name) AS plan, l.price, sum(l.amount) AS amount
         FROM invoice_line_items l JOIN invoices i USING (invoice_id) JOIN plans p USING (plan_id)
         WHERE l.tenant = $1 AND l.invoice_id = $2 AND l.period_start >= $3
           AND l.detail->>'role' IN ('flat', 'proration', 'discount')
         GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .bind(subscription.tenant.as_str())
    .bind(invoice)
    .bind(Instant(period_end))
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    let charge = |row: &PgRow| {
        let amount: BigDecimal = row.try_get("amount").doing(DOING)?;
        let amount =
            Amount::from_bigdecimal(&amount).map_err(|error| StoreError::unreadable(DOING, error))?;
        Ok(AdvanceCharge { plan: parsed(row, "plan")?, price: parsed(row, "price")?, amount })
    };
    rows.iter().map(charge).collect::<Result<_, _>>().map(Some)
}

/// The plans of the period's parts in the versions that hold in them, in the order in which they come: the first one is the plan
/// that the period began with.
fn plan_versions(course: &Course, segments: &[BilledSegment]) -> Result<Vec<PlanVersion>, SubscriptionError> {
    let mut found: Vec<PlanVersion> = Vec::new();
    for segment in segments {
        for plan in std::iter::once(&segment.terms.plan).chain(&segment.terms.add_ons) {
            if found.iter().any(|known| known.name == plan.name && known.version == plan.version) {
                continue;
            }
            let version = course.book().version(&plan.name, plan.version);
            found.push(version.cloned().ok_or_else(|| SubscriptionError::NoSuchPlan(plan.name.to_string()))?);
        }
    }
    Ok(found)
}

/// What the prices of these plans count, in the order of the plans, then of the prices' names.
pub(super) async fn charges(
    transaction: &mut Transaction<'_, Postgres>,
    plans: &[PlanVersion],
    proposed: Option<&ProposedVersion>,
) -> Result<Vec<(Charge, MeterRow)>, SubscriptionError> {
    let ids: Vec<&str> = plans.iter().map(|plan| plan.plan_id.as_str()).collect();
    let versions: Vec<i32> = plans.iter().map(|plan| plan.version).collect();
    let rows = sqlx::query(
        "SELECT pm.price, m.metric_id, m.tenant, m.name, m.version, v.spec
         FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS wanted (plan_id, version, place)
         JOIN plan_metrics pm USING (plan_id, version) JOIN metrics m USING (metric_id)
         JOIN metric_versions v ON v.metric_id = m.metric_id AND v.version = m.version
         ORDER BY wanted.place, pm.price",
    )
    .bind(ids)
    .bind(versions)
    .fetch_all(&mut **transaction)
    .await
    .doing("reading the charges of a plan")?;
    let mut charges: Vec<(Charge, MeterRow)> = Vec::with_capacity(rows.len());
    for row in &rows {
        let meter = catalogue::read_meter(row)?;
        let price: PriceName = parsed(row, "price")?;
        charges.push((Charge { price, meter: meter.name.clone(), meter_id: meter.id.clone() }, meter));
    }
    let in_force = |proposed: &&ProposedVersion| {
        let ProposedVersion { current: _, next, charges: _ } = proposed;
        plans.iter().any(|plan| (&plan.plan_id, plan.version) == (&next.plan_id, next.version))
    };
    charges
        .extend(proposed.filter(in_force).into_iter().flat_map(|proposed| proposed.charges.iter().cloned()));
    // A plan of the tenant's own and a shared one may count different meters of one name; usage is told by name.
    for (index, (_, meter)) in charges.iter().enumerate() {
        if charges[..index].iter().any(|(_, known)| known.name == meter.name && known.id != meter.id) {
            let problem = format!("its plans count two different meters of the name {}", meter.name);
            return Err(SubscriptionError::Unbillable(problem));
        }
    }
    Ok(charges)
}
