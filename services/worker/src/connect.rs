//! The connection to Temporal. Its client gives up at once when the server is not there, so the start is tried until it is.

use std::time::Duration;

use anyhow::Context;
use meridian_daemon::{HealthFlag, Process, TemporalSettings};
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions};
use url::Url;

const TRY_EVERY: Duration = Duration::from_secs(2);
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);

/// None: the process is to stop before Temporal was there.
pub async fn temporal(
    settings: &TemporalSettings,
    process: &Process,
    health: &HealthFlag,
) -> anyhow::Result<Option<Client>> {
    let target = target(settings)?;
    loop {
        match connect(settings, &target).await {
            Ok(client) => {
                health.set_ok();
                return Ok(Some(client));
            }
            Err(error) => health.set_failing(format!("{error:#}")),
        }
        tokio::select! {
            () = process.shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(TRY_EVERY) => {}
        }
    }
}

pub fn target(settings: &TemporalSettings) -> anyhow::Result<Url> {
    let url = format!("http://{}", settings.address);
    url.parse().with_context(|| format!("MERIDIAN_TEMPORAL_ADDRESS: {:?} is not host:port", settings.address))
}

pub async fn connect(settings: &TemporalSettings, target: &Url) -> anyhow::Result<Client> {
    let options = ConnectionOptions::new(target.clone())
        .identity(format!("meridian-worker/{}", std::process::id()))
        .connect_timeout(CONNECT_WAIT_MAX)
        .build();
    let connection =
        Connection::connect(options).await.with_context(|| format!("connecting to Temporal at {target}"))?;
    Ok(Client::new(connection, ClientOptions::new(settings.namespace.clone()).build())?)
}
