//! The steps of workflows, by the names that histories rely on. Each may run twice, at once or after a crash, and does then
//! what it did before. This file names, counts and reports; what a step does stands in the files beside it.

mod close_many;
mod ledgers;
mod pipeline;
mod rating;
mod thresholds;
mod verify;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use meridian_rating::Rating;
use meridian_records::{DuePeriod, Records};
use meridian_usage_store::UsageStore;
use temporalio_common::ActivityError;
use temporalio_macros::activities;
use temporalio_sdk::activities::ActivityContext;
use tokio::sync::Semaphore;

use crate::{
    failure::StepError,
    gate::Sources,
    metrics::{FailureLabel, Metrics, StepLabel},
    wire::{
        AdvancedPage, AggregatedUsage, AwaitPipeline, BilledThreshold, CheckPeriod, ClosablePeriod,
        ClosedPeriod, ClosedPeriods, DueCursor, DuePage, FindDue, IssueInvoice, LedgerPage, PeriodAsOf,
        PeriodsAsOf, PipelinePassed, VerifiedPage, VerifyPage,
    },
};

/// Due periods that one step of a sweep returns, and that are closed together: each question to a store costs much the same for 50 and
/// for 500. An answer (about 200 bytes a period) stays far below Temporal's limit for a payload.
pub const DUE_PAGE_MAX: u32 = 500;

/// Pages that one worker closes at a time. Temporal hands it a hundred at once; each holds a connection to Postgres for half a second,
/// and those of one tenant wait for each other's numbers. Four keep both stores busy, and nobody waits for a lock until it gives up.
const PAGES_AT_ONCE: usize = 4;

/// Well within the steps' heartbeat timeout (workflows/).
const BEAT_EVERY: Duration = Duration::from_secs(3);

/// What steps work with.
#[derive(Clone)]
pub struct BillingActivities {
    pub records: Records,
    pub usage: UsageStore,
    pub sources: Sources,
    pub close_grace: Duration,
    pub clock_skew: Duration,
    pub metrics: Metrics,
    /// Who closes a page holds one of these: [`BillingActivities::turns`].
    pub turns: Arc<Semaphore>,
}

#[activities]
impl BillingActivities {
    /// The period exists and is over; says when it may be closed.
    #[activity(name = "check-period")]
    pub async fn check_period(
        self: Arc<Self>,
        ctx: ActivityContext,
        check: CheckPeriod,
    ) -> Result<ClosablePeriod, ActivityError> {
        self.counted("check-period", beating(&ctx, rating::check_period(&self, check))).await
    }

    /// Returns when everything that was acknowledged before an instant is stored, and with which cutoff to read it.
    #[activity(name = "wait-for-pipeline")]
    pub async fn wait_for_pipeline(
        self: Arc<Self>,
        ctx: ActivityContext,
        gate: AwaitPipeline,
    ) -> Result<PipelinePassed, ActivityError> {
        self.counted("wait-for-pipeline", pipeline::wait(&self, &ctx, gate)).await
    }

    /// Writes what each meter of the subscription's plan counted in the period.
    #[activity(name = "aggregate-usage")]
    pub async fn aggregate_usage(
        self: Arc<Self>,
        ctx: ActivityContext,
        period: PeriodAsOf,
    ) -> Result<AggregatedUsage, ActivityError> {
        self.counted("aggregate-usage", beating(&ctx, rating::aggregate_usage(&self, period))).await
    }

    /// Prices the period and saves the draft, or returns the invoice that is there.
    #[activity(name = "rate-period")]
    pub async fn rate_period(
        self: Arc<Self>,
        ctx: ActivityContext,
        period: PeriodAsOf,
    ) -> Result<ClosedPeriod, ActivityError> {
        self.counted("rate-period", beating(&ctx, rating::rate_period(&self, period))).await
    }

    /// Issues the invoice, or returns it as it was issued.
    #[activity(name = "issue-invoice")]
    pub async fn issue_invoice(
        self: Arc<Self>,
        ctx: ActivityContext,
        invoice: IssueInvoice,
    ) -> Result<ClosedPeriod, ActivityError> {
        self.counted("issue-invoice", beating(&ctx, rating::issue_invoice(&self, invoice))).await
    }

    /// Bills many due periods as of one cutoff, all of them together; says which of them have to go by themselves.
    #[activity(name = "close-periods")]
    pub async fn close_periods(
        self: Arc<Self>,
        ctx: ActivityContext,
        periods: PeriodsAsOf,
    ) -> Result<ClosedPeriods, ActivityError> {
        let attempt = ctx.info().attempt;
        self.counted("close-periods", beating(&ctx, close_many::close(&self, periods, attempt))).await
    }

