//! Which stores answer. Every route needs Postgres, so readiness depends on it; ClickHouse and Temporal serve some routes,
//! which answer 503 by themselves, so they are only shown.

use std::time::Duration;

use meridian_daemon::{Health, HealthFlag};
use tokio_util::sync::CancellationToken;

use crate::{app::App, problem::chain};

const INTERVAL: Duration = Duration::from_secs(3);
/// One missed answer is a blip; a pod that leaves the load balancer for one makes two problems of none.
const FAILURES_BEFORE_UNREADY: u32 = 3;

pub(crate) async fn watch(app: App, health: Health, shutdown: CancellationToken) {
    let postgres = health.check("postgres");
    let clickhouse = health.report_only("clickhouse");
    let temporal = health.report_only("temporal");
    let mut failures = 0;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match app.records().catalogue_version().await {
            Ok(_) => {
                failures = 0;
                postgres.set_ok();
            }
            Err(error) => {
                failures += 1;
                if failures >= FAILURES_BEFORE_UNREADY {
                    postgres.set_failing(chain(&error));
                }
            }
        }
        report(&clickhouse, app.usage().ping().await);
        report(&temporal, app.parts.billing_runs.ping().await);
    }
}

fn report<E: std::error::Error + 'static>(flag: &HealthFlag, answer: Result<(), E>) {
    match answer {
        Ok(()) => flag.set_ok(),
        Err(error) => flag.set_failing(chain(&error)),
    }
}
