//! The way back from money to what was sent: the events behind a line of an invoice.

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use meridian_billing::invoice::Computation;
use meridian_records::{Invoice, InvoiceLine};
use meridian_usage_store::{LineEvent as Record, LineQuery};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{List, invoices, shown};
use crate::{
    app::App,
    auth::Caller,
    extract::{Paging, Parameters},
    problem::Problem,
};

/// An event as the line's meter counted it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineEvent {
    id: String,
    source: String,
    project: String,
    #[schema(example = "2026-07-14T09:26:53.589793Z")]
    time: String,
    received_at: String,
    /// When it was processed; before the invoice's cutoff.
    stored_at: String,
    /// What it added to, or was compared by.
    #[schema(example = "1")]
    quantity: String,
    /// The value that a UniqueCount meter counts once.
    unique_value: Option<String>,
    #[schema(value_type = Object)]
    group: Value,
    /// As they were sent.
    #[schema(value_type = Object)]
    properties: Value,
}

/// The events that a line charges for, in the order of their time. A flat line has none.
#[utoipa::path(get, path = "/v1/invoices/{invoice_id}/lines/{line_id}/events", tag = "Invoices", operation_id = "listLineEvents",
    params(("invoice_id" = String, Path, description = "inv_…"), ("line_id" = String, Path, description = "line_…"), Paging),
    responses((status = 200, body = List<LineEvent>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path((invoice_id, line_id)): Path<(String, String)>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<LineEvent>>, Problem> {
    let invoice = invoices::find(&app, &caller, &invoice_id).await?;
    let line =
        invoice.lines.iter().find(|line| line.id == line_id).ok_or_else(|| Problem::not_found("line"))?;
    let Some(meter) = &line.meter else { return Ok(Json(List { data: Vec::new(), next_cursor: None })) };
    let query = LineQuery {
        meter: meter.name.to_string(),
        customer: invoice.customer.to_string(),
        start_us: line.period_start.as_microsecond(),
        end_us: line.period_end.as_microsecond(),
        stored_from_us: charged_before(&invoice, line)?.map(Timestamp::as_microsecond),
        stored_before_us: Some(invoice.stored_before.as_microsecond()),
    };
    let page =
        app.usage().line_events(&caller.usage_scope(), &query, paging.cursor()?, paging.limit()?).await?;
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(Json(List { data: page.events.into_iter().map(show).collect(), next_cursor }))
}

/// For a line of late usage until when its period's events were charged by earlier invoices.
fn charged_before(invoice: &Invoice, line: &InvoiceLine) -> Result<Option<Timestamp>, Problem> {
    if line.period_start >= invoice.period_start {
        return Ok(None);
    }
    let computation: Computation =
        serde_json::from_str(&invoice.computation).map_err(|error| Problem::internal(&error))?;
    let late = computation.input.late.iter().find(|late| late.period.contains(line.period_start));
    Ok(late.map(|late| late.stored_from))
}

fn show(event: Record) -> LineEvent {
    LineEvent {
        id: event.id,
        source: event.source,
        project: event.project,
        time: shown::instant_us(event.time_us),
        received_at: shown::instant_us(event.received_at_us),
        stored_at: shown::instant_us(event.stored_at_us),
        quantity: event.quantity.to_string(),
        unique_value: event.unique_value,
        group: json_or_empty(&event.group_values),
        properties: json_or_empty(&event.properties),
    }
}

/// A stored JSON object; "" is an empty one.
fn json_or_empty(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::Object(serde_json::Map::new()))
}
