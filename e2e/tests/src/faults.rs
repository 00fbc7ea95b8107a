//! Breaking things on purpose.

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::kubectl::Kubectl;

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

/// Sets the replicas of a StatefulSet or Deployment behind the operator's back. The operator would put it right at once:
/// tests that need a store gone pause the region first.
pub async fn scale(k: &Kubectl, workload: &str, replicas: u32) -> anyhow::Result<()> {
    k.run(&["scale", workload, &format!("--replicas={replicas}")]).await.map(drop)
}
