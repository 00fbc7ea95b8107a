//! ClickHouse is gone for a minute under load: events are acknowledged as before, wait in Kafka, and are all stored
//! once when it is back.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use meridian_e2e::{ClickHouse, Limit, Load, Region, RegionSpec, TestNamespace, eventually, scale};

use super::every_acked_event_is_stored_once;

#[tokio::test]
async fn clickhouse_gone_for_a_minute_delays_and_loses_nothing() -> anyhow::Result<()> {
    let ns = TestNamespace::create("clickhouse_gone").await?;
    let region = Arc::new(Region::up(&ns, &RegionSpec::default()).await?);
    let k = &ns.kubectl;
    let load = Load::start(region.clone(), "ch", 100, Duration::from_millis(100));
    // Paused, the operator leaves the outage alone; resumed, it ends it: drift is corrected.
    k.run(&["patch", "br", "demo", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).await?;
    eventually("the operator has seen the pause", Limit::seconds(30), async || {
        let region = k.get("br", "demo").await?;
        ensure!(region["status"]["observedGeneration"] == region["metadata"]["generation"]);
        Ok(())
    })
    .await?;
    scale(k, "statefulset/demo-clickhouse", 0).await?;
    k.run(&["wait", "--for=delete", "pod/demo-clickhouse-0", "--timeout=60s"]).await?;
    let before = load.acked();
    tokio::time::sleep(Duration::from_secs(60)).await; // The outage itself: a minute, as the claim says.
    let during = load.acked() - before;
    ensure!(during > 1000, "only {during} events were acknowledged while ClickHouse was gone");
    ensure!(
        load.degraded() == 0,
        "ingest does not need ClickHouse, yet {} batches were degraded",
        load.degraded()
    );
    k.run(&["patch", "br", "demo", "--type=merge", "-p", r#"{"spec":{"paused":false}}"#]).await?;
    eventually("ClickHouse is back", Limit::seconds(90), async || {
        let sts = k.get("statefulset", "demo-clickhouse").await?;
        ensure!(sts["status"]["readyReplicas"] == 1, "{}", sts["status"]);
        Ok(())
    })
    .await?;
    let ledger = load.stop().await?;
    println!("    {during} events acknowledged while ClickHouse was gone");
    let clickhouse = ClickHouse::open(&region).await?;
    every_acked_event_is_stored_once(&clickhouse, &ledger, "ch", Limit::seconds(120)).await?;
    ns.done().await
}
