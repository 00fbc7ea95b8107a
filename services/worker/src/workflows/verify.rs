//! The nightly check: every invoice that was issued is computed again from its own input and compared byte for byte. Money that
//! does not recompute is a defect, of an engine or of a store, and is to be heard of the next morning, not in an audit.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ContinueAsNewOptions, WorkflowContext, WorkflowResult};

use super::{PAGES_MAX, step};
use crate::{
    activities::BillingActivities,
    wire::{VerifiedInvoices, VerifyInvoicesInput, VerifyPage},
};

#[workflow]
#[derive(Default)]
pub struct VerifyInvoices;

#[workflow_methods]
impl VerifyInvoices {
    #[run(name = "VerifyInvoices")]
    pub async fn run(
        ctx: &mut WorkflowContext<Self>,
        input: VerifyInvoicesInput,
    ) -> WorkflowResult<VerifiedInvoices> {
        let VerifyInvoicesInput { mut after, so_far: mut report } = input;
        for _ in 0..PAGES_MAX {
            let page = VerifyPage { after };
            let verified = ctx.execute_activity(BillingActivities::verify_invoices, page, step()).await?;
            report.add(verified.report);
            after = verified.last;
            if !verified.more || after.is_none() {
                return Ok(report);
            }
        }
        let next = VerifyInvoicesInput { after, so_far: report };
        match ctx.continue_as_new(next, ContinueAsNewOptions::default())? {}
    }
}
