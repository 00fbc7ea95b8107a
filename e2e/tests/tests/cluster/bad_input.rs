//! Bad input is refused with a clear error, and nothing that came with it is lost.

use anyhow::{Context, ensure};
use meridian_e2e::{ClickHouse, Limit, Region, RegionSpec, TestNamespace, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Sends one event beside a good one: the good one is accepted, the bad one is refused with `code`.
async fn refused(region: &Region, n: usize, bad: Value, code: &str) -> anyhow::Result<()> {
    let (status, body) = region.send(&[meridian_e2e::event("good", n), bad.clone()]).await?;
    ensure!(status == 202 && body["accepted"] == 1 && body["rejected"] == 1, "{bad}: {status} {body}");
    let result = &body["results"][1];
    ensure!(result["code"] == code, "{bad}: {result} (expected {code})");
    ensure!(result["detail"].as_str().is_some_and(|d| d.len() > 10), "{bad}: no explanation in {result}");
    Ok(())
}

async fn answer(request: reqwest::RequestBuilder) -> anyhow::Result<(StatusCode, String)> {
    let response = request.send().await?;
    Ok((response.status(), response.text().await?))
}

#[tokio::test]
async fn bad_input_is_refused_and_loses_nothing() -> anyhow::Result<()> {
    let ns = TestNamespace::create("bad_input").await?;
    let region = Region::up(&ns, &RegionSpec::default()).await?;
    let post = |body: &str| {
        region
            .ingest_request(Method::POST, "/v1/events")
            .header("content-type", "application/json")
            .body(body.to_owned())
    };

    for malformed in ["{", "[{]", "{\"id\": NaN}", "\u{0}", ""] {
        let (status, text) = answer(post(malformed)).await?;
        ensure!(status == 400 && text.contains("code"), "{malformed:?}: {status} {text}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let (status, text) = answer(post(&deep)).await?;
    ensure!(status.is_client_error() && text.contains("malformed_event"), "10,000 brackets: {status} {text}");

    let now = jiff::Timestamp::now();
    let old = now - jiff::SignedDuration::from_hours(5 * 366 * 24);
    let ahead = now + jiff::SignedDuration::from_hours(48);
    let with = |key: &str, value: Value| {
        let mut event = meridian_e2e::event("bad", 1);
        event[key] = value;
        event
    };
    refused(&region, 1, with("time", json!(old.to_string())), "too_old").await?;
    refused(&region, 2, with("time", json!(ahead.to_string())), "too_far_ahead").await?;
    refused(&region, 3, with("tenant", json!("globex")), "wrong_tenant").await?;

    let big = with("properties", json!({"path": "x".repeat(70_000)}));
    refused(&region, 4, big, "too_large").await?;
    let body_over_the_limit = format!("[{}]", vec![json!("x".repeat(60_000)).to_string(); 80].join(","));
    ensure!(answer(post(&body_over_the_limit)).await?.0 == 413, "a body over the limit");
    let too_many: Vec<Value> = (0..1001).map(|n| meridian_e2e::event("many", n)).collect();
    ensure!(region.send(&too_many).await?.0 == 413, "1,001 events");

    // A gigabyte of zeros in a megabyte of gzip is cut off at the limit, not unpacked.
    let bomb = gzip_of_zeros(1 << 30);
    let request =
        region.ingest_request(Method::POST, "/v1/events").header("content-type", "application/json");
    let (status, text) = answer(request.header("content-encoding", "gzip").body(bomb)).await?;
    ensure!(status == 413, "a gzip bomb: {status} {text}");

    let unknown_key = format!("mrd_{}", "0".repeat(43));
    let (status, text) = answer(region.ingest_request_with(&unknown_key, "/v1/events").body("[]")).await?;
    ensure!(status == 401 && text.contains("code"), "a wrong key: {status} {text}");

    // What can be stored but not counted is quarantined with its reason, not dropped.
    let unknown =
        json!({"id": "bad-unknown", "type": "no-such-type", "time": meridian_e2e::event("x", 1)["time"]});
    let (status, body) = region.send(&[unknown]).await?;
    ensure!(status == 202 && body["accepted"] == 1, "{status} {body}");
    let clickhouse = ClickHouse::open(&region).await?;
    eventually("an event of an unknown type is quarantined", Limit::seconds(60), async || {
        let page = region.get("/v1/quarantine").await?;
        let found = page["data"].as_array().into_iter().flatten().find(|q| q["id"] == "bad-unknown").cloned();
        let found = found.with_context(|| format!("quarantine is {page}"))?;
        ensure!(found["reason"] == "unknown_meter", "{found}");
        Ok(())
    })
    .await?;
    eventually("the good events that came along are stored", Limit::seconds(60), async || {
        let rows = clickhouse.rows("processed_events", "good").await?;
        ensure!(rows == 4, "{rows} of 4");
        Ok(())
    })
    .await?;
    other_tenants_see_nothing(&ns, &region).await?;
    a_revoked_key_is_refused(&ns, &region).await?;
    ns.done().await
}

/// A gzip stream of that many zero bytes, made by the tool that everybody has.
fn gzip_of_zeros(bytes: u64) -> Vec<u8> {
    let script = format!("head -c {bytes} /dev/zero | gzip -1");
    std::process::Command::new("sh").args(["-c", &script]).output().map(|o| o.stdout).unwrap_or_default()
}

async fn other_tenants_see_nothing(ns: &TestNamespace, region: &Region) -> anyhow::Result<()> {
    let globex = "apiVersion: billing.meridian.dev/v1alpha1\nkind: Tenant\nmetadata: {name: globex}\nspec:\n  regionRef: {name: demo}\n  apiKeys: [{name: default, secretRef: {name: globex-key}}]\n";
    ns.kubectl.apply(globex).await?;
    let key = eventually("the second tenant has a key that works", Limit::seconds(60), async || {
        let key = ns.kubectl.secret("globex-key", "apiKey").await?;
        let (status, text) = answer(region.api_request_with(&key, "/v1/invoices")).await?;
        ensure!(status == 200, "{status} {text}");
        Ok(key)
    })
    .await?;
    let invoice = region.close_month(Limit::seconds(120)).await?;
    let path = format!("/v1/invoices/{}", invoice["id"].as_str().context("id")?);
    ensure!(region.get(&path).await.is_ok(), "the invoice is there for its tenant");
    let (status, text) = answer(region.api_request_with(&key, &path)).await?;
    ensure!(status == 404, "another tenant's invoice: {status} {text}");
    let (_, list) = answer(region.api_request_with(&key, "/v1/invoices")).await?;
    ensure!(!list.contains("inv_"), "another tenant's list shows {list}");
    Ok(())
}

async fn a_revoked_key_is_refused(ns: &TestNamespace, region: &Region) -> anyhow::Result<()> {
    ensure!(region.send(&[meridian_e2e::event("last", 1)]).await?.0 == 202, "the key works before");
    ns.kubectl.run(&["patch", "tnt", "acme", "--type=merge", "-p", r#"{"spec":{"apiKeys":[]}}"#]).await?;
    eventually("a revoked key is refused", Limit::seconds(30), async || {
        let (status, body) = region.send(&[meridian_e2e::event("last", 2)]).await?;
        ensure!(status == 401, "{status} {body}");
        Ok(())
    })
    .await
}
