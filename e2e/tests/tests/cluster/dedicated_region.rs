//! A Dedicated region is the same object with another tenancy, and has one tenant: a second is refused with its reason.

use anyhow::ensure;
use meridian_e2e::{Limit, TestNamespace, eventually};

#[tokio::test]
async fn a_second_tenant_in_a_dedicated_region_is_refused() -> anyhow::Result<()> {
    let ns = TestNamespace::create("dedicated_region").await?;
    let k = &ns.kubectl;
    k.apply("apiVersion: billing.meridian.dev/v1alpha1\nkind: BillingRegion\nmetadata: {name: own}\nspec:\n  location: eu-central-1\n  profile: Dev\n  deletionPolicy: Delete\n  tenancy: {mode: Dedicated, tenantName: acme}\n").await?;
    for tenant in ["acme", "globex"] {
        k.apply(&format!("apiVersion: billing.meridian.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: {tenant}}}\nspec:\n  regionRef: {{name: own}}\n  apiKeys: [{{name: default, secretRef: {{name: {tenant}-key}}}}]\n")).await?;
    }
    eventually("the second tenant is refused", Limit::seconds(15), async || {
        let (status, reason, message) = k.condition("tnt", "globex", "Stalled").await?;
        ensure!(status == "True" && message.contains("acme"), "{status} {reason}: {message}");
        Ok(())
    })
    .await?;
    eventually("the tenant that it is for is Ready", Limit::seconds(300), async || {
        let (status, reason, message) = k.condition("tnt", "acme", "Ready").await?;
        ensure!(status == "True", "{reason}: {message}");
        Ok(())
    })
    .await?;
    ensure!(k.get("secret", "globex-key").await.is_err(), "a refused tenant gets no key");
    ns.done().await
}
