//! Carrying out what `desired` returned: apply what differs, leave what is not ours, prune what is wanted no longer.
//!
//! Server-side apply with one field manager for each concern, first without force. A conflict means that somebody else wrote a
//! field of ours: it is reported, and then only our own fields are forced, and not more often than [`Pace::force`], so that two
//! writers who disagree do not make a storm. An object that already says what we want costs no request.
//!
//! Before an object is created its name is asked for: the caches hold only what carries our label, and a foreign object with
//! that name must be left as it is.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::Status;
use meridian_crds::conditions::Reason;
use meridian_desired::object::{Key, Kind, Object};
use meridian_desired::observed::{Observed, Ownership, json, ownership};
use meridian_desired::status::Obstacle;
use meridian_desired::subset::is_subset;

use crate::context::Context;

/// Field managers: one for each concern, so that what one stops applying is taken back without touching the others.
pub const OBJECTS: &str = "meridian-operator/objects";
pub const NAMESPACE: &str = "meridian-operator/namespace";
pub const VOLUMES: &str = "meridian-operator/volumes";
pub const STATUS: &str = "meridian-operator/status";

/// For whom objects are applied.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub kind: &'static str,
    pub uid: &'a str,
    pub namespace: &'a str,
    pub region: &'a str,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {key}")]
    Get { key: Key, source: kube::Error },
    #[error("applying {key}")]
    Apply { key: Key, source: kube::Error },
    #[error("deleting {key}")]
    Delete { key: Key, source: kube::Error },
}

/// What applying one object came to.
#[derive(Debug)]
enum Applied {
    Unchanged,
    Changed,
    Forced(Obstacle),
    Not(Obstacle),
}

/// Applies `objects` in their order. What stands in the way of one does not hold up the others.
pub async fn apply_all(
    ctx: &Context,
    owner: Owner<'_>,
    observed: &Observed,
    objects: &[Object],
) -> Result<Vec<Obstacle>, Error> {
    let mut obstacles = Vec::new();
    for object in objects {
        let applied = apply(ctx, owner, observed, object).await?;
        let outcome = match applied {
            Applied::Unchanged => "unchanged",
            Applied::Changed => "changed",
            Applied::Forced(obstacle) => {
                obstacles.push(obstacle);
                "forced"
            }
            Applied::Not(obstacle) => {
                obstacles.push(obstacle);
                "not_applied"
            }
        };
        ctx.metrics.applied(object.key.kind.name(), outcome);
    }
    Ok(obstacles)
}

async fn apply(
    ctx: &Context,
    owner: Owner<'_>,
    observed: &Observed,
    object: &Object,
) -> Result<Applied, Error> {
    if observed.matches(object) {
        return Ok(Applied::Unchanged);
    }
    let key = &object.key;
    let api = api(ctx, owner.namespace, key.kind);
    let stored = match observed.get(key) {
        Some(stored) => Some(DynamicObject::clone(stored)),
        None => api.get_opt(&key.name).await.map_err(|source| Error::Get { key: key.clone(), source })?,
    };
    if let Some(stored) = &stored {
        if let Some(obstacle) = in_the_way(owner, key, stored) {
            return Ok(Applied::Not(obstacle));
        }
        if is_subset(&object.body, &json(stored)) {
            return Ok(Applied::Unchanged);
        }
    }
    send(ctx, owner, &api, object).await
}

/// Why an object that is there cannot be applied to.
pub fn in_the_way(owner: Owner<'_>, key: &Key, stored: &DynamicObject) -> Option<Obstacle> {
    if key.kind == Kind::Namespace {
        return None;
    }
    match ownership(stored, owner.uid, owner.kind, owner.region) {
        Ownership::Foreign => Some(Obstacle {
            reason: Reason::NameConflict,
            message: format!(
                "{key} exists and is not ours, so it is left untouched: delete or rename it, or give this {} another name.",
                owner.kind
            ),
        }),
        Ownership::Former => {
            Some(waits(format!("Waits until {key} of a former {} of this name is gone.", owner.kind)))
        }
        Ownership::Ours if stored.metadata.deletion_timestamp.is_some() => {
            Some(waits(format!("Waits until {key}, which is being deleted, is gone.")))
        }
        Ownership::Ours => None,
    }
}

