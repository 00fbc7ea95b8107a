//! The whole way: events in, one invoice out, and from each of its lines back to the events.

use std::sync::Arc;

use anyhow::{Context, ensure};
use meridian_e2e::{Limit, Region, RegionSpec, TestNamespace};
use serde_json::{Value, json};

const EVENTS: usize = 12_000;

#[tokio::test]
async fn usage_becomes_an_invoice() -> anyhow::Result<()> {
    let ns = TestNamespace::create("usage_becomes_an_invoice").await?;
    let region = Arc::new(Region::up(&ns, &RegionSpec::default()).await?);
    for first in (0..EVENTS).step_by(1000) {
        let events: Vec<Value> = (first..first + 1000).map(|n| meridian_e2e::event("use", n)).collect();
        let (status, body) = region.send(&events).await?;
        ensure!(status == 202 && body["accepted"] == 1000, "{status} {body}");
    }

    // Closed twice at once and once more after: one invoice.
    let (a, b) =
        tokio::join!(region.close_month(Limit::seconds(120)), region.close_month(Limit::seconds(120)));
    let (invoice, again) = (a?, b?);
    ensure!(invoice["id"] == again["id"], "two closings made two invoices");
    ensure!(
        region.close_month(Limit::seconds(60)).await?["id"] == invoice["id"],
        "a third closing made another"
    );
    ensure!(invoice["total"] == "120.00" && invoice["currency"] == "USD", "{invoice}");

    let lines = invoice["lines"].as_array().context("lines")?;
    let sum: f64 = lines.iter().filter_map(|l| l["amount"].as_str()?.parse::<f64>().ok()).sum();
    ensure!((sum - 120.0).abs() < 1e-9, "the lines sum to {sum}");
    let usage = lines.iter().find(|l| l["role"] == "usage").context("a usage line")?;
    ensure!(usage["quantity"] == "12000" && usage["amount"] == "20.00", "{usage}");

    // Back from the line to each event, page by page.
    let (invoice_id, line_id) = (invoice["id"].as_str().context("id")?, usage["id"].as_str().context("id")?);
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor: Option<String> = None;
    loop {
        let after = cursor.map(|c| format!("&cursor={c}")).unwrap_or_default();
        let page = region
            .get(&format!("/v1/invoices/{invoice_id}/lines/{line_id}/events?limit=1000{after}"))
            .await?;
        for event in page["data"].as_array().context("events")? {
            seen.insert(event["id"].as_str().context("an id")?.to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    ensure!(seen.len() == EVENTS, "the line leads back to {} events", seen.len());

    // An issued invoice cannot be issued again into something else, and shows in the list once.
    let id = invoice["id"].as_str().context("id")?;
    let issued = region.post(&format!("/v1/invoices/{id}/issue"), json!({})).await?;
    ensure!(issued["number"] == invoice["number"], "issuing twice changed the number");
    ns.done().await
}
