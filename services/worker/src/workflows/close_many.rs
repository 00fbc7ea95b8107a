//! Closing many due periods at once: is everything stored → terms, usage, totals, invoices, numbers, all of them together.
//!
//! The wait is the same for all, for it is the pipeline's. A period that cannot be billed among the others is started as a
//! `CloseBillingPeriod` of its own, whose failure says why; it holds up nobody. A period that somebody else is closing meanwhile ends
//! with the same one invoice.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

use super::{cycle::start_each, now_us, step, waiting_step};
use crate::{
    activities::BillingActivities,
    wire::{AwaitPipeline, ClosePeriods, ClosePeriodsReport, CycleReport, PeriodsAsOf},
};

#[workflow]
#[derive(Default)]
pub struct CloseBillingPeriods;

#[workflow_methods]
impl CloseBillingPeriods {
    #[run(name = "CloseBillingPeriods")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: ClosePeriods,
    ) -> WorkflowResult<ClosePeriodsReport> {
        // The sweep found them due, their grace included, so what was acknowledged until now is all that may be on them.
        let gate = AwaitPipeline { acknowledged_before_us: now_us(ctx)? };
        let passed = ctx.execute_activity(BillingActivities::wait_for_pipeline, gate, waiting_step()).await?;
        let periods = PeriodsAsOf { due: input.due, stored_before_us: passed.stored_before_us };
        let closed = ctx.execute_activity(BillingActivities::close_periods, periods, step()).await?;
        let mut left = CycleReport::default();
        start_each(ctx, &closed.left, &mut left).await?;
        Ok(ClosePeriodsReport { closed: closed.closed, left })
    }
}
