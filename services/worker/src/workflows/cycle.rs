//! The sweep: finds the periods that are due and starts one `CloseBillingPeriods` for each page of them.
//!
//! It waits for each to be started and for none to be finished: periods whose pipeline is late must not hold up the others.
//! A page that is being closed already is left to it. What a sweep misses, the next one finds.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ContinueAsNewOptions, WorkflowContext, WorkflowResult};
use temporalio_workflow::join_all;

use super::{
    CloseBillingPeriod, CloseBillingPeriods, PAGES_MAX, count_started, is_started, on_its_own, step,
};
use crate::{
    activities::BillingActivities,
    wire::{ClosePeriod, ClosePeriods, Cycle, CycleReport, DueCursor, FindDue},
};

/// Sweeps that began before it start each period by itself.
const MANY_AT_ONCE: &str = "close-many-periods-at-once";

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
            if ctx.patched(MANY_AT_ONCE) {
                start_page(ctx, &page.due, &mut report).await?;
            } else {
                start_each(ctx, &page.due, &mut report).await?;
            }
            after = page.due.last().cloned();
            if !page.more || after.is_none() {
                return Ok(report);
            }
        }
        match ctx.continue_as_new(Cycle { after, so_far: report }, ContinueAsNewOptions::default())? {}
    }
}

async fn start_page<W>(
    ctx: &WorkflowContext<W>,
    due: &[DueCursor],
    report: &mut CycleReport,
) -> WorkflowResult<()> {
    if due.is_empty() {
        return Ok(());
    }
    let close = ClosePeriods { due: due.to_vec() };
    // A period stays due until its invoice is issued, so a page of them is closed anew when its last run is over.
    let options = on_its_own(close.workflow_id());
    let started = ctx.start_child_workflow(CloseBillingPeriods::run, close, options).await;
    if is_started(started)? {
        report.started += due.len() as u64;
    } else {
        report.under_way += due.len() as u64;
    }
    Ok(())
}

/// Starts the closing of each by itself.
pub(super) async fn start_each<W>(
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
        // One whose run failed or left a draft is closed anew.
        let options = on_its_own(close.workflow_id());
        ctx.start_child_workflow(CloseBillingPeriod::run, close, options)
    });
    count_started(join_all(starts).await, report)
}
