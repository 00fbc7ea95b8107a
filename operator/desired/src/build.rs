//! From a valid region to its objects, in the order in which they may be applied.
//!
//! Stores → migrated → consumer and worker → api → ingest: each later stage waits until the one before it is as wanted *and*
//! up. A stage that waits keeps what it has: nothing of it is applied, nothing of it is pruned.

use jiff::Timestamp;

use std::collections::{BTreeMap, BTreeSet};

use meridian_crds::conditions::Reason;
use serde_json::json;

use crate::component::Component;
use crate::credentials::Credentials;
use crate::discovery;
use crate::health::{self, Health};
use crate::object::{Key, Kind, Object, region_labels};
use crate::observed::Observed;
use crate::region::{Store, ValidRegion};
use crate::services;
use crate::stores;
use crate::subset::quantity_millis;
use crate::traffic;

/// What is to be done in one pass, and how far the region has come.
#[derive(Clone, Debug)]
pub struct Plan {
    /// To be applied where they differ from what is stored, in this order.
    pub apply: Vec<Object>,
    /// Owned by the region and wanted no longer.
    pub prune: Vec<Key>,
    pub progress: Progress,
}

/// How far every component has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub components: BTreeMap<Component, Health>,
}

/// What waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Stores,
    Migration,
    ConsumerAndWorker,
    Api,
    Ingest,
}

impl Stage {
    const fn of(component: Component) -> Stage {
        match component {
            Component::Postgres
            | Component::ClickHouse
            | Component::Kafka
            | Component::Redis
            | Component::Buffer
            | Component::ObjectStore
            | Component::Temporal => Stage::Stores,
            Component::Migrate => Stage::Migration,
            Component::Consumer | Component::Worker => Stage::ConsumerAndWorker,
            Component::Api => Stage::Api,
            Component::Ingest => Stage::Ingest,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Stage::Stores => "the stores",
            Stage::Migration => "the migration of the schemas",
            Stage::ConsumerAndWorker => "the consumer and the worker",
            Stage::Api => "the api",
            Stage::Ingest => "ingest",
        }
    }
}

/// Plans one pass.
pub fn build(region: &ValidRegion, credentials: &Credentials, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan =
        Plan { apply: Vec::new(), prune: Vec::new(), progress: Progress { components: BTreeMap::new() } };
    let mut wanted: BTreeSet<Key> = BTreeSet::new();
    // Walls before what they protect, and everything that waits for nothing.
    let mut base = Vec::new();
    if region.operator.labels_namespaces {
        base.push(namespace(region));
    }
    base.extend(traffic::policies(region));
    base.push(discovery::secret(region));
    let mut workloads: BTreeMap<Component, Object> = BTreeMap::new();
    for component in Component::ALL {
        for object in component_objects(region, component, credentials, observed) {
            match object.key.kind {
                Kind::StatefulSet | Kind::Deployment | Kind::Job => {
                    workloads.insert(component, object);
                }
                _ => base.push(object),
            }
        }
    }
    base.sort_by_key(|object| object.key.kind);
    wanted.extend(base.iter().chain(workloads.values()).map(|object| object.key.clone()));
    plan.apply = base;

    for component in Component::ALL {
        let waits_for = plan.progress.unfinished_before(Stage::of(component));
        let workload = workloads.remove(&component);
        let health =
            component_health(region, component, workload.as_ref(), waits_for, credentials, observed, now);
        plan.progress.components.insert(component, health);
        if let (Some(workload), None) = (workload, waits_for)
            && (component != Component::Migrate
                || health::former_migrations(observed, &workload.key.name).next().is_none())
        {
            plan.apply.push(workload);
        }
    }
    plan.apply.extend(grown_volumes(region, observed));
    plan.prune = prune(region, &wanted, observed, &plan.progress);
    plan
}

fn component_objects(
    region: &ValidRegion,
    component: Component,
    credentials: &Credentials,
    observed: &Observed,
) -> Vec<Object> {
    if component == Component::Migrate {
        return services::migration(region, credentials).into();
    }
    if let Some(service) = region.services.get(&component) {
        return services::objects(region, component, service, credentials);
    }
    match region.managed(component) {
        Some(managed) => {
            let mut managed = managed.clone();
            // The volume template of a StatefulSet cannot be changed; `grown_volumes` grows the volumes themselves.
            managed.storage = template_storage(region, component, observed).or(managed.storage);
            stores::objects(region, component, &managed, credentials)
        }
        None => Vec::new(),
    }
}

