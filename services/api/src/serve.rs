//! Both ports, from their first byte to the last answer of a drain.

use std::{future::IntoFuture, net::SocketAddr, time::Duration};

use anyhow::Context;
use axum::Router;
use meridian_daemon::{ExposeSecret, Process};
use meridian_records::{PostgresOptions, connect};
use meridian_usage_store::{ClickHouseOptions, UsageStore};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, AppOptions},
    billing_runs::{BillingRuns, TemporalOptions},
    config::Config,
    control::control_routes,
    envelope,
    idempotency::forget_old_keys,
    routes::tenant_routes,
    watch::watch,
};

/// Connections to Postgres of one replica.
const POSTGRES_CONNECTIONS_MAX: u32 = 16;

/// The whole program. Ends after SIGTERM when every request that was begun is answered.
pub async fn serve(config: Config, process: Process) -> anyhow::Result<()> {
    let (listen, control_listen, drain_delay) = (config.listen, config.control_listen, config.drain_delay);
    let app = build(config, &process)?;
    let rest = bind("MERIDIAN_API_LISTEN", listen).await?;
    let control = bind("MERIDIAN_CONTROL_LISTEN", control_listen).await?;
    tracing::info!(rest = %listen, control = %control_listen, "listening");
    let stop = stopping(process.shutdown.clone(), drain_delay);
    let (rest, control, (), ()) = tokio::join!(
        answer(rest, tenant_port(&app), stop.clone()),
        answer(control, control_port(&app), stop),
        watch(app.clone(), process.health.clone(), process.shutdown.clone()),
        forget_old_keys(app.clone(), process.shutdown.clone()),
    );
    rest.context("the REST port")?;
    control.context("the control port")
}

/// Cancelled a little after the shutdown began: until every load balancer has heard that this replica is not ready, it
/// still sends requests here, and a closed port would refuse them.
fn stopping(shutdown: CancellationToken, delay: Duration) -> CancellationToken {
    let stop = CancellationToken::new();
    let later = stop.clone();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(delay).await;
        later.cancel();
    });
    stop
}

/// The REST port as one service.
pub fn tenant_port(app: &App) -> Router {
    envelope::wrap(tenant_routes(app).0, app.clone())
}

/// The control port as one service.
pub fn control_port(app: &App) -> Router {
    envelope::wrap(control_routes(app).0, app.clone())
}

/// The descriptions of both ports: REST, control.
pub fn documents(app: &App) -> (utoipa::openapi::OpenApi, utoipa::openapi::OpenApi) {
    (tenant_routes(app).1, control_routes(app).1)
}

fn build(config: Config, process: &Process) -> anyhow::Result<App> {
    let postgres = &config.postgres;
    let password = postgres.password.expose_secret();
    let mut options =
        PostgresOptions::new(&postgres.host, postgres.port, &postgres.database, &postgres.user, password);
    options.sslmode.clone_from(&postgres.sslmode);
    options.application_name = "meridian-api".to_owned();
    options.connections_max = POSTGRES_CONNECTIONS_MAX;
    let clickhouse = ClickHouseOptions {
        url: config.clickhouse.url.clone(),
        database: config.clickhouse.database.clone(),
        user: config.clickhouse.user.clone(),
        password: config.clickhouse.password.expose_secret().to_owned(),
    };
    let temporal = TemporalOptions {
        address: config.temporal.address.clone(),
        namespace: config.temporal.namespace.clone(),
        task_queue: config.temporal.task_queue.clone(),
    };
    let app_options = AppOptions {
        records: connect(&options).context("MERIDIAN_POSTGRES_*")?,
        usage: UsageStore::connect(&clickhouse),
        billing_runs: BillingRuns::new(temporal),
        limits: config.limits,
        control_token: config.control_token.expose_secret().to_owned(),
        dedicated_tenant: config.dedicated_tenant,
    };
    let mut registry =
        process.metrics.lock().map_err(|_| anyhow::anyhow!("the metrics registry is poisoned"))?;
    Ok(App::new(app_options, &mut registry))
}

async fn bind(variable: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{variable}: cannot listen on {address}"))
}

/// Returns when every request that was begun before `stop` is answered.
async fn answer(listener: TcpListener, routes: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).into_future().await
}
