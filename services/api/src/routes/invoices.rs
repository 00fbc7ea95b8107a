//! Invoices: list, get, issue, prove. What becomes of an issued one is in invoice_changes.rs and credit_notes.rs.

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use meridian_billing::{ids::InvoiceId, invoice::Computation};
use meridian_records::{Invoice as Record, InvoiceLine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{List, shown};
use crate::{
    app::App,
    auth::Caller,
    extract::{Paging, Parameters},
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Invoice {
    #[schema(example = "inv_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    pub id: String,
    /// Given when it is issued; a tenant's numbers have no gaps.
    #[schema(example = "INV-000001")]
    pub number: Option<String>,
    /// `draft`, `issued`, `paid` or `void`; `skipped` for one of nothing that nobody is sent; `preview` for what was only computed.
    pub status: String,
    /// Raised by one with each change. A request to change the invoice may say which one it saw; 0 for a preview.
    pub version: u64,
    /// 0 for the period's own invoice; those before its end, at the start or at a threshold, are counted from 1.
    pub part: i32,
    /// 0 for the first invoice of a period, one more for each that replaces a void one.
    pub revision: i32,
    /// It is void and its period is billed again, by the invoice of the next revision.
    pub reissued: bool,
    pub customer_id: String,
    /// The customer's key; empty is the tenant itself.
    pub customer: String,
    pub subscription_id: String,
    pub plan: String,
    pub plan_version: i32,
    #[schema(example = "2026-07-01T00:00:00Z")]
    pub period_start: String,
    /// Exclusive.
    #[schema(example = "2026-08-01T00:00:00Z")]
    pub period_end: String,
    #[schema(example = "USD")]
    pub currency: String,
    #[schema(example = "120.00")]
    pub subtotal: String,
    /// What discounts and coupons take off, less what coupons have back of what is given back: it may be negative.
    #[schema(example = "0.00")]
    pub discounts: String,
    /// What credits pay and what is carried, less what goes back to them: it may be negative.
    #[schema(example = "0.00")]
    pub credits: String,
    /// The taxes that are added. The total is the subtotal less discounts and credits, and these.
    #[schema(example = "0.00")]
    pub tax: String,
    #[schema(example = "120.00")]
    pub total: String,
    pub lines: Vec<Line>,
    /// Only events stored before this instant are in it.
    pub stored_before: String,
    pub catalogue_version: i64,
    pub engine_version: u32,
    pub created_at: String,
    pub issued_at: Option<String>,
    pub paid_at: Option<String>,
    /// What the payment is called where it was made.
    pub payment_reference: Option<String>,
    pub voided_at: Option<String>,
    pub void_reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Line {
    #[schema(example = "line_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    pub id: String,
    /// Name of the plan's price; of the plan, for its minimum and maximum; of a coupon, a grant or a tax rate.
    #[schema(example = "calls")]
    pub price: String,
    /// `flat`; `usage`, whose events can be listed; `proration`, `minimum`, `maximum`, `commitment`, `overage`, `discount`,
    /// `credit` or `tax`.
    pub role: String,
    pub description: String,
    /// Name of the meter that counted, for usage.
    pub meter: Option<String>,
    pub meter_version: Option<i32>,
    #[schema(example = "12000")]
    pub quantity: String,
    /// Where one amount holds for each unit.
    pub unit_amount: Option<String>,
    #[schema(example = "20.00")]
    pub amount: String,
    pub period_start: String,
    pub period_end: String,
    /// How the amount came about, step by step, not rounded.
    #[schema(value_type = Vec<Object>)]
    pub trace: Value,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InvoiceFilter {
    /// Only those of this subscription, sub_…
    subscription_id: Option<String>,
}

/// All invoices with their lines, in the order of their making.
#[utoipa::path(get, path = "/v1/invoices", tag = "Invoices", operation_id = "listInvoices", params(InvoiceFilter, Paging),
    responses((status = 200, body = List<Invoice>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(filter): Parameters<InvoiceFilter>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Invoice>>, Problem> {
    let records = caller.records(&app);
    let subscription = filter.subscription_id.as_deref().map(shown::subscription_id).transpose()?;
    if let Some(id) = &subscription {
        let known = records.subscription(id).await?;
        known.ok_or_else(|| Problem::not_found("subscription").field("subscription_id"))?;
    }
    let listed = records.invoices(subscription.as_ref(), &paging.page()?).await?;
    Ok(List::of(listed, show))
}

/// One invoice with its lines.
#[utoipa::path(get, path = "/v1/invoices/{invoice_id}", tag = "Invoices", operation_id = "getInvoice",
    params(("invoice_id" = String, Path, description = "inv_…")), responses((status = 200, body = Invoice)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
) -> Result<Json<Invoice>, Problem> {
    Ok(Json(show(find(&app, &caller, &invoice_id).await?)))
}

/// Issues a draft: it gets its number, and what it says never changes again. An issued or paid invoice is answered as it is; a
/// void one is refused.
#[utoipa::path(post, path = "/v1/invoices/{invoice_id}/issue", tag = "Invoices", operation_id = "issueInvoice",
    params(("invoice_id" = String, Path, description = "inv_…")), responses((status = 200, body = Invoice)))]
pub(crate) async fn issue(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
) -> Result<Json<Invoice>, Problem> {
    let id = invoice_id_of(&invoice_id)?;
    let by = caller.by("POST /v1/invoices/{invoice_id}/issue");
    Ok(Json(show(caller.records(&app).issue_invoice(&id, Timestamp::now(), &by).await?)))
}

/// What computing an invoice again says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Recomputation {
    /// Whether every byte is the same.
    pub identical: bool,
    /// What differs, or why it could not be computed again.
    pub problem: Option<String>,
    pub engine_version: u32,
    /// The invoice's input and output as one text, as it is stored.
    pub computation: String,
}

/// Computes an invoice again from what it was computed from (terms, usage as of its cutoff, plan and engine version), and
/// compares byte for byte.
#[utoipa::path(post, path = "/v1/invoices/{invoice_id}/recompute", tag = "Invoices", operation_id = "recomputeInvoice",
    params(("invoice_id" = String, Path, description = "inv_…")), responses((status = 200, body = Recomputation)))]
pub(crate) async fn recompute(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
) -> Result<Json<Recomputation>, Problem> {
    let invoice = find(&app, &caller, &invoice_id).await?;
    let problem = Computation::verify(&invoice.computation).err().map(|error| error.to_string());
    Ok(Json(Recomputation {
        identical: problem.is_none(),
        problem,
        engine_version: invoice.engine_version,
        computation: invoice.computation,
    }))
}

pub(super) async fn find(app: &App, caller: &Caller, invoice_id: &str) -> Result<Record, Problem> {
    let id = invoice_id_of(invoice_id)?;
    caller.records(app).invoice(&id).await?.ok_or_else(|| Problem::not_found("invoice"))
}

pub(super) fn invoice_id_of(text: &str) -> Result<InvoiceId, Problem> {
    let text = shown::id("invoice", text)?;
    InvoiceId::new(text).map_err(|_| Problem::not_found("invoice"))
}

pub(super) fn show(invoice: Record) -> Invoice {
    let currency = invoice.currency;
    Invoice {
        id: invoice.id.into_string(),
        number: invoice.number,
        status: invoice.state.as_str().to_owned(),
        version: invoice.version,
        part: invoice.part,
        revision: invoice.revision,
        reissued: invoice.reissued,
        customer_id: invoice.customer_id,
        customer: invoice.customer.into_string(),
        subscription_id: invoice.subscription.into_string(),
        plan: invoice.plan.into_string(),
        plan_version: invoice.plan_version,
        period_start: shown::instant(invoice.period_start),
        period_end: shown::instant(invoice.period_end),
        currency: currency.code().to_owned(),
        subtotal: shown::amount(currency, invoice.subtotal),
        discounts: shown::amount(currency, invoice.discounts),
        credits: shown::amount(currency, invoice.credits),
        tax: shown::amount(currency, invoice.tax),
        total: shown::amount(currency, invoice.total),
        lines: invoice.lines.into_iter().map(|line| show_line(currency, line)).collect(),
        stored_before: shown::instant(invoice.stored_before),
        catalogue_version: invoice.catalogue_version,
        engine_version: invoice.engine_version,
        created_at: shown::instant(invoice.created_at),
        issued_at: invoice.issued_at.map(shown::instant),
        paid_at: invoice.paid_at.map(shown::instant),
        payment_reference: invoice.payment_reference,
        voided_at: invoice.voided_at.map(shown::instant),
        void_reason: invoice.void_reason,
    }
}

fn show_line(currency: meridian_billing::money::Currency, line: InvoiceLine) -> Line {
    let text = |field: &str| line.detail.get(field).and_then(Value::as_str).map(str::to_owned);
    Line {
        role: text("role").unwrap_or_default(),
        unit_amount: text("unit_amount"),
        trace: line.detail.get("trace").cloned().unwrap_or_else(|| Value::Array(Vec::new())),
        id: line.id,
        price: line.price.into_string(),
        description: line.description,
        meter_version: line.meter.as_ref().map(|meter| meter.version),
        meter: line.meter.map(|meter| meter.name.into_string()),
        quantity: shown::quantity(line.quantity),
        amount: shown::amount(currency, line.amount),
        period_start: shown::instant(line.period_start),
        period_end: shown::instant(line.period_end),
    }
}
