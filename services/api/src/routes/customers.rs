//! A tenant's customers.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use meridian_billing::ids::CustomerKey;
use meridian_records::{Customer as Record, CustomerChange, NewCustomer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    List,
    shown::{self, check_metadata, check_text, check_time_zone},
};
use crate::{
    app::App,
    auth::Caller,
    extract::{Body, Paging, Parameters},
    idempotency::Seed,
    problem::Problem,
};

const NAME_BYTES_MAX: usize = 256;

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Customer {
    #[schema(example = "cus_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    /// What your events call it. Empty: the tenant itself.
    #[schema(example = "globex")]
    key: String,
    name: String,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    #[schema(value_type = Object)]
    metadata: Value,
    /// `api`, or `kubernetes` for what the operator keeps and this API leaves alone.
    managed_by: String,
    created_at: String,
    updated_at: String,
    archived_at: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"key": "globex", "name": "Globex Corporation", "time_zone": "Europe/Berlin"}))]
pub(crate) struct CreateCustomer {
    /// What your events will call it; it cannot be changed.
    #[schema(min_length = 1, max_length = 256)]
    key: String,
    #[serde(default)]
    #[schema(max_length = 256)]
    name: String,
    /// IANA name; the default is UTC. Periods of new subscriptions begin and end at local midnight there.
    #[serde(default)]
    time_zone: Option<String>,
    /// Anything you want to find again.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Option<Value>,
}

/// What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Globex Inc."}))]
pub(crate) struct UpdateCustomer {
    #[serde(default)]
    name: Option<String>,
    /// Holds for new subscriptions.
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Option<Value>,
}

/// All customers, archived ones included, in the order of their making.
#[utoipa::path(get, path = "/v1/customers", tag = "Customers", operation_id = "listCustomers", params(Paging),
    responses((status = 200, body = List<Customer>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Customer>>, Problem> {
    let listed = caller.records(&app).customers(&paging.page()?).await?;
    Ok(List::of(listed, show))
}

/// Adds a customer. Events may name it by its key from now on.
#[utoipa::path(post, path = "/v1/customers", tag = "Customers", operation_id = "createCustomer",
    request_body = CreateCustomer, responses((status = 201, body = Customer)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Seed(seed): Seed,
    Body(body): Body<CreateCustomer>,
) -> Result<(StatusCode, Json<Customer>), Problem> {
    let new = body.checked()?;
    let customer = caller.records(&app).create_customer(&new, seed, &caller.by("POST /v1/customers")).await?;
    Ok((StatusCode::CREATED, Json(show(customer))))
}

/// One customer.
#[utoipa::path(get, path = "/v1/customers/{customer_id}", tag = "Customers", operation_id = "getCustomer",
    params(("customer_id" = String, Path, description = "cus_…")), responses((status = 200, body = Customer)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(customer_id): Path<String>,
) -> Result<Json<Customer>, Problem> {
    let id = shown::id("customer", &customer_id)?;
    let customer = caller.records(&app).customer(id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    Ok(Json(show(customer)))
}

/// Changes a customer's name, zone or metadata.
#[utoipa::path(patch, path = "/v1/customers/{customer_id}", tag = "Customers", operation_id = "updateCustomer",
    params(("customer_id" = String, Path, description = "cus_…")), request_body = UpdateCustomer,
    responses((status = 200, body = Customer)))]
pub(crate) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(customer_id): Path<String>,
    Body(body): Body<UpdateCustomer>,
) -> Result<Json<Customer>, Problem> {
    let id = shown::id("customer", &customer_id)?;
    let change = body.checked()?;
    let by = caller.by("PATCH /v1/customers");
    Ok(Json(show(caller.records(&app).update_customer(id, &change, &by).await?)))
}

/// Archives a customer whose subscriptions are over. Its invoices stay; its new events are quarantined.
#[utoipa::path(delete, path = "/v1/customers/{customer_id}", tag = "Customers", operation_id = "archiveCustomer",
    params(("customer_id" = String, Path, description = "cus_…")), responses((status = 200, body = Customer)))]
pub(crate) async fn archive(
    State(app): State<App>,
    caller: Caller,
    Path(customer_id): Path<String>,
) -> Result<Json<Customer>, Problem> {
    let id = shown::id("customer", &customer_id)?;
    let by = caller.by("DELETE /v1/customers");
    Ok(Json(show(caller.records(&app).archive_customer(id, &by).await?)))
}

impl CreateCustomer {
    fn checked(self) -> Result<NewCustomer, Problem> {
        let key = CustomerKey::new(self.key).map_err(|error| Problem::invalid("key", error.to_string()))?;
        if key.is_tenant_itself() {
            return Err(Problem::invalid("key", "must not be empty: the empty key is the tenant itself"));
        }
        let time_zone = self.time_zone.unwrap_or_else(|| "UTC".to_owned());
        let metadata = self.metadata.unwrap_or_else(|| json!({}));
        check_text("name", &self.name, NAME_BYTES_MAX)?;
        check_time_zone("time_zone", &time_zone)?;
        check_metadata("metadata", &metadata)?;
        Ok(NewCustomer { key, name: self.name, time_zone, metadata })
    }
}

impl UpdateCustomer {
    fn checked(self) -> Result<CustomerChange, Problem> {
        if let Some(name) = &self.name {
            check_text("name", name, NAME_BYTES_MAX)?;
        }
        if let Some(time_zone) = &self.time_zone {
            check_time_zone("time_zone", time_zone)?;
        }
        if let Some(metadata) = &self.metadata {
            check_metadata("metadata", metadata)?;
        }
        Ok(CustomerChange { name: self.name, time_zone: self.time_zone, metadata: self.metadata })
    }
}

fn show(customer: Record) -> Customer {
    Customer {
        id: customer.id,
        key: customer.key.into_string(),
        name: customer.name,
        time_zone: customer.time_zone,
        metadata: customer.metadata,
        managed_by: customer.managed_by.as_str().to_owned(),
        created_at: shown::instant(customer.created_at),
        updated_at: shown::instant(customer.updated_at),
        archived_at: customer.archived_at.map(shown::instant),
    }
}