    /// Periods whose end and grace are over and that have no issued invoice, page by page.
    #[activity(name = "find-due-periods")]
    pub async fn find_due_periods(
        self: Arc<Self>,
        ctx: ActivityContext,
        find: FindDue,
    ) -> Result<DuePage, ActivityError> {
        self.counted("find-due-periods", beating(&ctx, find_due(&self, find))).await
    }

    /// Running periods of which a part may be billed, page by page.
    #[activity(name = "find-thresholds")]
    pub async fn find_thresholds(
        self: Arc<Self>,
        ctx: ActivityContext,
        find: FindDue,
    ) -> Result<DuePage, ActivityError> {
        self.counted("find-thresholds", beating(&ctx, thresholds::find(&self, find))).await
    }

    /// Bills what a first period is charged at its start, or the usage of a running period if it reached the next threshold; or says
    /// how far it is.
    #[activity(name = "bill-threshold")]
    pub async fn bill_threshold(
        self: Arc<Self>,
        ctx: ActivityContext,
        period: PeriodAsOf,
    ) -> Result<BilledThreshold, ActivityError> {
        self.counted("bill-threshold", beating(&ctx, thresholds::bill(&self, period))).await
    }

    /// Lets time do to a page of credit ledgers what is due: grants recur, end, roll over, and pay what was carried.
    #[activity(name = "advance-ledgers")]
    pub async fn advance_ledgers(
        self: Arc<Self>,
        ctx: ActivityContext,
        page: LedgerPage,
    ) -> Result<AdvancedPage, ActivityError> {
        self.counted("advance-ledgers", beating(&ctx, ledgers::page(&self, page))).await
    }

    /// Computes a page of invoices again.
    #[activity(name = "verify-invoices")]
    pub async fn verify_invoices(
        self: Arc<Self>,
        ctx: ActivityContext,
        page: VerifyPage,
    ) -> Result<VerifiedPage, ActivityError> {
        self.counted("verify-invoices", beating(&ctx, verify::page(&self, page))).await
    }
}

impl BillingActivities {
    /// Turns at closing pages, as many as a worker has.
    pub fn turns() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(PAGES_AT_ONCE))
    }

    fn rating(&self) -> Rating<'_> {
        Rating { records: &self.records, usage: &self.usage }
    }

    /// What `close-periods` does on its first attempt, without a workflow: for whoever measures it.
    pub async fn close_many(&self, periods: PeriodsAsOf) -> Result<ClosedPeriods, StepError> {
        close_many::close(self, periods, 1).await
    }

    /// Times a step and counts its failure.
    async fn counted<T>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, ActivityError> {
        let begun = std::time::Instant::now();
        let result = work.await;
        self.metrics.step_seconds.get_or_create(&StepLabel { step }).observe(begun.elapsed().as_secs_f64());
        result.map_err(|error| {
            let code = error.code();
            self.metrics.step_failures.get_or_create(&FailureLabel { step, code }).inc();
            tracing::warn!(step, code, %error, "a step failed");
            error.into_activity_error()
        })
    }
}

/// Shows every few seconds that the step is still worked on, so that a dead worker is noticed soon, and lets go when told to.
async fn beating<T>(
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let mut work = std::pin::pin!(work);
    let mut beat = tokio::time::interval(BEAT_EVERY);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = ctx.cancelled() => return Err(StepError::stopped()),
            _ = beat.tick() => {
                ctx.record_heartbeat(()).await.map_err(|error| StepError::Retry(error.into()))?;
            }
        }
    }
}

async fn find_due(with: &BillingActivities, find: FindDue) -> Result<DuePage, StepError> {
    let after = find.after.map(cursor);
    let due =
        with.records.due_periods(Timestamp::now(), with.close_grace, after.as_ref(), DUE_PAGE_MAX).await?;
    with.metrics.due_periods.inc_by(due.len() as u64);
    Ok(page_of(due, DUE_PAGE_MAX))
}

/// Where a sweep goes on. The customer is no part of the order that the cursor stands for.
fn cursor(after: DueCursor) -> DuePeriod {
    let DueCursor { tenant, subscription, period } = after;
    DuePeriod { tenant, subscription, customer: meridian_billing::ids::CustomerKey::tenant_itself(), period }
}

fn page_of(found: Vec<DuePeriod>, asked: u32) -> DuePage {
    let more = found.len() == asked as usize;
    let shown = |due: DuePeriod| {
        let DuePeriod { tenant, subscription, customer: _, period } = due;
        DueCursor { tenant, subscription, period }
    };
    DuePage { due: found.into_iter().map(shown).collect(), more }
}
