//! What becomes of an issued invoice: paid, void, issued again.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use meridian_billing::period::Period;
use meridian_records::{InvoiceChange, InvoiceStep};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    billing_runs::{self, StartedRun},
    invoices::{self, Invoice},
    shown,
};
use crate::{app::App, auth::Caller, extract::Body, idempotency::Seed, problem::Problem};

/// Bytes of what somebody writes about a change.
pub(super) const REASON_BYTES_MAX: usize = 1024;
const REFERENCE_BYTES_MAX: usize = 256;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": 2, "reference": "transfer 2026-08-03/17"}))]
pub(crate) struct PayInvoice {
    /// The version that you decided on: a request on an older one is refused. The default is whatever it is now.
    #[serde(default)]
    version: Option<u64>,
    /// What the payment is called where it was made.
    #[serde(default)]
    reference: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"version": 2, "reason": "the plan was wrong"}))]
pub(crate) struct ReasonedChange {
    /// The version that you decided on: a request on an older one is refused. The default is whatever it is now.
    #[serde(default)]
    version: Option<u64>,
    /// Why, for whoever asks later.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
}

/// Notes that an issued invoice was paid. It stays as it is from then on; what was too much goes back by a credit note.
#[utoipa::path(post, path = "/v1/invoices/{invoice_id}/pay", tag = "Invoices", operation_id = "payInvoice",
    params(("invoice_id" = String, Path, description = "inv_…")), request_body = PayInvoice,
    responses((status = 200, body = Invoice)))]
pub(crate) async fn pay(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
    Seed(seed): Seed,
    Body(body): Body<PayInvoice>,
) -> Result<Json<Invoice>, Problem> {
    let id = invoices::invoice_id_of(&invoice_id)?;
    let PayInvoice { version, reference } = body;
    if let Some(reference) = &reference {
        check_written("reference", reference, REFERENCE_BYTES_MAX)?;
    }
    let step = InvoiceStep::Pay { reference };
    let change = InvoiceChange { step, seen_version: version, at: Timestamp::now(), seed };
    let by = caller.by("POST /v1/invoices/{invoice_id}/pay");
    Ok(Json(invoices::show(caller.records(&app).change_invoice(&id, &change, &by).await?)))
}

/// Takes an issued invoice back that is neither paid nor credited in part. It keeps its number, and nobody owes it any more.
#[utoipa::path(post, path = "/v1/invoices/{invoice_id}/void", tag = "Invoices", operation_id = "voidInvoice",
    params(("invoice_id" = String, Path, description = "inv_…")), request_body = ReasonedChange,
    responses((status = 200, body = Invoice)))]
pub(crate) async fn void(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
    Seed(seed): Seed,
    Body(body): Body<ReasonedChange>,
) -> Result<Json<Invoice>, Problem> {
    let id = invoices::invoice_id_of(&invoice_id)?;
    let ReasonedChange { version, reason } = body;
    check_written("reason", &reason, REASON_BYTES_MAX)?;
    let step = InvoiceStep::Void { reason };
    let change = InvoiceChange { step, seen_version: version, at: Timestamp::now(), seed };
    let by = caller.by("POST /v1/invoices/{invoice_id}/void");
    Ok(Json(invoices::show(caller.records(&app).change_invoice(&id, &change, &by).await?)))
}

/// Bills the period of a void invoice again: waits until its usage is processed, rates it, and issues a new invoice of the next
/// revision, with a number of its own. Asked again before that invoice is there, it starts or joins the same run.
#[utoipa::path(post, path = "/v1/invoices/{invoice_id}/reissue", tag = "Invoices", operation_id = "reissueInvoice",
    params(("invoice_id" = String, Path, description = "inv_…")), request_body = ReasonedChange,
    responses((status = 202, body = StartedRun)))]
pub(crate) async fn reissue(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
    Seed(seed): Seed,
    Body(body): Body<ReasonedChange>,
) -> Result<(StatusCode, Json<StartedRun>), Problem> {
    let void = invoices::find(&app, &caller, &invoice_id).await?;
    let ReasonedChange { version, reason } = body;
    check_written("reason", &reason, REASON_BYTES_MAX)?;
    if !waits_for_its_run(&app, &caller, &void).await? {
        let step = InvoiceStep::Reissue { reason };
        let change = InvoiceChange { step, seen_version: version, at: Timestamp::now(), seed };
        let by = caller.by("POST /v1/invoices/{invoice_id}/reissue");
        caller.records(&app).change_invoice(&void.id, &change, &by).await?;
    }
    let period = Period { start: void.period_start, end: void.period_end };
    billing_runs::start(&app, &caller, void.subscription, period, true).await
}

/// It was issued again and its replacement is not there: the workflow engine may have been away when it was asked, or the run
/// may have failed. Then asking again is how it goes on.
async fn waits_for_its_run(
    app: &App,
    caller: &Caller,
    void: &meridian_records::Invoice,
) -> Result<bool, Problem> {
    if !void.reissued {
        return Ok(false);
    }
    let newest = caller.records(app).invoice_of_period(&void.subscription, void.period_start).await?;
    Ok(newest.is_some_and(|newest| newest.id == void.id))
}

/// Text that is there, is not too long, and is fit for a document.
pub(super) fn check_written(field: &str, text: &str, bytes_max: usize) -> Result<(), Problem> {
    if text.trim().is_empty() {
        return Err(Problem::invalid(field, "must not be empty"));
    }
    shown::check_text(field, text, bytes_max)
}
