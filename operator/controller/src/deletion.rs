//! The end of a BillingRegion.
//!
//! `Retain`, the default, needs no hand of ours: the garbage collector removes what the region owns, and the volumes and
//! credentials, which nothing owns, stay until a region of the same name adopts them. `Delete` removes those too, and only
//! after every pod that writes to them is gone: 1 workloads, 2 volumes and credentials, 3 the finalizer. Each step looks at what
//! is there, so a crash between two of them costs nothing. A `protected` region is kept as it is.

use kube::ResourceExt;
use kube::runtime::controller::Action;
use meridian_crds::BillingRegion;
use meridian_crds::conditions::Reason;
use meridian_crds::region::DeletionPolicy;
use meridian_desired::object::{Key, Kind};
use meridian_desired::observed::{Observed, Ownership, ownership};
use meridian_desired::status::{Findings, status};

use crate::apply::delete_all;
use crate::context::Context;
use crate::finalizer;
use crate::region::{Error, KIND, write_if_news};

/// The finalizer is there while deletion is to be refused, or more to be done than the garbage collector does.
pub async fn keep_finalizer(ctx: &Context, region: &BillingRegion) -> Result<(), Error> {
    let needed = region.spec.protected || region.spec.deletion_policy == DeletionPolicy::Delete;
    Ok(finalizer::set(ctx, region, finalizer::REGION, needed).await?)
}

/// One pass over a region that is being deleted.
pub async fn reconcile(ctx: &Context, region: &BillingRegion) -> Result<Action, Error> {
    if !region.finalizers().iter().any(|name| name == finalizer::REGION) {
        return Ok(Action::await_change());
    }
    if region.spec.protected {
        let message =
            "spec.protected is true: nothing is removed. Set it to false to let the deletion go on.";
        return wait(ctx, region, Reason::DeletionBlocked, message).await;
    }
    if region.spec.deletion_policy == DeletionPolicy::Delete {
        let observed = ctx.caches.observed(&region.namespace().unwrap_or_default(), &region.name_any());
        if let Some(message) = remove(ctx, region, &observed).await? {
            return wait(ctx, region, Reason::Deleting, message).await;
        }
    }
    finalizer::set(ctx, region, finalizer::REGION, false).await?;
    Ok(Action::await_change())
}

/// Takes the next step of `Delete`. None: nothing is left.
async fn remove(
    ctx: &Context,
    region: &BillingRegion,
    observed: &Observed,
) -> Result<Option<&'static str>, Error> {
    let namespace = region.namespace().unwrap_or_default();
    let ours = |kinds: &[Kind]| -> Vec<Key> {
        let of_region = |(key, object): &(&Key, &std::sync::Arc<kube::core::DynamicObject>)| {
            kinds.contains(&key.kind)
                && ownership(object, &region.uid().unwrap_or_default(), KIND, &region.name_any())
                    == Ownership::Ours
        };
        observed.iter().filter(of_region).map(|(key, _)| key.clone()).collect()
    };
    let workloads = ours(&[Kind::Deployment, Kind::StatefulSet, Kind::Job]);
    if !workloads.is_empty() {
        delete_all(ctx, &namespace, observed, &workloads).await?;
        return Ok(Some("Waits until the services and stores have stopped."));
    }
    // A pod belongs to its workload, not to us: only their absence counts.
    if observed.of_kind(Kind::Pod).next().is_some() {
        return Ok(Some("Waits until the pods of the services and stores are gone."));
    }
    let data = ours(&[Kind::PersistentVolumeClaim, Kind::Secret]);
    if !data.is_empty() {
        delete_all(ctx, &namespace, observed, &data).await?;
        return Ok(Some("Waits until the volumes and credentials are gone."));
    }
    Ok(None)
}

async fn wait(ctx: &Context, region: &BillingRegion, reason: Reason, message: &str) -> Result<Action, Error> {
    let after = status(region, &Findings::Deleting(reason, message), jiff::Timestamp::now());
    write_if_news(ctx, region, &after).await?;
    Ok(Action::requeue(ctx.pace.unready))
}
