//! The sweep: finds the periods that are due and starts one `CloseBillingPeriod` for each.
//!
//! It waits for each to be started and for none to be finished: a period whose pipeline is late must not hold up the others.
//! A period that somebody is closing already is left to them. What a sweep misses, the next one finds.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ChildWorkflowOptions, ChildWorkflowStartError, ContinueAsNewOptions, ParentClosePolicy,
    StartChildWorkflowExecutionFailedCause, WorkflowContext, WorkflowIdReusePolicy, WorkflowResult,
};
use temporalio_workflow::join_all;

use super::{CloseBillingPeriod, PAGES_MAX, step};
use crate::{
    activities::BillingActivities,
    wire::{ClosePeriod, Cycle, CycleReport, DueCursor, FindDue},
};

#[workflow]
#[derive(Default)]
pub struct BillingCycle;

#[workflow_methods]
impl BillingCycle {
    #[run(name = "BillingCycle")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: Cycle) -> WorkflowResult<CycleReport> {
        let Cycle { mut after, so_far: mut report } = input;
        for _ in 0..PAGES_MAX {
            let page =
                ctx.execute_activity(BillingActivities::find_due_periods, FindDue { after }, step()).await?;
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
    due: &[DueCursor],
    report: &mut CycleReport,
) -> WorkflowResult<()> {
    let starts = due.iter().map(|due| {
        let close = ClosePeriod {
            tenant: due.tenant.clone(),
            subscription: due.subscription.clone(),
            period_start_us: due.period.start.as_microsecond(),
            issue: true,
            on_demand: false,
        };
        let options = ChildWorkflowOptions::builder()
            .workflow_id(close.workflow_id())
            // A period stays due until its invoice is issued, so one whose run failed or left a draft is closed anew.
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .parent_close_policy(ParentClosePolicy::Abandon)
            .build();
        ctx.start_child_workflow(CloseBillingPeriod::run, close, options)
    });
    for started in join_all(starts).await {
        match started {
            Ok(_) => report.started += 1,
            Err(ChildWorkflowStartError::StartFailed {
                cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
                ..
            }) => report.under_way += 1,
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}
