//! How far each component has come, read off its workload and its pods.
//!
//! Reasons and messages are chosen so that they stay the same while nothing changes: the kubelet's own texts count seconds
//! and restarts, and would write a new status for each.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use meridian_crds::conditions::Reason;

use crate::component::Component;
use crate::credentials::Lack;
use crate::object::{Key, Kind, Object};
use crate::observed::Observed;

/// The state of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// As the spec says, and up.
    pub ready: bool,
    /// At least one pod serves, of whatever version.
    pub available: bool,
    pub reason: Reason,
    pub message: String,
}

impl Health {
    pub fn ready(reason: Reason, message: impl Into<String>) -> Self {
        Health { ready: true, available: true, reason, message: message.into() }
    }

    pub fn waiting(reason: Reason, message: impl Into<String>) -> Self {
        Health { ready: false, available: false, reason, message: message.into() }
    }
}

/// A new pod may fail for this long before anybody is told: images are pulled, stores it needs are starting.
pub const POD_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The numbers of a workload that count.
struct Workload {
    wanted: i32,
    ready: i32,
    up_to_date: bool,
    trouble: Option<String>,
}

/// The health of a store that somebody else runs: all that is known of it is whether its Secrets are there.
pub fn external(component: Component, lack: Option<&Lack>) -> Health {
    let title = component.title();
    match lack {
        None => {
            Health::ready(Reason::External, format!("{title} is external: the operator runs nothing for it."))
        }
        Some(Lack::Secret { name, keys }) => Health::waiting(
            Reason::SecretMissing,
            format!(
                "{title} is external and its Secret {name} does not exist in this namespace: create it, with {}.",
                keys.join(" and ")
            ),
        ),
        Some(Lack::Keys { name, keys }) => Health::waiting(
            Reason::SecretInvalid,
            format!(
                "{title} is external and its Secret {name} lacks {}: add what is missing.",
                keys.join(" and ")
            ),
        ),
    }
}

/// The health of a store that the operator runs. `wanted` is its StatefulSet.
pub fn store(observed: &Observed, component: Component, wanted: &Object, now: Timestamp) -> Health {
    let workload = observed.stateful_set(&wanted.key.name).map(|set| stateful_set(&set));
    judge(observed, component, wanted, workload, now)
}

/// The health of a service. `wanted` is its Deployment.
pub fn service(observed: &Observed, component: Component, wanted: &Object, now: Timestamp) -> Health {
    let workload = observed.deployment(&wanted.key.name).map(|deployment| self::deployment(&deployment));
    judge(observed, component, wanted, workload, now)
}

fn judge(
    observed: &Observed,
    component: Component,
    wanted: &Object,
    workload: Option<Workload>,
    now: Timestamp,
) -> Health {
    let title = component.title();
    let Some(Workload { wanted: replicas, ready, up_to_date, trouble }) = workload else {
        return Health::waiting(Reason::Progressing, format!("{title} is being created."));
    };
    let available = ready > 0;
    // What we want may not have reached the server, or the status may still be about what was before.
    if observed.matches(wanted) && up_to_date && ready >= replicas {
        return match replicas {
            0 => Health {
                available: false,
                ..Health::ready(Reason::ScaledToZero, format!("{title} is scaled to zero."))
            },
            _ => Health::ready(Reason::Succeeded, format!("{title} is ready.")),
        };
    }
    let trouble = trouble.or_else(|| observed.pods(component).iter().find_map(|pod| pod_trouble(pod, now)));
    let (reason, message) = match trouble {
        Some(trouble) => (Reason::PodsFailing, trouble),
        None if observed.matches(wanted) => {
            (Reason::WaitingForPods, format!("{title} waits for its pods to become ready."))
        }
        None => (Reason::Progressing, format!("{title} is being changed.")),
    };
    Health { ready: false, available, reason, message }
}

fn stateful_set(set: &StatefulSet) -> Workload {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = set.status.clone().unwrap_or_default();
    let current =
        status.observed_generation.is_some() && status.observed_generation == set.metadata.generation;
    Workload {
        wanted,
        ready: status.ready_replicas.unwrap_or(0),
        up_to_date: current && status.updated_replicas.unwrap_or(0) >= wanted,
        trouble: None,
    }
}

fn deployment(deployment: &Deployment) -> Workload {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let current =
        status.observed_generation.is_some() && status.observed_generation == deployment.metadata.generation;
    let refused = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| is(&condition.type_, "ReplicaFailure") && is(&condition.status, "True"));
    Workload {
        wanted,
        ready: status.available_replicas.unwrap_or(0),
        // Pods of the former template may still be there.
        up_to_date: current
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.replicas.unwrap_or(0) <= wanted,
        trouble: refused.map(|condition| {
            let message = condition.message.clone().unwrap_or_default();
            format!("Pods cannot be created: {message}")
        }),
    }
}

