//! Breaking things on purpose.

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::kubectl::Kubectl;
use crate::wait::{Limit, eventually};

/// SIGKILL to the main process of a pod's first container; the kubelet starts it again in the same pod.
/// `MERIDIAN_CLUSTER_DRIVER` names the driver of the local cluster, whose namespaces hold the container's process.
pub async fn kill_container(k: &Kubectl, pod: &str) -> anyhow::Result<()> {
    let object = k.get("pod", pod).await?;
    let id =
        object["status"]["containerStatuses"][0]["containerID"].as_str().context("the container runs")?;
    let id = id.rsplit('/').next().context("a container id")?;
    let driver =
        std::env::var("MERIDIAN_CLUSTER_DRIVER").context("MERIDIAN_CLUSTER_DRIVER is set by ./test")?;
    let kill = ["enter", "ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", id];
    let output = Command::new(&driver).args(kill).output().await.context(driver)?;
    ensure!(output.status.success(), "kill {pod}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Takes a store of the region `demo` away. The operator would put it right at once, so the region is paused.
pub async fn take_away(k: &Kubectl, store: &str) -> anyhow::Result<()> {
    pause(k, true).await?;
    eventually("the operator has seen the pause", Limit::seconds(30), async || {
        let region = k.get("br", "demo").await?;
        ensure!(region["status"]["observedGeneration"] == region["metadata"]["generation"]);
        Ok(())
    })
    .await?;
    k.run(&["scale", &format!("statefulset/demo-{store}"), "--replicas=0"]).await?;
    k.run(&["wait", "--for=delete", &format!("pod/demo-{store}-0"), "--timeout=90s"]).await.map(drop)
}

/// Ends what [`take_away`] began: unpaused, the operator gives the store back by itself.
pub async fn give_back(k: &Kubectl, store: &str) -> anyhow::Result<()> {
    pause(k, false).await?;
    eventually(&format!("{store} is back"), Limit::seconds(120), async || {
        let set = k.get("statefulset", &format!("demo-{store}")).await?;
        ensure!(set["status"]["readyReplicas"] == 1, "{}", set["status"]);
        Ok(())
    })
    .await
}

async fn pause(k: &Kubectl, paused: bool) -> anyhow::Result<()> {
    let patch = format!(r#"{{"spec":{{"paused":{paused}}}}}"#);
    k.run(&["patch", "br", "demo", "--type=merge", "-p", &patch]).await.map(drop)
}
