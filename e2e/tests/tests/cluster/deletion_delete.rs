//! A region deleted with `Delete` leaves nothing.

use anyhow::ensure;
use meridian_e2e::{Limit, Region, RegionSpec, TestNamespace, eventually};

#[tokio::test]
async fn delete_leaves_nothing() -> anyhow::Result<()> {
    let ns = TestNamespace::create("delete_leaves_nothing").await?;
    let k = &ns.kubectl;
    Region::up(&ns, &RegionSpec::default()).await?;
    k.run(&["delete", "tnt,mtr,bplan,br", "--all", "--timeout=120s"]).await?;
    let kinds = "statefulsets,deployments,jobs,pods,services,configmaps,secrets,serviceaccounts,networkpolicies,\
                 persistentvolumeclaims,poddisruptionbudgets,replicasets";
    eventually("nothing is left", Limit::seconds(120), async || {
        let left: Vec<String> = k
            .list(kinds, None)
            .await?
            .iter()
            .map(|o| format!("{}/{}", o["kind"], o["metadata"]["name"]).replace('"', ""))
            .filter(|o| o != "ConfigMap/kube-root-ca.crt" && o != "ServiceAccount/default")
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    ns.done().await
}
