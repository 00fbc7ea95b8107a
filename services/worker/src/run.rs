//! The worker's life: connect, keep the schedules, poll until told to stop, drain.

use std::time::Duration;

use anyhow::Context;
use meridian_daemon::{HealthFlag, Process};
use temporalio_client::Client;
use temporalio_sdk::{Runtime, Worker, WorkerOptions};

use crate::{
    activities::BillingActivities,
    config::Config,
    connect,
    metrics::Metrics,
    schedules,
    workflows::{
        AdvanceLedgers, AggregateUsageWorkflow, BillThreshold, BillThresholds, BillingCycle,
        CloseBillingPeriod, CloseBillingPeriods, GenerateInvoice, VerifyInvoices,
    },
};

/// A workflow that a dead worker had in its cache waits this long before another one takes it.
const STICKY_WAIT: Duration = Duration::from_secs(3);
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Left of the grace period for what comes after the activities.
const DRAIN_RESERVE: Duration = Duration::from_secs(5);

pub async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let temporal_health = process.health.check("temporal");
    let metrics = Metrics::register(&process.metrics);
    let activities = activities(&config, metrics)?;
    let watch = tokio::spawn(watch_stores(activities.clone(), process.clone()));

    let Some(client) = connect::temporal(&config.temporal, &process, &temporal_health).await? else {
        return Ok(());
    };
    let schedule =
        tokio::spawn(keep_schedules(config.clone(), client.clone(), process.clone(), temporal_health));

    let drain = process.common.shutdown_grace.saturating_sub(DRAIN_RESERVE).max(Duration::from_secs(1));
    let runtime =
        Runtime::from_current_tokio(Default::default()).context("preparing the Temporal runtime")?;
    let mut worker = Worker::new(&runtime, client, options(&config.temporal.task_queue, activities, drain)?)
        .context("preparing the Temporal worker")?;
    let stop = worker.shutdown_handle();
    let shutdown = process.shutdown.clone();
    let stopper = tokio::spawn(async move {
        shutdown.cancelled().await;
        stop();
    });
    let ended = worker.run().await.context("polling Temporal");
    for task in [watch, schedule, stopper] {
        task.abort();
    }
    ended
}

fn activities(config: &Config, metrics: Metrics) -> anyhow::Result<BillingActivities> {
    Ok(BillingActivities {
        records: meridian_records::connect(&config.postgres_options()).context("MERIDIAN_POSTGRES_…")?,
        usage: meridian_usage_store::UsageStore::connect(&config.clickhouse_options()),
        sources: config.sources,
        close_grace: config.close_grace,
        clock_skew: config.clock_skew,
        metrics,
        turns: BillingActivities::turns(),
    })
}

/// Every workflow and activity of this worker.
pub fn options(
    task_queue: &str,
    activities: BillingActivities,
    drain: Duration,
) -> anyhow::Result<WorkerOptions> {
    Ok(WorkerOptions::new(task_queue)
        .register_activities(activities)
        .register_workflow::<CloseBillingPeriod>()?
        .register_workflow::<CloseBillingPeriods>()?
        .register_workflow::<GenerateInvoice>()?
        .register_workflow::<AggregateUsageWorkflow>()?
        .register_workflow::<BillingCycle>()?
        .register_workflow::<BillThresholds>()?
        .register_workflow::<BillThreshold>()?
        .register_workflow::<VerifyInvoices>()?
        .register_workflow::<AdvanceLedgers>()?
        .sticky_queue_schedule_to_start_timeout(STICKY_WAIT)
        .graceful_shutdown_period(drain)
        .build())
}

/// Makes the schedules, then shows whether Temporal still answers.
async fn keep_schedules(config: Config, client: Client, process: Process, health: HealthFlag) {
    let region = process.common.region.clone();
    let mut kept = false;
    loop {
        let answer = if kept {
            let handle = client.get_schedule_handle(schedules::sweep_id(&region));
            handle.describe(Default::default()).await.map(|_| ()).map_err(anyhow::Error::from)
        } else {
            schedules::keep(&client, &region, &config.temporal.task_queue, config.sweep_every).await
        };
        match answer {
            Ok(()) => {
                kept = true;
                health.set_ok();
            }
            Err(error) => health.set_failing(format!("{error:#}")),
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Stores that are away stop no worker: its steps wait for them. They are shown.
async fn watch_stores(activities: BillingActivities, process: Process) {
    let postgres = process.health.report_only("postgres");
    let clickhouse = process.health.report_only("clickhouse");
    loop {
        show(&postgres, activities.records.catalogue_version().await.map(|_| ()));
        show(&clickhouse, activities.usage.ping().await);
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

fn show(flag: &HealthFlag, answer: Result<(), impl std::fmt::Display>) {
    match answer {
        Ok(()) => flag.set_ok(),
        Err(error) => flag.set_failing(error.to_string()),
    }
}
