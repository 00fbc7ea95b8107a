//! kill −9 of each of our pods under load loses no acknowledged event and stores none twice.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use meridian_e2e::{
    ClickHouse, Kubectl, Limit, Load, Region, RegionSpec, TestNamespace, eventually, kill_container,
};

use super::every_acked_event_is_stored_once;

async fn pod_of(k: &Kubectl, component: &str) -> anyhow::Result<String> {
    let selector = format!("app.kubernetes.io/name={component}");
    let pods = k.list("pods", Some(&selector)).await?;
    let name = pods.first().and_then(|p| p["metadata"]["name"].as_str());
    Ok(name.with_context(|| format!("no pod of {component}"))?.to_owned())
}

#[tokio::test]
async fn killed_pods_lose_no_acked_event() -> anyhow::Result<()> {
    let ns = TestNamespace::create("killed_pods_lose_no_acked_event").await?;
    let region = Arc::new(Region::up(&ns, &RegionSpec::default()).await?);
    let k = &ns.kubectl;
    let load = Load::start(region.clone(), "kill", 100, Duration::from_millis(50));
    for component in ["ingest", "consumer", "ingest", "consumer", "api", "worker"] {
        let before = load.acked();
        let reached = format!("the load goes on before {component} is killed");
        eventually(&reached, Limit::seconds(120), async || {
            ensure!(load.acked() >= before + 1000, "{} acknowledged", load.acked() - before);
            Ok(())
        })
        .await?;
        let pod = pod_of(k, component).await?;
        kill_container(k, &pod).await?;
        eventually(&format!("{pod} runs again"), Limit::seconds(90), async || {
            let object = k.get("pod", &pod).await?;
            let status = &object["status"]["containerStatuses"][0];
            ensure!(status["ready"] == true && status["restartCount"].as_u64() >= Some(1), "{status}");
            Ok(())
        })
        .await?;
    }
    let ledger = load.stop().await?;
    let clickhouse = ClickHouse::open(&region).await?;
    every_acked_event_is_stored_once(&clickhouse, &ledger, "kill", Limit::seconds(120)).await?;
    ns.done().await
}
