//! The control port: what the operator says about meters, plans and tenants. Behind a token of its own and a network policy;
//! nobody else speaks here. A bad spec is 422 and names its field; what refers to something that is not there yet is 409 and
//! may be said again later; the same thing said twice writes nothing.

mod bodies;
mod catalogue;
mod problems;

use axum::{Router, middleware::from_fn_with_state};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, auth::require_control_token, openapi};

pub(crate) fn control_routes(app: &App) -> (Router<App>, utoipa::openapi::OpenApi) {
    let documented = OpenApiRouter::with_openapi(openapi::Control::openapi())
        .routes(routes!(catalogue::put_meter, catalogue::archive_meter))
        .routes(routes!(catalogue::put_plan, catalogue::archive_plan))
        .routes(routes!(catalogue::put_tenant, catalogue::archive_tenant))
        .routes(routes!(catalogue::list));
    let (protected, mut document) = documented.split_for_parts();
    openapi::finish(&mut document);
    let protected = protected.route_layer(from_fn_with_state(app.clone(), require_control_token));
    let served = openapi::Document::new(&document);
    (protected.merge(openapi::route(served)), document)
}
