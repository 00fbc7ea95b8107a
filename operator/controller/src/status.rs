//! The one place that writes a status, and the Events that go with it.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use meridian_crds::conditions::ConditionType;
use meridian_desired::conditions::find;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::apply::STATUS;
use crate::context::Context;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("writing the status")]
    Write(#[source] kube::Error),
    #[error("writing the status took too long")]
    TooLong,
}

/// Writes `status` by server-side apply. With the uid: an object that was made anew under this name does not get it.
pub async fn write<K>(ctx: &Context, object: &K, status: &impl Serialize) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.uid()},
        "status": status,
    });
    // Nobody else has a say in a status.
    let params = PatchParams::apply(STATUS).force();
    let patch = Patch::Apply(&body);
    let write = api.patch_status(&name, &params, &patch);
    match tokio::time::timeout(ctx.pace.status_write, write).await {
        Err(_) => Err(Error::TooLong),
        Ok(Ok(_)) => Ok(()),
        // The object is gone, or is another one: there is nothing to report on.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
        Ok(Err(error)) => Err(Error::Write(error)),
    }
}

/// Tells of a change of the headline in an Event, once. An Event that cannot be written is lost: the status has the facts.
pub async fn tell<K>(ctx: &Context, object: &K, before: &[Condition], after: &[Condition])
where
    K: Resource<DynamicType = ()>,
{
    if let Some(event) = event(before, after)
        && let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await
    {
        tracing::warn!(%error, object = object.name_any(), "an Event could not be written");
    }
}

fn event(before: &[Condition], after: &[Condition]) -> Option<Event> {
    let says = |conditions: &[Condition], type_| {
        find(conditions, type_).map(|found| (found.status.clone(), found.reason.clone()))
    };
    let ready = find(after, ConditionType::Ready)?;
    if says(before, ConditionType::Ready) == says(after, ConditionType::Ready) {
        return None;
    }
    let stalled = find(after, ConditionType::Stalled).is_some_and(|stalled| stalled.status == "True");
    let failing = ready.reason == meridian_crds::conditions::Reason::PodsFailing.as_str();
    // The steps on the way are in the status; an Event is for what ends a wait or needs a hand.
    let type_ = match (ready.status.as_str(), stalled || failing) {
        ("True", _) => EventType::Normal,
        (_, true) => EventType::Warning,
        (_, false) => return None,
    };
    Some(Event {
        type_,
        reason: ready.reason.clone(),
        note: Some(ready.message.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}
