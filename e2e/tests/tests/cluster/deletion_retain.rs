//! A region deleted with `Retain` keeps its data, and a region of the same name adopts it.

use anyhow::{Context, ensure};
use meridian_e2e::{ClickHouse, Limit, Region, RegionSpec, TestNamespace, eventually};
use serde_json::Value;

#[tokio::test]
async fn retain_keeps_the_data_and_a_region_of_the_same_name_adopts_it() -> anyhow::Result<()> {
    let ns = TestNamespace::create("deletion_retain").await?;
    let k = &ns.kubectl;
    let spec = RegionSpec { deletion_policy: "Retain", ..RegionSpec::default() };
    let region = Region::up(&ns, &spec).await?;
    let events: Vec<Value> = (0..1000).map(|n| meridian_e2e::event("keep", n)).collect();
    ensure!(region.send(&events).await?.0 == 202);
    let clickhouse = ClickHouse::open(&region).await?;
    eventually("the events are stored", Limit::seconds(60), async || {
        ensure!(clickhouse.rows("raw_events", "keep").await? == 1000);
        Ok(())
    })
    .await?;
    let invoice = region.close_month(Limit::seconds(120)).await?;
    drop(clickhouse);

    let volumes_before = volumes(k).await?;
    k.run(&["delete", "br", "demo", "--timeout=120s"]).await?;
    eventually("the pods are gone", Limit::seconds(120), async || {
        let pods = k.list("pods", None).await?;
        ensure!(pods.is_empty(), "{} pods are left", pods.len());
        Ok(())
    })
    .await?;
    ensure!(volumes(k).await? == volumes_before, "the volumes are kept, none is made anew");

    let region = Region::up(&ns, &spec).await?;
    ensure!(volumes(k).await? == volumes_before, "the new region uses the volumes that were kept");
    let clickhouse = ClickHouse::open(&region).await?;
    ensure!(clickhouse.rows("raw_events", "keep").await? == 1000, "the events are there");
    let id = invoice["id"].as_str().context("id")?;
    let kept = region.get(&format!("/v1/invoices/{id}")).await?;
    ensure!(
        kept["number"] == invoice["number"] && kept["total"] == invoice["total"],
        "the invoice is there: {kept}"
    );
    // The dedupe survives too: the same events again change nothing.
    ensure!(region.send(&events).await?.0 == 202);
    ensure!(region.send(&[meridian_e2e::event("keep", 5000)]).await?.0 == 202);
    eventually("a new event is stored", Limit::seconds(60), async || {
        let rows = clickhouse.rows("raw_events", "keep").await?;
        ensure!(rows == 1001, "{rows} rows");
        Ok(())
    })
    .await?;

    // To leave nothing behind, the policy is changed before the end.
    k.run(&["patch", "br", "demo", "--type=merge", "-p", r#"{"spec":{"deletionPolicy":"Delete"}}"#]).await?;
    ns.done().await
}

/// Claims and the volumes that they are bound to, by name.
async fn volumes(k: &meridian_e2e::Kubectl) -> anyhow::Result<Vec<String>> {
    let mut volumes: Vec<String> = k
        .list("pvc", None)
        .await?
        .iter()
        .map(|c| format!("{} {}", c["metadata"]["name"], c["spec"]["volumeName"]))
        .collect();
    volumes.sort();
    ensure!(!volumes.is_empty(), "a region has volumes");
    Ok(volumes)
}
