//! The process: connects what the settings name, serves, and ends in order.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use meridian_buffer::{Buffer, BufferOptions, Tuning};
use meridian_daemon::{BufferSettings, ExposeSecret, PostgresSettings, Process, RedisSettings};
use meridian_records::{PostgresOptions, Records};
use redis::{
    IntoConnectionInfo,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::Admission,
    config::{Config, Limits},
    drain::Drainer,
    keys::{Keys, RedisThenPostgres},
    metrics::Metrics,
    receive::{self, Receiver},
    reply, server,
    stores::{
        Guarded, Stores,
        buffer::{BufferEvents, BufferOutbox},
        kafka::{KafkaLog, KafkaStore},
    },
    throttle::Throttle,
    watch,
};

/// Lookups of API keys are few: each key once in five seconds.
const POSTGRES_CONNECTIONS: u32 = 4;
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Runs until SIGTERM. Then: not ready, new connections still taken while endpoints forget us, requests under way
/// finished, Kafka's queue flushed.
pub async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::default());
    metrics.register(&process.metrics);
    let buffer = connect_buffer(&config.buffer, &config.limits);
    let kafka = Arc::new(KafkaLog::connect(&config.kafka)?);
    let records = connect_records(&config.postgres)?;
    let lookup = Arc::new(RedisThenPostgres::new(
        connect_redis(&config.redis)?,
        records.clone(),
        &process.common.region,
    ));
    let keys = Keys::new(lookup.clone(), metrics.clone());
    let stores = Stores {
        buffer: Guarded::new(reply::DYNAMODB, Arc::new(BufferEvents(buffer.clone()))),
        outbox: Arc::new(BufferOutbox(buffer.clone())),
        kafka: Guarded::new(reply::KAFKA, Arc::new(KafkaStore(kafka.clone()))),
        patience: config.limits.store_patience,
        metrics: metrics.clone(),
    };
    let receiver = Arc::new(Receiver {
        limits: config.limits,
        admission: Admission::new(&config.limits),
        keys: keys.clone(),
        throttle: Throttle::new(&config.limits),
        stores: stores.clone(),
        metrics,
    });

    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("MERIDIAN_INGEST_LISTEN: cannot listen on {}", config.listen))?;
    tracing::info!(listen = %config.listen, "taking events");

    // The drainer and the watches end after the last request, which may still need them.
    let idle = CancellationToken::new();
    let drainer = Drainer { buffer, kafka: kafka.clone(), stores: stores.clone(), records };
    let background = [
        tokio::spawn(drainer.run(idle.clone())),
        tokio::spawn(watch::stores(stores, process.health.clone(), idle.clone())),
        tokio::spawn(watch::keys(keys, lookup, process.health.clone(), idle.clone())),
        tokio::spawn(watch::throttle(receiver.clone(), idle.clone())),
    ];
    let stop = stop_accepting(process.shutdown.clone(), config.limits.drain_delay);
    server::serve(listener, receive::router(receiver), config.limits, stop).await;

    idle.cancel();
    for task in background {
        task.await.context("a background task of ingest")?;
    }
    flush(kafka).await
}

/// Cancelled `delay` after `shutdown`.
fn stop_accepting(shutdown: CancellationToken, delay: Duration) -> CancellationToken {
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(delay).await;
        cancelled.cancel();
    });
    stop
}

/// What is still queued belongs to events in the outbox or to requests that were answered 503: losing it loses
/// nothing acknowledged, delivering it saves a duplicate.
async fn flush(kafka: Arc<KafkaLog>) -> anyhow::Result<()> {
    let flushed = tokio::task::spawn_blocking(move || kafka.flush(FLUSH_WITHIN)).await?;
    if let Err(error) = flushed {
        tracing::warn!(%error, "Kafka did not take the rest of the queue before the end");
    }
    Ok(())
}

fn connect_buffer(settings: &BufferSettings, limits: &Limits) -> Buffer {
    let BufferSettings { endpoint, aws_region, access_key_id, secret_access_key, table } = settings.clone();
    let options = BufferOptions { endpoint, aws_region, access_key_id, secret_access_key, table };
    // Without Kafka each event is two items.
    let tuning = Tuning { events_queued_max: 2 * limits.events_in_flight_max, ..Tuning::default() };
    Buffer::connect_tuned(&options, tuning)
}

fn connect_records(settings: &PostgresSettings) -> anyhow::Result<Records> {
    let PostgresSettings { host, port, database, user, password, sslmode } = settings;
    let mut options = PostgresOptions::new(host, *port, database, user, password.expose_secret());
    options.sslmode = sslmode.clone();
    options.application_name = "meridian-ingest".to_owned();
    options.connections_max = POSTGRES_CONNECTIONS;
    options.acquire_timeout = Duration::from_secs(1);
    meridian_records::connect(&options).context("preparing the connection to Postgres")
}

fn connect_redis(settings: &RedisSettings) -> anyhow::Result<ConnectionManager> {
    let RedisSettings { host, port, password, tls } = settings;
    let scheme = if *tls { "rediss" } else { "redis" };
    let mut connection =
        format!("{scheme}://{host}:{port}").into_connection_info().context("MERIDIAN_REDIS_HOST")?;
    if let Some(password) = password {
        // Never within the URL: errors quote it.
        let session = connection.redis_settings().clone().set_password(password.expose_secret());
        connection = connection.set_redis_settings(session);
    }
    let client = redis::Client::open(connection).context("MERIDIAN_REDIS_HOST")?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(Duration::from_millis(500)))
        .set_response_timeout(Some(Duration::from_millis(100)))
        .set_number_of_retries(1)
        .set_max_delay(Duration::from_millis(500));
    ConnectionManager::new_lazy_with_config(client, config).context("preparing the connection to Redis")
}
