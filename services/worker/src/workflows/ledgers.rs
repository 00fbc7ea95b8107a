//! Every night credit ledgers are brought up to date, so that what ended or recurred shows in them on its day, used or not.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ContinueAsNewOptions, WorkflowContext, WorkflowResult};

use super::{PAGES_MAX, step};
use crate::{
    activities::BillingActivities,
    wire::{AdvanceLedgersInput, AdvancedLedgers, LedgerPage},
};

#[workflow]
#[derive(Default)]
pub struct AdvanceLedgers;

#[workflow_methods]
impl AdvanceLedgers {
    #[run(name = "AdvanceLedgers")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: AdvanceLedgersInput,
    ) -> WorkflowResult<AdvancedLedgers> {
        let AdvanceLedgersInput { mut after, so_far: mut report } = input;
        for _ in 0..PAGES_MAX {
            let page = LedgerPage { after };
            let advanced = ctx.execute_activity(BillingActivities::advance_ledgers, page, step()).await?;
            report.add(advanced.report);
            after = advanced.next;
            if after.is_none() {
                return Ok(report);
            }
        }
        let next = AdvanceLedgersInput { after, so_far: report };
        match ctx.continue_as_new(next, ContinueAsNewOptions::default())? {}
    }
}
