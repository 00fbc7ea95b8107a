//! The program: connects, starts the Kafka thread, gives each assigned partition a worker, and drains.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::Context;
use meridian_daemon::{ExposeSecret, Process};
use meridian_records::{PostgresOptions, Records};
use meridian_usage_store::UsageStore;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    catalogue::CatalogueWatch,
    config::Config,
    flush::{Pause, Stopped, chain},
    kafka::{self, Assignment},
    metrics::Metrics,
    partition::{Shared, Worker},
    progress::{self, Followed, PartitionProgress},
};

/// Postgres connections: the catalogue, progress, and one to spare.
const POSTGRES_CONNECTIONS: u32 = 4;

pub async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let metrics = {
        let mut registry = process.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        Metrics::register(&mut registry)
    };
    let ready = process.health.check("catalogue");
    let records = connect_postgres(&config)?;
    let store = UsageStore::connect(&config.clickhouse_options());
    let draining = process.shutdown.clone();
    // Work that must outlive the draining of partitions: commits and reports.
    let closing = CancellationToken::new();

    let catalogue = CatalogueWatch::new(records.clone(), process.health.report_only("postgres"));
    let fresh = tokio::spawn(catalogue.clone().keep_fresh(draining.clone()));
    let stores_ready = wait_for_stores(&store, &catalogue, &process);
    tokio::select! {
        () = draining.cancelled() => return Ok(()),
        outcome = stores_ready => outcome?,
    }
    ready.set_ok();

    let (assigned, mut assignments) = tokio::sync::mpsc::unbounded_channel();
    let kafka_health = process.health.report_only("kafka");
    let (kafka, thread) = kafka::start(&config, metrics.clone(), kafka_health, assigned, closing.clone())
        .context("the Kafka client cannot be made")?;
    let shared = Shared {
        topic: config.kafka.topic_events.clone(),
        kafka: kafka.clone(),
        store,
        records: records.clone(),
        catalogue,
        metrics: metrics.clone(),
        clickhouse_health: process.health.report_only("clickhouse"),
        draining: draining.clone(),
        permits: Arc::new(Semaphore::new(config.flushes_at_once)),
        index_directory: config.index_directory.clone(),
        index_cache_bytes: (config.index_cache_bytes / usize::try_from(config.kafka.partitions.max(1))?)
            .max(1 << 20),
        kept_meters: Arc::default(),
    };
    let followed: Followed = Arc::default();
    let progress_health = process.health.report_only("progress");
    let reports = tokio::spawn(progress::report(
        kafka,
        records,
        shared.catalogue.clone(),
        metrics,
        progress_health,
        followed.clone(),
        closing.clone(),
    ));

    let mut workers = JoinSet::new();
    let outcome = loop {
        tokio::select! {
            () = draining.cancelled() => break Ok(()),
            Some(assignment) = assignments.recv() => adopt(&shared, &followed, &mut workers, assignment),
            Some(ended) = workers.join_next() => {
                if let Err(error) = ended.context("a partition's worker").and_then(|worker| worker.context("a partition's worker")) {
                    break Err(error);
                }
            }
        }
    };
    // Batches under way end, or are left to the next owner; then the group is left, at once and with a last commit made.
    draining.cancel();
    while workers.join_next().await.is_some() {}
    closing.cancel();
    reports.await.context("the reporter of progress")?;
    fresh.await.context("the reader of the catalogue")?;
    tokio::task::spawn_blocking(move || thread.join())
        .await?
        .map_err(|_| anyhow::anyhow!("the Kafka thread died"))?;
    outcome
}

fn connect_postgres(config: &Config) -> anyhow::Result<Records> {
    let postgres = &config.postgres;
    let options = PostgresOptions {
        host: postgres.host.clone(),
        port: postgres.port,
        database: postgres.database.clone(),
        user: postgres.user.clone(),
        password: postgres.password.expose_secret().to_owned(),
        sslmode: postgres.sslmode.clone(),
        application_name: "meridian-consumer".to_owned(),
        connections_max: POSTGRES_CONNECTIONS,
        acquire_timeout: Duration::from_secs(5),
        schema: None,
    };
    meridian_records::connect(&options).context("the Postgres options")
}

/// Before the group is joined: whoever cannot store should not be given partitions.
async fn wait_for_stores(
    store: &UsageStore,
    catalogue: &CatalogueWatch,
    process: &Process,
) -> anyhow::Result<()> {
    let clickhouse = process.health.report_only("clickhouse");
    let mut pause = Pause::default();
    while let Err(error) = store.check_schema().await {
        clickhouse.set_failing(chain(&error));
        tokio::time::sleep(pause.next()).await;
    }
    clickhouse.set_ok();
    catalogue.fresh().await;
    Ok(())
}

fn adopt(
    shared: &Shared,
    followed: &Followed,
    workers: &mut JoinSet<Result<(), Stopped>>,
    assignment: Assignment,
) {
    let progress = Arc::new(PartitionProgress::new(assignment.partition));
    let mut all: std::sync::MutexGuard<'_, HashMap<_, _>> =
        followed.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(assignment.partition, progress.clone());
    drop(all);
    let worker = Worker::new(shared.clone(), assignment.clone(), progress.clone());
    let followed = followed.clone();
    workers.spawn(async move {
        let outcome = worker.run().await;
        let mut all = followed.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless a later assignment of the same partition has taken the place.
        if all.get(&assignment.partition).is_some_and(|current| Arc::ptr_eq(current, &progress)) {
            all.remove(&assignment.partition);
        }
        outcome
    });
}
