//! Credits that customers are given. What became of them is ledgers.rs.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use meridian_billing::ledger::GrantSpec;
use meridian_records::Grant as Record;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{List, shown};
use crate::{
    app::App,
    auth::Caller,
    extract::{Body, Paging, Parameters},
    idempotency::Seed,
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Grant {
    #[schema(example = "grant_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    customer_id: String,
    #[schema(example = "welcome")]
    name: String,
    #[schema(example = "USD")]
    currency: String,
    /// The zone in which it recurs: the customer's when it was given.
    time_zone: String,
    /// As it was written. It never changes.
    #[schema(value_type = Object)]
    spec: GrantSpec,
    created_at: String,
}

/// A grant as in a Subscription document of `meridian simulate`: `name`, `amount`, `currency`, `effectiveAt`; and, where they matter,
/// `priority`, `expiresAt`, `expiresAfter`, `every`, `rollover` and `prices`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(example = json!({"name": "welcome", "amount": "50", "currency": "USD", "effectiveAt": "2026-07-01T00:00:00Z"}))]
pub(crate) struct CreateGrant(Map<String, Value>);

/// The grants of a customer, in the order of their making.
#[utoipa::path(get, path = "/v1/customers/{customer_id}/grants", tag = "Credits", operation_id = "listGrants",
    params(("customer_id" = String, Path, description = "cus_…"), Paging), responses((status = 200, body = List<Grant>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(customer_id): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Grant>>, Problem> {
    let records = caller.records(&app);
    let id = shown::id("customer", &customer_id)?;
    records.customer(id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let listed = records.grants(id, &paging.page()?).await?;
    Ok(List::of(listed, show))
}

/// Gives a customer credits, once or again and again. Invoices that are issued from now on spend them. A grant cannot be changed.
#[utoipa::path(post, path = "/v1/customers/{customer_id}/grants", tag = "Credits", operation_id = "createGrant",
    params(("customer_id" = String, Path, description = "cus_…")), request_body = CreateGrant,
    responses((status = 201, body = Grant)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(customer_id): Path<String>,
    Seed(seed): Seed,
    Body(CreateGrant(body)): Body<CreateGrant>,
) -> Result<(StatusCode, Json<Grant>), Problem> {
    let id = shown::id("customer", &customer_id)?;
    let spec = GrantSpec::from_json(&Value::Object(body))?;
    let by = caller.by("POST /v1/customers/{customer_id}/grants");
    let grant = caller.records(&app).create_grant(id, &spec, Timestamp::now(), seed, &by).await?;
    Ok((StatusCode::CREATED, Json(show(grant))))
}

fn show(grant: Record) -> Grant {
    let Record { id, customer_id, currency, time_zone, spec, created_at } = grant;
    Grant {
        id,
        customer_id,
        name: spec.name.to_string(),
        currency: currency.code().to_owned(),
        time_zone,
        spec,
        created_at: shown::instant(created_at),
    }
}
