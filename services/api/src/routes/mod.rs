//! The REST port's routes, one file a resource. A route is documented by being registered: there is no other way in.

mod billing_runs;
mod coupons;
mod credit_notes;
mod customers;
mod grants;
mod invoice_changes;
mod invoices;
mod ledgers;
mod line_events;
mod meters;
mod plans;
mod preview;
mod quarantine;
mod redemptions;
mod shown;
mod subscriptions;
mod usage;
mod usage_proof;

use axum::{Json, Router, middleware::from_fn_with_state};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, auth::require_api_key, idempotency::once, openapi};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` to read on; null on the last page.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    fn of<R>(listed: meridian_records::Listed<R>, show: impl FnMut(R) -> T) -> Json<Self> {
        Json(Self { data: listed.items.into_iter().map(show).collect(), next_cursor: listed.next })
    }
}

/// The routes and their description. Everything but the description itself asks for a key.
pub(crate) fn tenant_routes(app: &App) -> (Router<App>, utoipa::openapi::OpenApi) {
    let (protected, mut document) = documented().split_for_parts();
    openapi::finish(&mut document);
    let protected = protected
        .route_layer(from_fn_with_state(app.clone(), once))
        .route_layer(from_fn_with_state(app.clone(), require_api_key));
    let served = openapi::Document::new(&document);
    (protected.merge(openapi::route(served)), document)
}

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Tenant::openapi())
        .routes(routes!(meters::list))
        .routes(routes!(plans::list))
        .routes(routes!(plans::preview))
        .routes(routes!(customers::list, customers::create))
        .routes(routes!(customers::get, customers::update, customers::archive))
        .routes(routes!(subscriptions::list, subscriptions::create))
        .routes(routes!(subscriptions::get, subscriptions::cancel))
        .routes(routes!(subscriptions::change, subscriptions::withdraw_change))
        .routes(routes!(subscriptions::close))
        .routes(routes!(coupons::list, coupons::create))
        .routes(routes!(coupons::archive))
        .routes(routes!(redemptions::list, redemptions::redeem))
        .routes(routes!(grants::list, grants::create))
        .routes(routes!(ledgers::balances))
        .routes(routes!(ledgers::entries))
        .routes(routes!(billing_runs::get))
        .routes(routes!(usage::get))
        .routes(routes!(usage_proof::get))
        .routes(routes!(preview::preview))
        .routes(routes!(invoices::list))
        .routes(routes!(invoices::get))
        .routes(routes!(invoices::issue))
        .routes(routes!(invoices::recompute))
        .routes(routes!(invoice_changes::pay))
        .routes(routes!(invoice_changes::void))
        .routes(routes!(invoice_changes::reissue))
        .routes(routes!(credit_notes::list, credit_notes::create))
        .routes(routes!(line_events::list))
        .routes(routes!(quarantine::list))
}
