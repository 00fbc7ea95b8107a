//! The sweep: finds the periods that are due and starts one `CloseBillingPeriod` for each.
//!
//! It waits for each to be started and for none to be finished: a period whose pipeline is late must not hold up the others.
//! A period that somebody is closing already is left to them. What a sweep misses, the next one finds.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ContinueAsNewOptions, WorkflowContext, WorkflowResult};
use temporalio_workflow::join_all;

use super::{CloseBillingPeriod, PAGES_MAX, count_started, on_its_own, step};
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
        // A period stays due until its invoice is issued, so one whose run failed or left a draft is closed anew.
        let options = on_its_own(close.workflow_id());
        ctx.start_child_workflow(CloseBillingPeriod::run, close, options)
    });
    count_started(join_all(starts).await, report)
}
