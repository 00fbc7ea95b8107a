//! What is billed of a period before it ends: usage that reached a threshold of its subscription, and where a subscription begins with
//! an invoice, what is charged in advance. A sweep looks at the running periods of such subscriptions, and each is billed by a
//! workflow of its own, once at a time.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ContinueAsNewOptions, WorkflowContext, WorkflowResult};
use temporalio_workflow::join_all;

use super::{PAGES_MAX, count_started, now_us, on_its_own, step, waiting_step};
use crate::{
    activities::BillingActivities,
    wire::{
        AwaitPipeline, BillThresholdInput, BilledThreshold, Cycle, CycleReport, DueCursor, FindDue,
        PeriodAsOf,
    },
};

#[workflow]
#[derive(Default)]
pub struct BillThresholds;

#[workflow_methods]
impl BillThresholds {
    #[run(name = "BillThresholds")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: Cycle) -> WorkflowResult<CycleReport> {
        let Cycle { mut after, so_far: mut report } = input;
        for _ in 0..PAGES_MAX {
            let find = FindDue { after };
            let page = ctx.execute_activity(BillingActivities::find_thresholds, find, step()).await?;
            start_all(ctx, &page.due, &mut report).await?;
            after = page.due.last().cloned();
            if !page.more || after.is_none() {
                return Ok(report);
            }
        }
        match ctx.continue_as_new(Cycle { after, so_far: report }, ContinueAsNewOptions::default())? {}
    }
}

async fn start_all<W>(
    ctx: &WorkflowContext<W>,
    running: &[DueCursor],
    report: &mut CycleReport,
) -> WorkflowResult<()> {
    let starts = running.iter().map(|running| {
        let input = BillThresholdInput {
            tenant: running.tenant.clone(),
            subscription: running.subscription.clone(),
            period_start_us: running.period.start.as_microsecond(),
        };
        let options = on_its_own(input.workflow_id());
        ctx.start_child_workflow(BillThreshold::run, input, options)
    });
    count_started(join_all(starts).await, report)
}

/// One running period: the invoice at its start, or else what was used up to now, once it is all stored, is held against the next
/// threshold.
#[workflow]
#[derive(Default)]
pub struct BillThreshold;

#[workflow_methods]
impl BillThreshold {
    #[run(name = "BillThreshold")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: BillThresholdInput,
    ) -> WorkflowResult<BilledThreshold> {
        let gate = AwaitPipeline { acknowledged_before_us: now_us(ctx)? };
        let passed = ctx.execute_activity(BillingActivities::wait_for_pipeline, gate, waiting_step()).await?;
        let BillThresholdInput { tenant, subscription, period_start_us } = input;
        let stored_before_us = passed.stored_before_us;
        let period = PeriodAsOf { tenant, subscription, period_start_us, stored_before_us };
        Ok(ctx.execute_activity(BillingActivities::bill_threshold, period, step()).await?)
    }
}
