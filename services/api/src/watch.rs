//! Which stores answer. Every route needs Postgres, so readiness depends on it; ClickHouse and Temporal serve some routes,
//! which answer 503 by themselves, so they are only shown.

use std::{error::Error, time::Duration};

use meridian_daemon::{Health, HealthFlag};
use tokio_util::sync::CancellationToken;

use crate::{app::App, problem::chain};

const INTERVAL: Duration = Duration::from_secs(3);
/// One missed answer is a blip: a pod that leaves the load balancer for one makes two problems of none.
const FAILURES_TOLERATED: u32 = 2;

/// Asks each store on a beat of its own, so that a slow one delays no news of the others.
pub(crate) async fn watch(app: App, health: Health, shutdown: CancellationToken) {
    let postgres = every_beat(health.check("postgres"), || async {
        app.records().catalogue_version().await.map(|_| ())
    });
    let clickhouse = every_beat(health.report_only("clickhouse"), || app.usage().ping());
    let temporal = every_beat(health.report_only("temporal"), || app.parts.billing_runs.ping());
    shutdown.run_until_cancelled(async { tokio::join!(postgres, clickhouse, temporal) }).await;
}

async fn every_beat<E: Error + 'static, F: Future<Output = Result<(), E>>>(
    flag: HealthFlag,
    ask: impl Fn() -> F,
) {
    let mut failures = 0;
    loop {
        match ask().await {
            Ok(()) => {
                failures = 0;
                flag.set_ok();
            }
            Err(error) => {
                failures += 1;
                if failures > FAILURES_TOLERATED {
                    flag.set_failing(chain(&error));
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
