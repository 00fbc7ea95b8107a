//! Kafka is gone for a minute under load: events are acknowledged on the buffer alone and say so, and every one of them
//! is billed in the end.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use meridian_e2e::{
    ClickHouse, Limit, Load, Region, RegionSpec, TestNamespace, eventually, give_back, take_away,
};

use super::every_acked_event_is_stored_once;

#[tokio::test]
async fn kafka_gone_for_a_minute_degrades_acks_and_loses_nothing() -> anyhow::Result<()> {
    let ns = TestNamespace::create("kafka_gone").await?;
    let region = Arc::new(Region::up(&ns, &RegionSpec::default()).await?);
    let k = &ns.kubectl;
    let load = Load::start(region.clone(), "kf", 100, Duration::from_millis(100));
    eventually("the load is on its way", Limit::seconds(30), async || {
        ensure!(load.acked() > 500, "{}", load.acked());
        Ok(())
    })
    .await?;
    take_away(k, "kafka").await?;
    let before = (load.acked(), load.degraded());
    tokio::time::sleep(Duration::from_secs(60)).await; // The outage itself: a minute, as the claim says.
    let (acked, degraded) = (load.acked() - before.0, load.degraded() - before.1);
    ensure!(acked > 1000, "only {acked} events were acknowledged while Kafka was gone");
    ensure!(degraded > 0, "acknowledgements without Kafka must say that they are degraded");
    give_back(k, "kafka").await?;
    let ledger = load.stop().await?;
    println!("    {acked} events acknowledged while Kafka was gone, {degraded} batches degraded");
    let clickhouse = ClickHouse::open(&region).await?;
    every_acked_event_is_stored_once(&clickhouse, &ledger, "kf", Limit::seconds(180)).await?;
    // And billed: the invoice counts what the ledger counts.
    let stored = clickhouse.ids("raw_events", "kf").await?.len();
    let invoice = region.close_month(Limit::seconds(180)).await?;
    let usage = invoice["lines"].as_array().into_iter().flatten().find(|l| l["role"] == "usage").cloned();
    ensure!(
        usage.as_ref().is_some_and(|u| u["quantity"].as_str() == Some(&stored.to_string())),
        "{stored} stored, billed {usage:?}"
    );
    ns.done().await
}
