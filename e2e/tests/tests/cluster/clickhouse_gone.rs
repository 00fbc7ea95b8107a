//! ClickHouse is gone for a minute under load: events are acknowledged as before, wait in Kafka, and are all stored
//! once when it is back.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use meridian_e2e::{ClickHouse, Limit, Load, Region, RegionSpec, TestNamespace, give_back, take_away};

use super::every_acked_event_is_stored_once;

#[tokio::test]
async fn clickhouse_gone_for_a_minute_delays_and_loses_nothing() -> anyhow::Result<()> {
    let ns = TestNamespace::create("clickhouse_gone").await?;
    let region = Arc::new(Region::up(&ns, &RegionSpec::default()).await?);
    let k = &ns.kubectl;
    let load = Load::start(region.clone(), "ch", 100, Duration::from_millis(100));
    take_away(k, "clickhouse").await?;
    let before = load.acked();
    tokio::time::sleep(Duration::from_secs(60)).await; // The outage itself: a minute, as the claim says.
    let during = load.acked() - before;
    ensure!(during > 1000, "only {during} events were acknowledged while ClickHouse was gone");
    ensure!(
        load.degraded() == 0,
        "ingest does not need ClickHouse, yet {} batches were degraded",
        load.degraded()
    );
    give_back(k, "clickhouse").await?;
    let ledger = load.stop().await?;
    println!("    {during} events acknowledged while ClickHouse was gone");
    let clickhouse = ClickHouse::open(&region).await?;
    every_acked_event_is_stored_once(&clickhouse, &ledger, "ch", Limit::seconds(120)).await?;
    ns.done().await
}