/// The label by which the API server refuses pods that are not `restricted`.
fn namespace(region: &ValidRegion) -> Object {
    Object {
        key: Key { kind: Kind::Namespace, name: region.namespace.clone() },
        body: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": region.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }),
    }
}

fn component_health(
    region: &ValidRegion,
    component: Component,
    workload: Option<&Object>,
    waits_for: Option<Stage>,
    credentials: &Credentials,
    observed: &Observed,
    now: Timestamp,
) -> Health {
    let Some(workload) = workload else {
        return match region.store(component) {
            Some(Store::External(_)) => health::external(component, credentials.lack(component)),
            Some(Store::Managed(_)) | None => Health::waiting(Reason::Unknown, "Not looked at yet."),
        };
    };
    let health = match workload.key.kind {
        Kind::StatefulSet => health::store(observed, component, workload, now),
        Kind::Job => health::migration(observed, workload, now),
        _ => health::service(observed, component, workload, now),
    };
    match waits_for {
        // What waits and is already there keeps running, and says so.
        Some(stage) if !health.ready => Health {
            reason: Reason::WaitingForDependency,
            message: format!("{} waits for {}.", component.title(), stage.title()),
            ..health
        },
        _ => health,
    }
}

impl Progress {
    /// The first stage before `stage` that is not finished.
    fn unfinished_before(&self, stage: Stage) -> Option<Stage> {
        let unfinished =
            self.components.iter().filter(|(_, health)| !health.ready).map(|(part, _)| Stage::of(*part));
        unfinished.filter(|other| *other < stage).min()
    }

    pub fn health(&self, component: Component) -> Option<&Health> {
        self.components.get(&component)
    }

    /// How many of `components` are ready, as `6/7`.
    pub fn count(&self, components: &[Component]) -> String {
        let ready =
            components.iter().filter(|part| self.components.get(part).is_some_and(|health| health.ready));
        format!("{}/{}", ready.count(), components.len())
    }
}

/// The size in the volume template of a store's StatefulSet, when there is one.
fn template_storage(region: &ValidRegion, component: Component, observed: &Observed) -> Option<String> {
    let set = observed.stateful_set(&region.object_name(component))?;
    let claim = set.spec?.volume_claim_templates?.into_iter().next()?;
    Some(claim.spec?.resources?.requests?.get("storage")?.0.clone())
}

/// Volumes that are smaller than the spec asks for. They are grown in place, never made anew.
fn grown_volumes(region: &ValidRegion, observed: &Observed) -> Vec<Object> {
    let mut grown = Vec::new();
    for (component, managed) in region.managed_stores() {
        let Some(storage) = managed.storage.as_deref() else { continue };
        for replica in 0..managed.replicas {
            let name = format!("data-{}-{replica}", region.object_name(component));
            let key = Key { kind: Kind::PersistentVolumeClaim, name };
            let Some(stored) = observed.get(&key) else { continue };
            let has = stored.data.pointer("/spec/resources/requests/storage").and_then(|size| size.as_str());
            if has.and_then(quantity_millis) < quantity_millis(storage) {
                grown.push(Object {
                    body: json!({
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "metadata": {
                            "name": key.name,
                            "namespace": region.namespace,
                            "labels": region_labels(&region.name, Some(component)),
                        },
                        "spec": {"resources": {"requests": {"storage": storage}}},
                    }),
                    key,
                });
            }
        }
    }
    grown
}

/// Objects that this region owns and wants no longer. A former migration that came through stays until the present one has;
/// one that did not is in the way.
fn prune(region: &ValidRegion, wanted: &BTreeSet<Key>, observed: &Observed, progress: &Progress) -> Vec<Key> {
    let migrated = progress.health(Component::Migrate).is_some_and(|health| health.ready);
    let owned = observed.iter().filter(|(_, object)| {
        let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().any(|owner| owner.uid == region.uid) && object.metadata.deletion_timestamp.is_none()
    });
    owned
        .map(|(key, _)| key)
        .filter(|key| !wanted.contains(key))
        .filter(|key| {
            key.kind != Kind::Job
                || migrated
                || health::former_migrations(observed, "").any(|name| name == key.name)
        })
        .cloned()
        .collect()
}