fn waits(message: String) -> Obstacle {
    Obstacle { reason: Reason::Progressing, message }
}

async fn send(
    ctx: &Context,
    owner: Owner<'_>,
    api: &Api<DynamicObject>,
    object: &Object,
) -> Result<Applied, Error> {
    let key = &object.key;
    let params = PatchParams::apply(manager(key.kind));
    let failed = |source| Error::Apply { key: key.clone(), source };
    let conflict = match api.patch(&key.name, &params, &Patch::Apply(&object.body)).await {
        Ok(_) => return Ok(Applied::Changed),
        Err(kube::Error::Api(status)) if is_field_conflict(&status) => status,
        Err(kube::Error::Api(status)) if is_refusal(&status) => {
            return Ok(Applied::Not(refused(key, &status)));
        }
        Err(source) => return Err(failed(source)),
    };
    let obstacle = field_conflict(key, &conflict);
    let memory = format!("{}/{key}", owner.uid);
    if ctx.memory.wait(&memory, ctx.pace.force).is_some() {
        return Ok(Applied::Not(obstacle));
    }
    tracing::warn!(object = %key, namespace = owner.namespace, conflict = conflict.message, "forcing our fields");
    match api.patch(&key.name, &params.force(), &Patch::Apply(&object.body)).await {
        Ok(_) => {
            ctx.memory.wrote(&memory);
            Ok(Applied::Forced(obstacle))
        }
        Err(kube::Error::Api(status)) if is_refusal(&status) => Ok(Applied::Not(refused(key, &status))),
        Err(source) => Err(failed(source)),
    }
}

const fn manager(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => NAMESPACE,
        Kind::PersistentVolumeClaim => VOLUMES,
        Kind::NetworkPolicy
        | Kind::ServiceAccount
        | Kind::Secret
        | Kind::ConfigMap
        | Kind::Service
        | Kind::PodDisruptionBudget
        | Kind::StatefulSet
        | Kind::Job
        | Kind::Deployment
        | Kind::Pod => OBJECTS,
    }
}

fn is_field_conflict(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 409 && causes.into_iter().any(|cause| cause.reason == "FieldManagerConflict")
}

fn field_conflict(key: &Key, status: &Status) -> Obstacle {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<&str> = causes.map(|cause| cause.field.as_str()).collect();
    Obstacle {
        reason: Reason::FieldConflict,
        message: format!("Somebody else writes {} of {key}: the operator sets it back.", fields.join(", ")),
    }
}

/// The server understood and said no: trying again at once changes nothing.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code, 400 | 403 | 422)
}

fn refused(key: &Key, status: &Status) -> Obstacle {
    Obstacle { reason: Reason::Refused, message: format!("The API server refused {key}: {}", status.message) }
}

/// Deletes objects by key where they are still the ones that were seen. What is gone is gone.
pub async fn delete_all(
    ctx: &Context,
    namespace: &str,
    observed: &Observed,
    keys: &[Key],
) -> Result<(), Error> {
    for key in keys {
        let Some(stored) = observed.get(key).filter(|stored| stored.metadata.deletion_timestamp.is_none())
        else {
            continue;
        };
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: stored.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api(ctx, namespace, key.kind).delete(&key.name, &params).await {
            Ok(_) => ctx.metrics.applied(key.kind.name(), "deleted"),
            // Gone, or another object of the same name that nobody has looked at yet.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(source) => return Err(Error::Delete { key: key.clone(), source }),
        }
    }
    Ok(())
}

/// Objects of `kind` in `namespace`.
pub fn api(ctx: &Context, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    match kind {
        Kind::Namespace => Api::all_with(ctx.client.clone(), &kind.api_resource()),
        _ => Api::namespaced_with(ctx.client.clone(), namespace, &kind.api_resource()),
    }
}
