//! Reading by which rules periods are billed. However many periods of one tenant are asked for, the number of questions to the
//! database is the same, in one snapshot; what subscriptions share, plans and meters, is read once.
//!
//! What is wrong with one subscription is the answer for that one and for no other. Only a store that does not answer fails them
//! all. It computes no amount: course.rs lays out the periods, terms.rs hands them to the engine.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    decimal::Amount,
    ids::SubscriptionId,
    invoice::{BilledSegment, Computation, InvoiceInput, InvoiceKind, NextTerms, Progress, usage_amount},
    subscription::FirstInvoice,
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};

use super::{
    ChargedAhead, PeriodTerms, PlanVersion, ProposedVersion, Subscription, SubscriptionError,
    charged::ChargedByInvoices,
    course::{Course, Placed},
    find,
    plan_book::PlanShelf,
    plan_charges::PlanCharges,
    terms::unbillable,
};
use crate::{RedeemedCoupon, StoreError, TenantRecords, coupons, customers, error::Doing, instant::Instant};

const DOING: &str = "reading the terms of periods";

/// A period of a subscription, by its start; without one it is the next period to bill.
struct Asked<'a> {
    subscription: &'a SubscriptionId,
    period_start: Option<Timestamp>,
}

impl TenantRecords {
    /// The terms of the period that starts at `period_start`; None: of the next period to bill. Read in one snapshot.
    pub async fn period_terms(
        &self,
        subscription: &SubscriptionId,
        period_start: Option<Timestamp>,
    ) -> Result<PeriodTerms, SubscriptionError> {
        self.terms_of_one(Asked { subscription, period_start }, None).await
    }

    /// The same as if a plan had one more version.
    pub async fn proposed_terms(
        &self,
        subscription: &SubscriptionId,
        period_start: Timestamp,
        proposed: &ProposedVersion,
    ) -> Result<PeriodTerms, SubscriptionError> {
        let asked = Asked { subscription, period_start: Some(period_start) };
        self.terms_of_one(asked, Some(proposed)).await
    }

    /// The terms of many periods, each by its start: one answer for each, in their order, from one snapshot and by eleven questions
    /// to the database, however many they are.
    pub async fn period_terms_of(
        &self,
        periods: &[(SubscriptionId, Timestamp)],
    ) -> Result<Vec<Result<PeriodTerms, SubscriptionError>>, StoreError> {
        let asked: Vec<Asked<'_>> = periods
            .iter()
            .map(|(subscription, start)| Asked { subscription, period_start: Some(*start) })
            .collect();
        self.terms_of_many(&asked, None).await
    }

    async fn terms_of_one(
        &self,
        asked: Asked<'_>,
        proposed: Option<&ProposedVersion>,
    ) -> Result<PeriodTerms, SubscriptionError> {
        let mut terms = self.terms_of_many(&[asked], proposed).await?;
        terms.pop().unwrap_or_else(|| Err(StoreError::unreadable(DOING, "no answer").into()))
    }

    async fn terms_of_many(
        &self,
        asked: &[Asked<'_>],
        proposed: Option<&ProposedVersion>,
    ) -> Result<Vec<Result<PeriodTerms, SubscriptionError>>, StoreError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin_snapshot(&self.pool).await?;
        let ids: Vec<&str> = asked.iter().map(|asked| asked.subscription.as_str()).collect();
        let rows = find::rows(&mut transaction, tenant, &ids).await?;
        let found: Vec<Result<Subscription, SubscriptionError>> =
            ids.iter().map(|id| Ok(find::read(rows.get(*id).ok_or(SubscriptionError::NotFound)?)?)).collect();
        let shelf = PlanShelf::read(&mut transaction, found.iter().flatten()).await?;
        let laid: Vec<Result<LaidOut, SubscriptionError>> = asked
            .iter()
            .zip(found)
            .map(|(asked, subscription)| LaidOut::of(subscription?, asked.period_start, &shelf, proposed))
            .collect();
        let around = Around::read(&mut transaction, tenant, &laid).await?;
        Ok(laid.into_iter().map(|laid| around.terms(laid?, proposed)).collect())
    }
}

/// A period as the subscription and its plans alone say it.
struct LaidOut {
    subscription: Subscription,
    course: Course,
    placed: Placed,
    segments: Vec<BilledSegment>,
    next: Option<NextTerms>,
    /// The plans of the period's parts in the versions that hold in them, in the order in which they come: the first one is the
    /// plan that the period began with.
    plans: Vec<PlanVersion>,
}

