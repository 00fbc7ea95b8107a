//! The admin port: `/livez`, `/readyz` and `/metrics`. Never exposed outside the region.

use axum::{
    Json, Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get,
};
use prometheus_client::encoding::text::encode;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{health::Health, life::MetricsRegistry};

#[derive(Clone)]
struct Admin {
    health: Health,
    metrics: MetricsRegistry,
}

/// Serves until `stop`; a caller stops it last, so that probes and scrapes work while the process drains.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: MetricsRegistry,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Admin { health, metrics });
    axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let checks: Vec<_> = admin
        .health
        .report()
        .into_iter()
        .map(|(name, gates, failing)| json!({"name": name, "gates": gates, "failing": failing}))
        .collect();
    let ready = admin.health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "draining": admin.health.is_draining(), "checks": checks})))
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    let registry = admin.metrics.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match encode(&mut text, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string())
        }
    }
}
