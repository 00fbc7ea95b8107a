//! The operator is killed at random while a region comes up: the region comes up all the same, the same as without.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use meridian_e2e::{Kubectl, Region, RegionSpec, TestNamespace, kill_container};

#[tokio::test]
async fn a_region_comes_up_while_the_operator_is_killed() -> anyhow::Result<()> {
    let ns = TestNamespace::create("operator_killed").await?;
    let spec = RegionSpec::default();
    Region::apply(&ns, &spec).await?;
    let operator = Kubectl::new("meridian-system");
    let mut kills = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(45) {
        let pause = Duration::from_millis(500 + u64::from(rand::random::<u16>()) % 6000);
        tokio::time::sleep(pause).await;
        let pods = operator.list("pods", Some("app.kubernetes.io/name=meridian-operator")).await?;
        let running =
            pods.iter().find(|p| p["status"]["containerStatuses"][0]["state"]["running"].is_object());
        if let Some(pod) = running {
            let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
            kill_container(&operator, name).await?;
            kills += 1;
            // The kubelet backs off from a container that dies often; a new pod starts afresh.
            operator.run(&["delete", "pod", name, "--grace-period=0", "--force", "--wait=false"]).await?;
        }
    }
    println!("    the operator was killed {kills} times");
    ensure!(kills >= 3, "only {kills} kills: the test shows nothing");
    Region::ready(&ns, &spec).await?;
    // Nothing was made twice: one object for each component, one migration Job.
    let jobs = ns.kubectl.list("jobs", Some("billing.meridian.dev/region=demo")).await?;
    ensure!(jobs.len() == 1, "{} migration Jobs", jobs.len());
    ns.done().await
}
