//! Meters: which events count. Read only here; they are made as Kubernetes objects.

use axum::{Json, extract::State};
use meridian_records::MeterRow;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::List;
use crate::{
    app::App,
    auth::Caller,
    extract::{Paging, Parameters},
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Meter {
    #[schema(example = "mtr_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    #[schema(example = "api-calls")]
    name: String,
    version: i32,
    /// Shared by every tenant of the region, or this tenant's own.
    shared: bool,
    /// The `type` of the events that it counts.
    #[schema(example = "api.call")]
    event_type: String,
    #[schema(example = "Count")]
    aggregation: String,
    /// As in the Meter object.
    #[schema(value_type = Object)]
    spec: Value,
}

/// Meters that this tenant's usage is counted by.
#[utoipa::path(get, path = "/v1/meters", tag = "Catalogue", operation_id = "listMeters", params(Paging),
    responses((status = 200, body = List<Meter>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Meter>>, Problem> {
    let listed = caller.records(&app).meters(&paging.page()?).await?;
    Ok(List::of(listed, show))
}

fn show(meter: MeterRow) -> Meter {
    Meter {
        id: meter.id,
        name: meter.name.into_string(),
        version: meter.version,
        shared: meter.tenant.is_none(),
        event_type: meter.spec.event_type.clone(),
        aggregation: meter.spec.aggregation.as_str().to_owned(),
        spec: serde_json::to_value(&meter.spec).unwrap_or_default(),
    }
}
