//! Workflow code: steps only. No IO, no clock but the context's, no pricing; clippy.toml lists what is denied here and why.
//!
//! Temporal replays this code against histories that are years old. A change of the order or kind of steps needs
//! `ctx.patched`; tests replay the saved histories of every version (`histories/`).

mod aggregate;
mod close;
mod close_many;
mod cycle;
mod ledgers;
mod thresholds;
mod verify;

use std::time::{Duration, UNIX_EPOCH};

use temporalio_common::RetryPolicy;
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, ChildWorkflowOptions, ChildWorkflowStartError, ParentClosePolicy,
    StartChildWorkflowExecutionFailedCause, WorkflowContext, WorkflowIdReusePolicy, WorkflowResult,
    WorkflowTermination,
};

use crate::wire::CycleReport;

pub use aggregate::AggregateUsageWorkflow;
pub use close::{CloseBillingPeriod, GenerateInvoice};
pub use close_many::CloseBillingPeriods;
pub use cycle::BillingCycle;
pub use ledgers::AdvanceLedgers;
pub use thresholds::{BillThreshold, BillThresholds};
pub use verify::VerifyInvoices;

/// Pages of one run of a sweep; a longer one continues as a new run, so that no history grows without bound.
const PAGES_MAX: usize = 10;

/// The instant of the workflow's current task.
fn now_us<W>(ctx: &WorkflowContext<W>) -> Result<i64, WorkflowTermination> {
    let since_1970 = ctx.workflow_time().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_1970
        .and_then(|duration| i64::try_from(duration.as_micros()).ok())
        .ok_or_else(|| ApplicationFailure::new("the server gave this workflow no time").into())
}

/// A child that goes on when the sweep that started it is over, and that may run again when it has ended.
fn on_its_own(workflow_id: String) -> ChildWorkflowOptions {
    ChildWorkflowOptions::builder()
        .workflow_id(workflow_id)
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .parent_close_policy(ParentClosePolicy::Abandon)
        .build()
}

/// A child that runs already is left to itself.
fn count_started<T>(
    started: Vec<Result<T, ChildWorkflowStartError>>,
    report: &mut CycleReport,
) -> WorkflowResult<()> {
    for started in started {
        if is_started(started)? {
            report.started += 1;
        } else {
            report.under_way += 1;
        }
    }
    Ok(())
}

/// False: one of that id is under way.
fn is_started<T>(started: Result<T, ChildWorkflowStartError>) -> WorkflowResult<bool> {
    match started {
        Ok(_) => Ok(true),
        Err(ChildWorkflowStartError::StartFailed {
            cause: StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists,
            ..
        }) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// A step that asks a store and answers at once. Stores come back, so it is tried until they do; what cannot come right by
/// itself is not retryable and says so (failure.rs).
fn step() -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(120))
        .heartbeat_timeout(Duration::from_secs(10))
        .retry_policy(patient())
        .build()
}

/// A step that waits, and shows by its heartbeat that it still does.
fn waiting_step() -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(600))
        .heartbeat_timeout(Duration::from_secs(15))
        .retry_policy(patient())
        .build()
}

fn patient() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_millis(500))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(30))
        .build()
}
