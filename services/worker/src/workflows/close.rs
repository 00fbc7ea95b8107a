//! Closing one period of one subscription: is it over → is everything stored → totals → rate → issue.
//!
//! Each step may run again, and the whole may run twice at once: the cutoff that the gate gave is in the history, so rating
//! again gives the same invoice, and the database keeps one for a period.

use std::time::Duration;

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{TimerResult, WorkflowContext, WorkflowResult, WorkflowTermination};

use super::{now_us, step, waiting_step};
use crate::{
    activities::BillingActivities,
    wire::{AwaitPipeline, CheckPeriod, ClosePeriod, ClosedPeriod, IssueInvoice, PeriodAsOf},
};

#[workflow]
#[derive(Default)]
pub struct CloseBillingPeriod;

#[workflow_methods]
impl CloseBillingPeriod {
    #[run(name = "CloseBillingPeriod")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, close: ClosePeriod) -> WorkflowResult<ClosedPeriod> {
        close_period(ctx, close).await
    }
}

/// `CloseBillingPeriod` by the name that ruling C9 keeps.
#[workflow]
#[derive(Default)]
pub struct GenerateInvoice;

#[workflow_methods]
impl GenerateInvoice {
    #[run(name = "GENERATE_INVOICE")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, close: ClosePeriod) -> WorkflowResult<ClosedPeriod> {
        close_period(ctx, close).await
    }
}

async fn close_period<W>(ctx: &mut WorkflowContext<W>, close: ClosePeriod) -> WorkflowResult<ClosedPeriod> {
    // Fixed at the start, whatever is retried later: what was acknowledged before somebody asked is on the invoice.
    let requested_at_us = now_us(ctx)?;
    let check = CheckPeriod { close: close.clone(), requested_at_us };
    let closable = ctx.execute_activity(BillingActivities::check_period, check, step()).await?;
    let wait_us = closable.closable_at_us.saturating_sub(requested_at_us).max(0).unsigned_abs();
    if wait_us > 0 && ctx.timer(Duration::from_micros(wait_us)).await == TimerResult::Cancelled {
        return Err(WorkflowTermination::cancelled());
    }

    let acknowledged_before_us = requested_at_us.max(closable.closable_at_us);
    let gate = AwaitPipeline { acknowledged_before_us };
    let passed = ctx.execute_activity(BillingActivities::wait_for_pipeline, gate, waiting_step()).await?;

    let ClosePeriod { tenant, subscription, period_start_us, issue, on_demand: _ } = close;
    let stored_before_us = passed.stored_before_us;
    let period = PeriodAsOf { tenant: tenant.clone(), subscription, period_start_us, stored_before_us };
    ctx.execute_activity(BillingActivities::aggregate_usage, period.clone(), step()).await?;
    let rated = ctx.execute_activity(BillingActivities::rate_period, period, step()).await?;
    if !issue {
        return Ok(rated);
    }
    let invoice = IssueInvoice { tenant, invoice: rated.invoice };
    Ok(ctx.execute_activity(BillingActivities::issue_invoice, invoice, step()).await?)
}
