//! Plans: what usage costs. Read only here; they are made as Kubernetes objects.

use axum::{Json, extract::State};
use meridian_records::OfferedPlan;
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
pub(crate) struct Plan {
    #[schema(example = "plan_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    #[schema(example = "starter")]
    name: String,
    /// A change of a plan is a new version; periods that start later are billed by it.
    version: i32,
    /// Shared by every tenant of the region, or this tenant's own.
    shared: bool,
    #[schema(example = "USD")]
    currency: String,
    /// As in the Plan object; amounts are decimal strings.
    #[schema(value_type = Object)]
    spec: Value,
}

/// Plans that customers of this tenant can subscribe to.
#[utoipa::path(get, path = "/v1/plans", tag = "Catalogue", operation_id = "listPlans", params(Paging),
    responses((status = 200, body = List<Plan>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Plan>>, Problem> {
    let listed = caller.records(&app).plans(&paging.page()?).await?;
    Ok(List::of(listed, show))
}

fn show(plan: OfferedPlan) -> Plan {
    let OfferedPlan { shared, current } = plan;
    Plan {
        id: current.plan_id,
        name: current.name.into_string(),
        version: current.version,
        shared,
        currency: current.spec.currency.code().to_owned(),
        spec: serde_json::to_value(&current.spec).unwrap_or_default(),
    }
}
