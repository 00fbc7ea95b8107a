//! Finalizers, where one is needed: an object that has none goes at once, and the garbage collector does the rest.

use std::fmt::Debug;

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::context::Context;

/// On regions whose deletion must be guarded or carried out.
pub const REGION: &str = "billing.meridian.dev/region";
/// On Meters, Plans and Tenants that a region may have.
pub const CATALOGUE: &str = "billing.meridian.dev/catalogue";

#[derive(Debug, thiserror::Error)]
#[error("changing the finalizers")]
pub struct Error(#[from] kube::Error);

/// Sees to it that `object` has the finalizer, or has it not.
pub async fn set<K>(ctx: &Context, object: &K, finalizer: &str, wanted: bool) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug,
{
    let has = object.finalizers().iter().any(|other| other == finalizer);
    if has == wanted {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    if wanted {
        finalizers.push(finalizer.to_owned());
    } else {
        finalizers.retain(|other| other != finalizer);
    }
    // With the resourceVersion: another's finalizer must not be lost, and an object of the same name not be touched.
    let patch = json!({
        "metadata": {"resourceVersion": object.resource_version(), "uid": object.uid(), "finalizers": finalizers},
    });
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        // Gone already: what was to be held back, or let go, is no more.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error(error)),
    }
}
