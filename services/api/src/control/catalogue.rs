//! Putting and archiving meters, plans and tenants.

use axum::{
    Json,
    extract::{Path, State},
};
use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, TenantSpec},
    ids::{MeterName, PlanName, TenantId},
};
use meridian_records::{By, Source, TenantRequest};

use super::{
    bodies::{Archived, Entry, Listing, PutEntry, PutTenant, Stored},
    problems::{control_problem, spec_problem},
};
use crate::{app::App, extract::Body, problem::Problem};

fn by(kind: &str, name: &str, source: &Source) -> By {
    By::new("operator", format!("{kind} {name} {} generation {}", source.uid, source.generation))
}

fn by_deletion(kind: &str, name: &str) -> By {
    By::new("operator", format!("{kind} {name} was deleted"))
}

fn named<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str) -> Result<T, Problem> {
    name.parse().map_err(|error: T::Err| Problem::invalid("metadata.name", error.to_string()))
}

/// Stores a meter as its object says.
#[utoipa::path(put, path = "/control/v1/meters/{name}", tag = "Control", operation_id = "putMeter",
    params(("name" = String, Path)), request_body = PutEntry, responses((status = 200, body = Stored)))]
pub(crate) async fn put_meter(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(body): Body<PutEntry>,
) -> Result<Json<Stored>, Problem> {
    let spec = MeterSpec::from_json(&body.spec).map_err(spec_problem)?;
    let (meter, source): (MeterName, Source) = (named(&name)?, body.source());
    let by = by("Meter", &name, &source);
    let synced = app.records().put_meter(&meter, &source, &spec, &by).await.map_err(control_problem)?;
    Ok(Json(Stored::of(synced)))
}

/// Archives a meter. Its events are unknown from now on; what it counted stays.
#[utoipa::path(delete, path = "/control/v1/meters/{name}", tag = "Control", operation_id = "archiveMeter",
    params(("name" = String, Path)), responses((status = 200, body = Archived)))]
pub(crate) async fn archive_meter(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Archived>, Problem> {
    let meter: MeterName = named(&name)?;
    let changed =
        app.records().archive_meter(&meter, &by_deletion("Meter", &name)).await.map_err(control_problem)?;
    Ok(Json(Archived::new(name, changed)))
}

/// Stores a plan as its object says. A changed one is a new version, which moves running subscriptions as its
/// `updatePolicy` says. Each price must fit the meter that it counts.
#[utoipa::path(put, path = "/control/v1/plans/{name}", tag = "Control", operation_id = "putPlan",
    params(("name" = String, Path)), request_body = PutEntry, responses((status = 200, body = Stored)))]
pub(crate) async fn put_plan(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(body): Body<PutEntry>,
) -> Result<Json<Stored>, Problem> {
    let spec = PlanSpec::from_json(&body.spec).map_err(spec_problem)?;
    let (plan, source): (PlanName, Source) = (named(&name)?, body.source());
    let by = by("Plan", &name, &source);
    let synced = app.records().put_plan(&plan, &source, &spec, &by).await.map_err(control_problem)?;
    Ok(Json(Stored::of(synced)))
}

/// Archives a plan. Its subscriptions run on; new ones are refused.
#[utoipa::path(delete, path = "/control/v1/plans/{name}", tag = "Control", operation_id = "archivePlan",
    params(("name" = String, Path)), responses((status = 200, body = Archived)))]
pub(crate) async fn archive_plan(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Archived>, Problem> {
    let plan: PlanName = named(&name)?;
    let changed =
        app.records().archive_plan(&plan, &by_deletion("Plan", &name)).await.map_err(control_problem)?;
    Ok(Json(Archived::new(name, changed)))
}

/// Stores a tenant as its object says, with exactly these API keys.
#[utoipa::path(put, path = "/control/v1/tenants/{name}", tag = "Control", operation_id = "putTenant",
    params(("name" = String, Path)), request_body = PutTenant, responses((status = 200, body = Stored)))]
pub(crate) async fn put_tenant(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(body): Body<PutTenant>,
) -> Result<Json<Stored>, Problem> {
    let spec = TenantSpec::from_json(&body.spec).map_err(spec_problem)?;
    let source = Source { uid: body.uid, generation: body.generation };
    let keys = body.api_keys.into_iter().enumerate().map(|(index, key)| key.checked(index));
    let request = TenantRequest {
        name: named::<TenantId>(&name)?,
        spec,
        api_keys: keys.collect::<Result<_, _>>()?,
        dedicated_to: app.parts.dedicated_tenant.clone(),
        source,
    };
    let by = by("Tenant", &name, &request.source);
    let synced = app.records().put_tenant(&request, &by).await.map_err(control_problem)?;
    Ok(Json(Stored::of(synced)))
}

/// Archives a tenant: its keys are revoked, its subscription ends now and is billed until now.
#[utoipa::path(delete, path = "/control/v1/tenants/{name}", tag = "Control", operation_id = "archiveTenant",
    params(("name" = String, Path)), responses((status = 200, body = Archived)))]
pub(crate) async fn archive_tenant(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Archived>, Problem> {
    let tenant: TenantId = named(&name)?;
    let changed = app
        .records()
        .archive_tenant(&tenant, &by_deletion("Tenant", &name))
        .await
        .map_err(control_problem)?;
    Ok(Json(Archived::new(name, changed)))
}

/// What the region has, for comparison with what it should have.
#[utoipa::path(get, path = "/control/v1/catalogue", tag = "Control", operation_id = "listCatalogue",
    responses((status = 200, body = Listing)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Listing>, Problem> {
    let listing = app.records().catalogue_listing().await?;
    Ok(Json(Listing {
        meters: listing.meters.into_iter().map(Entry::of).collect(),
        plans: listing.plans.into_iter().map(Entry::of).collect(),
        tenants: listing.tenants.into_iter().map(Entry::of_tenant).collect(),
    }))
}
