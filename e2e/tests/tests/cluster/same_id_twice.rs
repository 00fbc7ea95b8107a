//! An event id bills once, whatever is sent twice: in one request, in two, with another time, with another payload.

use anyhow::ensure;
use meridian_e2e::{ClickHouse, Limit, Region, RegionSpec, TestNamespace, closed_month, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn the_same_id_twice_bills_once() -> anyhow::Result<()> {
    let ns = TestNamespace::create("the_same_id_twice_bills_once").await?;
    let region = Region::up(&ns, &RegionSpec::default()).await?;
    let events: Vec<Value> = (0..500).map(|n| meridian_e2e::event("twice", n)).collect();
    let doubled: Vec<Value> = events.iter().take(250).chain(events.iter().take(250)).cloned().collect();
    for batch in [&events[..], &events[..], &doubled[..]] {
        ensure!(region.send(batch).await?.0 == 202);
    }
    // The same ids a month later, and with another payload.
    let next_month = closed_month().1.to_string();
    let moved: Vec<Value> = events[..100]
        .iter()
        .cloned()
        .map(|mut e| {
            e["time"] = json!(next_month);
            e
        })
        .collect();
    let changed: Vec<Value> = events[100..150]
        .iter()
        .cloned()
        .map(|mut e| {
            e["properties"]["path"] = json!("/other");
            e
        })
        .collect();
    ensure!(region.send(&moved).await?.0 == 202 && region.send(&changed).await?.0 == 202);

    let clickhouse = ClickHouse::open(&region).await?;
    eventually("the conflicts are recorded", Limit::seconds(60), async || {
        let conflicts = clickhouse.rows("event_conflicts", "twice").await?;
        ensure!(conflicts == 150, "{conflicts} conflicts");
        Ok(())
    })
    .await?;
    ensure!(clickhouse.rows("raw_events", "twice").await? == 500, "raw events are unique by id");
    ensure!(clickhouse.rows("processed_events", "twice").await? == 500, "processed events are unique by id");

    let invoice = region.close_month(Limit::seconds(120)).await?;
    let usage = invoice["lines"].as_array().into_iter().flatten().find(|l| l["role"] == "usage").cloned();
    ensure!(usage.as_ref().is_some_and(|u| u["quantity"] == "500"), "{invoice}");
    ensure!(invoice["total"] == "100.00", "500 calls are within the included ones: {invoice}");
    ns.done().await
}
