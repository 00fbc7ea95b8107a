//! What surrounds every request of either port, from the outside in: a request id, a span, a count, a catch for panics, and
//! bounds on time, number and size.

use std::any::Any;

use axum::{
    BoxError, Router,
    error_handling::HandleErrorLayer,
    extract::{DefaultBodyLimit, Request},
    http::{StatusCode, Uri},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use tower::{
    ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer, timeout::TimeoutLayer,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};

use crate::{
    app::App,
    metrics::measure,
    problem::{Code, Problem},
};

/// Puts the envelope around a port's routes.
pub(crate) fn wrap(routes: Router<App>, app: App) -> Router {
    let limits = app.parts.limits;
    let bounds = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(out_of_bounds))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(limits.requests_in_flight_max))
        .layer(TimeoutLayer::new(limits.request_timeout));
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .layer(bounds)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), measure))
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(app)
}

fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    // The path without its query: query strings may hold customers' keys.
    tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        request_id = id,
        tenant = tracing::field::Empty
    )
}

async fn out_of_bounds(error: BoxError) -> Problem {
    if error.is::<tower::timeout::error::Elapsed>() {
        return Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            Code::Timeout,
            "the answer took too long; try again",
        );
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        let detail = "more requests are running than this replica takes; try again shortly";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, Code::Overloaded, detail);
    }
    Problem::internal(error.as_ref())
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "a handler panicked");
    let detail = "something went wrong here; the log has the reason";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, detail).into_response()
}

async fn no_route(uri: Uri) -> Problem {
    let detail = format!("nothing is at {}; GET /openapi.json lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
}

async fn no_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::MethodNotAllowed,
        "this path does not take this method",
    )
}
