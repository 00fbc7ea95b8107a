//! Events that were accepted and could not be processed, each with its reason. Nothing is dropped in silence.

use axum::{Json, extract::State};
use meridian_usage_store::QuarantinedEvent as Record;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{List, shown};
use crate::{
    app::App,
    auth::Caller,
    extract::{Paging, Parameters},
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantinedEvent {
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    /// The meter that could not count it; empty when no meter counts its type.
    meter: String,
    #[schema(example = "unknown_meter")]
    reason: String,
    detail: String,
    stored_at: String,
    /// The event as it was kept: JSON where it is, else its text.
    #[schema(value_type = Object)]
    event: Value,
}

/// What is still in quarantine, oldest first. What was processed later is no longer in it.
#[utoipa::path(get, path = "/v1/quarantine", tag = "Usage", operation_id = "listQuarantine", params(Paging),
    responses((status = 200, body = List<QuarantinedEvent>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<QuarantinedEvent>>, Problem> {
    let cursor = paging.cursor()?;
    let page = app.usage().quarantine(&caller.usage_scope(), cursor.as_ref(), paging.limit()?).await?;
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(Json(List { data: page.events.into_iter().map(show).collect(), next_cursor }))
}

fn show(event: Record) -> QuarantinedEvent {
    let text = || Value::String(String::from_utf8_lossy(&event.payload).into_owned());
    QuarantinedEvent {
        event: serde_json::from_slice(&event.payload).unwrap_or_else(|_| text()),
        id: event.id,
        source: event.source,
        event_type: event.event_type,
        meter: event.meter,
        reason: event.reason,
        detail: event.detail,
        stored_at: shown::instant_us(event.stored_at_us),
    }
}