impl LaidOut {
    fn of(
        subscription: Subscription,
        period_start: Option<Timestamp>,
        shelf: &PlanShelf,
        proposed: Option<&ProposedVersion>,
    ) -> Result<Self, SubscriptionError> {
        let start = match (period_start, subscription.next_period) {
            (Some(start), _) => start,
            (None, Some(next)) => next.start,
            (None, None) => return Err(SubscriptionError::NothingToBill),
        };
        let mut course = Course::of(&subscription, shelf)?;
        if let Some(proposed) = proposed {
            course.propose(proposed);
        }
        let placed = course.placed(start)?.ok_or(SubscriptionError::NoSuchPeriod(start))?;
        let segments = course.segments(&placed)?;
        let next = placed.billed.next.as_ref().map(|next| course.foreseen(&placed, next)).transpose()?;
        let plans = plan_versions(&course, &segments)?;
        Ok(Self { subscription, course, placed, segments, next, plans })
    }

    fn start(&self) -> Timestamp {
        self.placed.billed.period.start
    }

    /// Its subscription and the instant at which the period starts, as a key of what was read around it.
    fn key(&self) -> (String, Timestamp) {
        (self.subscription.id.to_string(), self.start())
    }
}

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

/// What else decides the invoices of periods: what was billed before, who pays, and what their plans count.
struct Around {
    charged: ChargedByInvoices,
    /// By subscription and start, what was billed of the period before its end, in the order of the parts.
    parts: BTreeMap<(String, Timestamp), Vec<PgRow>>,
    redeemed: BTreeMap<String, Vec<PgRow>>,
    customers: BTreeMap<String, PgRow>,
    charges: PlanCharges,
    /// Periods, by subscription and end, whose next one has an invoice that charged for itself all that is in advance.
    charged_by_next: BTreeSet<(String, Timestamp)>,
    catalogue_version: i64,
}

impl Around {
    async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        tenant: &str,
        laid: &[Result<LaidOut, SubscriptionError>],
    ) -> Result<Self, StoreError> {
        let laid = || laid.iter().flatten();
        let starts: Vec<(&str, Timestamp)> =
            laid().map(|laid| (laid.subscription.id.as_str(), laid.start())).collect();
        let ids: Vec<&str> = laid().map(|laid| laid.subscription.id.as_str()).collect();
        let customers: BTreeSet<&str> = laid().map(|laid| laid.subscription.customer_id.as_str()).collect();
        let plans: BTreeSet<(&str, i32)> = laid()
            .flat_map(|laid| laid.plans.iter().map(|plan| (plan.plan_id.as_str(), plan.version)))
            .collect();
        Ok(Self {
            charged: ChargedByInvoices::read(transaction, tenant, &starts).await?,
            parts: parts(transaction, tenant, &starts).await?,
            redeemed: coupons::redemptions_of(transaction, tenant, &ids).await?,
            customers: customer_rows(transaction, tenant, customers).await?,
            charges: PlanCharges::read(transaction, &plans).await?,
            charged_by_next: charged_by_next(transaction, tenant, laid()).await?,
            catalogue_version: sqlx::query_scalar("SELECT version FROM catalogue")
                .fetch_one(&mut **transaction)
                .await
                .doing(DOING)?,
        })
    }

    fn terms(
        &self,
        laid: LaidOut,
        proposed: Option<&ProposedVersion>,
    ) -> Result<PeriodTerms, SubscriptionError> {
        let start = laid.start();
        let charged_ahead = self.charged_before(&laid)?;
        let parts = self.parts.get(&laid.key()).map(Vec::as_slice).unwrap_or_default();
        let (progress, billed_on_the_way) = progress(parts)?;
        let begins_with_an_invoice = laid.subscription.terms.first_invoice == FirstInvoice::AtStart
            && laid.placed.billed.first
            && progress.invoices() == 0;
        let at_start = if begins_with_an_invoice { laid.course.at_its_start()? } else { None };
        let redeemed =
            self.redeemed.get(laid.subscription.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let index_of = |row: &PgRow| {
            let RedeemedCoupon { coupon, redeemed_at } = coupons::read_redeemed(row)?;
            Ok((coupon, laid.course.index_at(redeemed_at)?))
        };
        let redeemed = redeemed.iter().map(index_of).collect::<Result<_, SubscriptionError>>()?;
        let charges = self.charges.of(&laid.plans, proposed)?;
        let customer = self.customers.get(&laid.subscription.customer_id);
        let customer = customer.ok_or_else(|| StoreError::unreadable(DOING, "its customer is not there"))?;
        let by_next = (laid.subscription.id.to_string(), laid.placed.billed.period.end);
        let LaidOut { subscription, course: _, placed, segments, next, plans } = laid;
        let next = next.filter(|_| !self.charged_by_next.contains(&by_next));
        let Placed { billed, index, .. } = placed;
        Ok(PeriodTerms {
            customer: customers::read(customer)?,
            period: billed.period,
            segments,
            next,
            plans_before: billed.plans_before,
            subscription,
            plan: plans.into_iter().next().ok_or(SubscriptionError::NoSuchPeriod(start))?,
            charged_ahead,
            at_start,
            progress,
            billed_on_the_way,
            redeemed,
            index,
            charges,
            catalogue_version: self.catalogue_version,
        })
    }

    /// What earlier invoices charged in advance for a period. Where the invoice of the period before is still to come, it is what
    /// that one will charge: this one must not charge it too.
    fn charged_before(&self, laid: &LaidOut) -> Result<ChargedAhead, SubscriptionError> {
        let known = self.charged.until(laid.subscription.id.as_str(), laid.start())?;
        Ok(match (known, laid.course.was_foreseen(&laid.placed)?) {
            (Some(charges), _) => ChargedAhead::Known(charges),
            (None, Some(foreseen)) => ChargedAhead::Expected(Box::new(foreseen)),
            (None, None) => ChargedAhead::Known(Vec::new()),
        })
    }
}