/// k8s-openapi has these fields optional in one version and required in another.
fn is(value: &impl PartialText, text: &str) -> bool {
    value.is(text)
}

trait PartialText {
    fn is(&self, text: &str) -> bool;
}

impl PartialText for String {
    fn is(&self, text: &str) -> bool {
        self == text
    }
}

impl PartialText for Option<String> {
    fn is(&self, text: &str) -> bool {
        self.as_deref() == Some(text)
    }
}

/// Why a pod will not become ready by waiting, and what to do.
pub fn pod_trouble(pod: &Pod, now: Timestamp) -> Option<String> {
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    if pod.metadata.deletion_timestamp.is_some() || now.duration_since(created) < POD_GRACE {
        return None;
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.is("Unschedulable")
    });
    if unschedulable {
        return Some(format!(
            "Pod {name} fits on no node: add nodes, or lower its resources in the spec (see `kubectl describe pod {name}`)."
        ));
    }
    let containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers.filter(|container| !container.ready).find_map(|container| container_trouble(name, container))
}

fn container_trouble(pod: &str, container: &ContainerStatus) -> Option<String> {
    let ContainerStatus { name, image, restart_count, state, last_state, .. } = container;
    let waiting =
        state.as_ref().and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
    let out_of_memory = [state, last_state]
        .into_iter()
        .flatten()
        .any(|state| state.terminated.as_ref().is_some_and(|terminated| terminated.reason.is("OOMKilled")));
    match waiting {
        Some(
            "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName"
            | "ImageInspectError",
        ) => Some(format!(
            "Pod {pod} cannot get its image {image}: check the image catalogue and the registry."
        )),
        Some("CreateContainerConfigError") => Some(format!(
            "Pod {pod} cannot start: a Secret or ConfigMap that it reads is missing or lacks a key \
             (see `kubectl describe pod {pod}`)."
        )),
        Some("CreateContainerError" | "RunContainerError") => {
            Some(format!("Pod {pod} cannot start its container {name} (see `kubectl describe pod {pod}`)."))
        }
        _ if out_of_memory && *restart_count >= 2 => Some(format!(
            "Container {name} of pod {pod} runs out of memory: raise its memory limit in the spec."
        )),
        // Between two crashes the container runs for a moment: the count does not flap, the state does.
        _ if *restart_count >= 3 => Some(format!(
            "Container {name} of pod {pod} keeps crashing (see `kubectl logs {pod} -c {name} --previous`)."
        )),
        _ => None,
    }
}

/// The health of the migration whose Job is `wanted`.
pub fn migration(observed: &Observed, wanted: &Object, now: Timestamp) -> Health {
    let Key { kind: _, name } = &wanted.key;
    let Some(job) = observed.job(name) else {
        let message = match former_migrations(observed, name).next() {
            Some(_) => "The migration waits until a former one is gone.",
            None => "The migration is about to start.",
        };
        return Health::waiting(Reason::Progressing, message);
    };
    if job_condition(&job, "Complete") {
        return Health::ready(Reason::Succeeded, "The stores have the schemas of this version.");
    }
    if job_condition(&job, "Failed") {
        return Health::waiting(
            Reason::MigrationFailed,
            format!(
                "The migration failed: read `kubectl logs job/{name}`, mend the cause, then `kubectl delete job {name}` to try again."
            ),
        );
    }
    let pods = observed.pods(Component::Migrate);
    let of_this = |pod: &&Pod| {
        pod.metadata.labels.iter().flatten().any(|(key, value)| key == JOB_LABEL && value == name)
    };
    match pods.iter().filter(of_this).find_map(|pod| pod_trouble(pod, now)) {
        Some(trouble) => Health::waiting(Reason::PodsFailing, trouble),
        None => Health::waiting(Reason::Migrating, "The schemas of the stores are being migrated."),
    }
}

/// On the pods of a Job: its name.
const JOB_LABEL: &str = "batch.kubernetes.io/job-name";

/// Migrations other than `name` that have not come through. Two at a time would be one too many.
pub fn former_migrations<'a>(observed: &'a Observed, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let others = observed.of_kind(Kind::Job).filter_map(|object| object.metadata.name.clone());
    others
        .filter(move |other| other != name)
        .filter(|other| observed.job(other).is_some_and(|job| !job_condition(&job, "Complete")))
}

fn job_condition(job: &Job, type_: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}
