//! The closing of a period: how every route starts it, and how it goes.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use meridian_billing::{ids::SubscriptionId, period::Period};
use serde::Serialize;
use utoipa::ToSchema;

use super::{shown, subscriptions::PeriodBounds};
use crate::{
    app::App,
    auth::Caller,
    billing_runs::{RunError, RunId},
    problem::{Problem, chain},
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StartedRun {
    /// The same for every request to close this period. In a path its slashes are written %2F.
    #[schema(example = "close/acme/sub_01k2h8v9x0e6t8w4y2z0a1b2c3/1782864000000000")]
    workflow_id: String,
    /// Where to see how it goes.
    #[schema(example = "/v1/billing-runs/close%2Facme%2Fsub_01k2h8v9x0e6t8w4y2z0a1b2c3%2F1782864000000000")]
    billing_run: String,
    period: PeriodBounds,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BillingRun {
    workflow_id: String,
    subscription_id: String,
    #[schema(example = "2026-07-01T00:00:00Z")]
    period_start: String,
    /// `running`, `completed`, `failed`, `canceled`, `terminated`, `timed_out`, `paused` or `unknown`.
    status: String,
    started_at: Option<String>,
    closed_at: Option<String>,
    /// Why it failed.
    failure: Option<String>,
    /// The period's newest invoice, once there is one.
    invoice_id: Option<String>,
    /// `draft`, `issued`, `paid` or `void`
    invoice_status: Option<String>,
}

/// Starts the run of a period that is over, or joins the one that is under way.
pub(super) async fn start(
    app: &App,
    caller: &Caller,
    subscription: SubscriptionId,
    period: Period,
    issue: bool,
) -> Result<(StatusCode, Json<StartedRun>), Problem> {
    let run = RunId { tenant: caller.scope.tenant().clone(), subscription, period_start: period.start };
    app.parts.billing_runs.start(&run, issue).await.map_err(run_problem)?;
    let started = StartedRun {
        workflow_id: run.to_string(),
        billing_run: format!("/v1/billing-runs/{}", run.to_string().replace('/', "%2F")),
        period: PeriodBounds { start: shown::instant(period.start), end: shown::instant(period.end) },
    };
    Ok((StatusCode::ACCEPTED, Json(started)))
}

/// One billing run of this tenant. The slashes of its id are written %2F.
#[utoipa::path(get, path = "/v1/billing-runs/{workflow_id}", tag = "Billing", operation_id = "getBillingRun",
    params(("workflow_id" = String, Path, description = "close%2F…")), responses((status = 200, body = BillingRun)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(workflow_id): Path<String>,
) -> Result<Json<BillingRun>, Problem> {
    let not_found = || Problem::not_found("billing run");
    // The id says whose it is, and is only believed when it says the caller's own.
    let id =
        RunId::parse(&workflow_id).filter(|id| id.tenant == *caller.scope.tenant()).ok_or_else(not_found)?;
    let records = caller.records(&app);
    records.subscription(&id.subscription).await?.ok_or_else(not_found)?;
    let run = app.parts.billing_runs.find(&id).await.map_err(run_problem)?;
    let invoice = records.invoice_of_period(&id.subscription, id.period_start).await?;
    Ok(Json(BillingRun {
        workflow_id,
        subscription_id: id.subscription.to_string(),
        period_start: shown::instant(id.period_start),
        status: run.status.to_owned(),
        started_at: run.started_at.map(shown::instant),
        closed_at: run.closed_at.map(shown::instant),
        failure: run.failure,
        invoice_id: invoice.as_ref().map(|invoice| invoice.id.to_string()),
        invoice_status: invoice.map(|invoice| invoice.state.as_str().to_owned()),
    }))
}

fn run_problem(error: RunError) -> Problem {
    match error {
        RunError::NotFound => Problem::not_found("billing run"),
        RunError::Away { .. } => {
            tracing::warn!(error = %chain(&error), "Temporal did not answer");
            Problem::unavailable("the workflow engine")
        }
        RunError::Address(_) => Problem::internal(&error),
    }
}
