//! A pod of another namespace cannot reach a store, and can when the policy is taken away: the check is able to fail.

use anyhow::{Context, ensure};
use meridian_e2e::{Limit, Region, RegionSpec, TestNamespace, eventually};

const STORES: [(&str, u16); 7] = [
    ("postgres", 5432),
    ("clickhouse", 8123),
    ("kafka", 9092),
    ("redis", 6379),
    ("buffer", 8000),
    ("objectstore", 7070),
    ("temporal", 7233),
];

#[tokio::test]
async fn a_pod_of_another_namespace_reaches_no_store() -> anyhow::Result<()> {
    let ns = TestNamespace::create("network_isolation").await?;
    let other = TestNamespace::create("network_isolation_other").await?;
    let image =
        std::env::var("MERIDIAN_E2E_TOOLS_IMAGE").context("MERIDIAN_E2E_TOOLS_IMAGE is set by ./test")?;
    other
        .kubectl
        .run(&["run", "client", "--image", &image, "--restart=Never", "--", "sleep", "3600"])
        .await?;
    Region::up(&ns, &RegionSpec::default()).await?;
    other.kubectl.run(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]).await?;

    // curl's exit code: 28 timed out and 7 refused = no way through; anything else = a TCP connection was made.
    let connects = async |component: &str, port: u16| -> anyhow::Result<bool> {
        let host = format!("demo-{component}.{}.svc.cluster.local", ns.name());
        let script = format!("curl -s -o /dev/null -m 3 http://{host}:{port}/; echo $?");
        let code = other.kubectl.run(&["exec", "client", "--", "sh", "-c", &script]).await?;
        match code.trim() {
            "28" | "7" => Ok(false),
            "6" => anyhow::bail!("{host} has no address"),
            _ => Ok(true),
        }
    };
    for (component, port) in STORES {
        ensure!(!connects(component, port).await?, "{component} can be reached from another namespace");
    }
    // ingest is there to be reached; the api's control port is not.
    ensure!(connects("ingest", 8080).await?, "ingest cannot be reached");
    ensure!(connects("api", 8080).await?, "api cannot be reached");
    ensure!(!connects("api", 8081).await?, "the control port can be reached from another namespace");

    // Without the policies the same check must see a way through, or it proves nothing.
    let k = &ns.kubectl;
    k.run(&["patch", "br", "demo", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).await?;
    eventually("the operator has seen the pause", Limit::seconds(30), async || {
        let region = k.get("br", "demo").await?;
        ensure!(region["status"]["observedGeneration"] == region["metadata"]["generation"]);
        Ok(())
    })
    .await?;
    k.run(&["delete", "networkpolicy", "--all"]).await?;
    eventually("a store can be reached without policies", Limit::seconds(20), async || {
        ensure!(connects("redis", 6379).await?, "still closed");
        Ok(())
    })
    .await?;
    // Resumed, the operator puts them back.
    k.run(&["patch", "br", "demo", "--type=merge", "-p", r#"{"spec":{"paused":false}}"#]).await?;
    eventually("the policies are back", Limit::seconds(30), async || {
        ensure!(!connects("redis", 6379).await?, "still open");
        Ok(())
    })
    .await?;
    other.kubectl.run(&["delete", "pod", "client", "--grace-period=0", "--force"]).await?;
    other.done().await?;
    ns.done().await
}