/// A period is billed after the next one where its invoice was void meanwhile: that one did not wait for it, and what it charged for
/// itself is not charged in advance again.
async fn charged_by_next(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    laid: impl Iterator<Item = &LaidOut> + Clone,
) -> Result<BTreeSet<(String, Timestamp)>, StoreError> {
    let rows = sqlx::query(
        "SELECT i.subscription_id, i.period_start, i.computation
         FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::timestamptz[])) AS asked (subscription_id, period_start)
         JOIN invoices i USING (subscription_id, period_start)
         WHERE i.tenant = $1 AND i.part = 0 AND i.state IN ('issued', 'paid', 'skipped')",
    )
    .bind(tenant)
    .bind(laid.clone().map(|laid| laid.subscription.id.as_str()).collect::<Vec<_>>())
    .bind(laid.map(|laid| Instant(laid.placed.billed.period.end)).collect::<Vec<_>>())
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    let mut found = BTreeSet::new();
    for row in rows {
        let computation: Computation = serde_json::from_str(row.try_get("computation").doing(DOING)?)
            .map_err(|error| StoreError::unreadable(DOING, error))?;
        if computation.input.charged_in_advance.is_empty() {
            let start = row.try_get::<Instant, _>("period_start").doing(DOING)?.0;
            found.insert((row.try_get("subscription_id").doing(DOING)?, start));
        }
    }
    Ok(found)
}

/// The computations of the invoices of parts of periods: at the start, and those that thresholds asked for.
async fn parts(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    periods: &[(&str, Timestamp)],
) -> Result<BTreeMap<(String, Timestamp), Vec<PgRow>>, StoreError> {
    let rows = sqlx::query(
        "SELECT i.subscription_id, i.period_start, i.computation
         FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::timestamptz[])) AS asked (subscription_id, period_start)
         JOIN invoices i USING (subscription_id, period_start)
         WHERE i.tenant = $1 AND i.part > 0 AND i.state <> 'draft' ORDER BY i.part",
    )
    .bind(tenant)
    .bind(periods.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(periods.iter().map(|(_, start)| Instant(*start)).collect::<Vec<_>>())
    .fetch_all(&mut **transaction)
    .await
    .doing("reading what was billed within periods")?;
    let mut parts: BTreeMap<(String, Timestamp), Vec<PgRow>> = BTreeMap::new();
    for row in rows {
        let subscription: String = row.try_get("subscription_id").doing(DOING)?;
        let start = row.try_get::<Instant, _>("period_start").doing(DOING)?.0;
        parts.entry((subscription, start)).or_default().push(row);
    }
    Ok(parts)
}

/// What the invoices of a period's parts charged of it, and which amount of usage the last one at a threshold had reached.
fn progress(parts: &[PgRow]) -> Result<(Progress, Amount), SubscriptionError> {
    const DOING: &str = "reading what was billed within a period";
    let mut progress = Progress::default();
    let mut reached = Amount::ZERO;
    for part in parts {
        let text: &str = part.try_get("computation").doing(DOING)?;
        let Computation { input, invoice } =
            serde_json::from_str(text).map_err(|error| StoreError::unreadable(DOING, error))?;
        progress.add(&input, &invoice).map_err(unbillable)?;
        if input.kind == InvoiceKind::Opening {
            continue;
        }
        // By this release's engine, whichever computed it.
        let input = InvoiceInput { engine_version: ENGINE_VERSION, ..input };
        reached = usage_amount(&input).map_err(unbillable)?;
    }
    Ok((progress, reached))
}

async fn customer_rows(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    ids: BTreeSet<&str>,
) -> Result<BTreeMap<String, PgRow>, StoreError> {
    const DOING: &str = "reading who pays for periods";
    let rows = sqlx::query("SELECT * FROM customers WHERE tenant = $1 AND customer_id = ANY($2)")
        .bind(tenant)
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
    rows.into_iter().map(|row| Ok((row.try_get("customer_id").doing(DOING)?, row))).collect()
}
