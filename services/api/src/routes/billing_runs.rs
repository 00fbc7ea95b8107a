//! How the closing of a period goes.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{shown, subscriptions::run_problem};
use crate::{app::App, auth::Caller, billing_runs::RunId, problem::Problem};

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
    /// The period's invoice, once there is one.
    invoice_id: Option<String>,
    /// `draft` or `issued`
    invoice_status: Option<String>,
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
    let invoice = records.invoice_of_period(&id.subscription, id.period_start, 0).await?;
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
