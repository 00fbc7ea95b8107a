//! The totals of one period as they stand now, for people and reports. The period need not be over.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

use super::{now_us, step, waiting_step};
use crate::{
    activities::BillingActivities,
    wire::{AggregateUsage, AggregatedUsage, AwaitPipeline, PeriodAsOf},
};

#[workflow]
#[derive(Default)]
pub struct AggregateUsageWorkflow;

#[workflow_methods]
impl AggregateUsageWorkflow {
    #[run(name = "AGGREGATE_USAGE")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: AggregateUsage,
    ) -> WorkflowResult<AggregatedUsage> {
        let gate = AwaitPipeline { acknowledged_before_us: now_us(ctx)? };
        let passed = ctx.execute_activity(BillingActivities::wait_for_pipeline, gate, waiting_step()).await?;
        let AggregateUsage { tenant, subscription, period_start_us } = input;
        let stored_before_us = passed.stored_before_us;
        let period = PeriodAsOf { tenant, subscription, period_start_us, stored_before_us };
        Ok(ctx.execute_activity(BillingActivities::aggregate_usage, period, step()).await?)
    }
}
