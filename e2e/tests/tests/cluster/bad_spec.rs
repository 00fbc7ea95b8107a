//! A spec that cannot work says why within seconds, at the API server where it can, on the object where it cannot.

use std::time::Instant;

use anyhow::ensure;
use meridian_e2e::{Limit, TestNamespace, eventually};

const SECONDS: u64 = 10;

async fn stalls(ns: &TestNamespace, kind: &str, name: &str, words: &[&str]) -> anyhow::Result<()> {
    let start = Instant::now();
    eventually(&format!("{kind}/{name} says what is wrong"), Limit::seconds(SECONDS), async || {
        let (status, reason, message) = ns.kubectl.condition(kind, name, "Stalled").await?;
        ensure!(status == "True", "Stalled is {status}");
        for word in words {
            ensure!(format!("{reason} {message}").contains(word), "{reason}: {message} (expected {word})");
        }
        let ready = ns.kubectl.condition(kind, name, "Ready").await?.0;
        ensure!(ready == "False", "Ready is {ready}");
        Ok(())
    })
    .await?;
    println!("    {kind}/{name}: its reason after {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::test]
async fn a_bad_spec_shows_its_reason_within_seconds() -> anyhow::Result<()> {
    let ns = TestNamespace::create("bad_spec").await?;
    let k = &ns.kubectl;

    let both = "apiVersion: billing.meridian.dev/v1alpha1\nkind: BillingRegion\nmetadata: {name: bad}\nspec:\n  location: eu-central-1\n  stores: {redis: {managed: {}, external: {host: r}}}\n";
    let refused = k.apply(both).await.err().map(|e| e.to_string()).unwrap_or_default();
    ensure!(refused.contains("redis"), "two ways to run a store are refused by the API server: {refused}");

    let missing = "apiVersion: billing.meridian.dev/v1alpha1\nkind: BillingRegion\nmetadata: {name: bad}\nspec:\n  location: eu-central-1\n  profile: Dev\n  deletionPolicy: Delete\n  stores: {redis: {external: {host: redis.example, credentialsSecretRef: {name: not-there}}}}\n";
    k.apply(missing).await?;
    eventually("the region names the missing Secret", Limit::seconds(SECONDS), async || {
        let (status, reason, message) = k.condition("br", "bad", "Ready").await?;
        ensure!(status == "False" && message.contains("not-there"), "{status} {reason}: {message}");
        Ok(())
    })
    .await?;
    // A process that has not come to its signal handlers yet sits out its grace period, a minute.
    k.run(&["delete", "br", "bad", "--timeout=150s"]).await?;

    // Tiers that overlap cannot be seen by the schema; the plan itself says so.
    let tiers = "apiVersion: billing.meridian.dev/v1alpha1\nkind: Plan\nmetadata: {name: tiers}\nspec:\n  regionRef: {name: none}\n  currency: USD\n  interval: {unit: Month, count: 1}\n  prices:\n  - name: calls\n    meterRef: {name: api-calls}\n    graduated:\n      tiers: [{upTo: \"10\", unitAmount: \"1\"}, {upTo: \"5\", unitAmount: \"2\"}, {unitAmount: \"3\"}]\n";
    k.apply(tiers).await?;
    stalls(&ns, "bplan", "tiers", &["tiers", "upTo"]).await?;
    ns.done().await
}
