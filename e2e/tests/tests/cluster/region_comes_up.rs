//! `kubectl apply` of the samples gives a whole region, and its objects tell the truth about it.

use std::time::Instant;

use anyhow::ensure;
use meridian_e2e::{Region, RegionSpec, TestNamespace};

#[tokio::test]
async fn a_region_comes_up() -> anyhow::Result<()> {
    let ns = TestNamespace::create("a_region_comes_up").await?;
    let k = &ns.kubectl;
    let start = Instant::now();
    Region::up(&ns, &RegionSpec::default()).await?;
    println!("    create to Ready: {:.1} s", start.elapsed().as_secs_f64());

    let region = k.get("br", "demo").await?;
    ensure!(
        region["status"]["observedGeneration"] == region["metadata"]["generation"],
        "the status is of this spec"
    );
    for condition in ["Ready", "Available"] {
        ensure!(k.condition("br", "demo", condition).await?.0 == "True", "{condition}");
    }
    for condition in ["Reconciling", "Stalled"] {
        ensure!(k.condition("br", "demo", condition).await?.0 == "False", "{condition}");
    }

    let namespace: serde_json::Value =
        serde_json::from_str(&k.run(&["get", "namespace", ns.name(), "-o", "json"]).await?)?;
    let enforce = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    ensure!(enforce == "restricted", "PodSecurity is {enforce}");

    // Every pod of ours runs under an account of its own, without a token that nothing uses.
    let pods = k.list("pods", Some("billing.meridian.dev/region=demo")).await?;
    ensure!(pods.len() >= 11, "{} pods", pods.len());
    for pod in &pods {
        let name = &pod["metadata"]["name"];
        ensure!(pod["spec"]["automountServiceAccountToken"] == false, "{name} mounts a token");
        ensure!(pod["spec"]["serviceAccountName"] != "default", "{name} runs as the default account");
    }

    let table = k.run(&["get", "br,mtr,bplan,tnt"]).await?;
    println!("{table}");
    let restarts =
        pods.iter().flat_map(|p| p["status"]["containerStatuses"].as_array().cloned().unwrap_or_default());
    let restarted: Vec<_> = restarts.filter(|c| c["restartCount"] != 0).map(|c| c["name"].clone()).collect();
    ensure!(restarted.is_empty(), "containers restarted while the region came up: {restarted:?}");
    ns.done().await
}
