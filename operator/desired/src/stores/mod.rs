//! The stores that the operator runs itself: one StatefulSet each, whose command line and configuration files are ours, so
//! that an image only carries the upstream binaries at their upstream paths.
//!
//! One file a store says what it runs; here it becomes objects. Neighbours: `connect` says how programs reach it,
//! `credentials` what is secret about it.

mod buffer;
mod clickhouse;
pub(crate) mod kafka;
mod object_store;
mod postgres;
mod redis;
mod temporal;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, ServiceAccount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::component::Component;
use crate::credentials::Credentials;
use crate::object::{Object, component_metadata, labels, selector, short_hash};
use crate::pods::{Program, template};
use crate::region::{Managed, ValidRegion};
use crate::services::{disruption_budget, service};
use crate::subset::quantity_millis;

/// What a store runs, and the files that it reads.
struct Run {
    program: Program,
    files: BTreeMap<String, String>,
}

/// Every object of one managed store but its credentials.
pub fn objects(
    region: &ValidRegion,
    store: Component,
    managed: &Managed,
    credentials: &Credentials,
) -> Vec<Object> {
    let Some(Run { mut program, files }) = run(region, store, managed) else { return Vec::new() };
    program.config_hash = config_hash(&files, credentials, store);
    let mut objects = vec![service_account(region, store)];
    if !files.is_empty() {
        objects.push(config_map(region, store, files));
    }
    objects.push(service(region, store, None, store == Component::Kafka));
    objects.push(stateful_set(region, store, managed, program));
    objects.extend(disruption_budget(region, store, managed.replicas));
    objects
}

fn run(region: &ValidRegion, store: Component, managed: &Managed) -> Option<Run> {
    match store {
        Component::Postgres => Some(postgres::run(region, managed)),
        Component::ClickHouse => Some(clickhouse::run(region, managed)),
        Component::Kafka => Some(kafka::run(region, managed)),
        Component::Redis => Some(redis::run(region, managed)),
        Component::Buffer => Some(buffer::run(managed)),
        Component::ObjectStore => Some(object_store::run(region, managed)),
        Component::Temporal => Some(temporal::run(region, managed)),
        Component::Migrate | Component::Consumer | Component::Worker | Component::Api | Component::Ingest => {
            None
        }
    }
}

/// Pods roll when a file or a credential that they read changes. Temporal reads Postgres' credentials.
fn config_hash(files: &BTreeMap<String, String>, credentials: &Credentials, store: Component) -> String {
    let secrets = credentials.hash(&[if store == Component::Temporal { Component::Postgres } else { store }]);
    let mut parts: Vec<&[u8]> = vec![secrets.as_bytes()];
    parts.extend(files.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]));
    short_hash(&parts)
}

pub fn service_account(region: &ValidRegion, component: Component) -> Object {
    Object::of(ServiceAccount {
        metadata: component_metadata(region, component),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

fn config_map(region: &ValidRegion, store: Component, files: BTreeMap<String, String>) -> Object {
    Object::of(ConfigMap {
        metadata: component_metadata(region, store),
        data: Some(files),
        ..ConfigMap::default()
    })
}

fn stateful_set(region: &ValidRegion, store: Component, managed: &Managed, program: Program) -> Object {
    // The volume outlives everything: only the operator's own `Delete` removes it, never a scale-down or an owner.
    let keep = StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some("Retain".to_owned()),
        when_scaled: Some("Retain".to_owned()),
    };
    Object::of(StatefulSet {
        metadata: component_metadata(region, store),
        spec: Some(StatefulSetSpec {
            replicas: Some(managed.replicas),
            service_name: Some(region.object_name(store)),
            // Brokers find each other by name before any of them is ready.
            pod_management_policy: Some("Parallel".to_owned()),
            selector: LabelSelector { match_labels: Some(selector(region, store)), match_expressions: None },
            template: template(region, program),
            volume_claim_templates: claim(region, store, managed).map(|claim| vec![claim]),
            persistent_volume_claim_retention_policy: Some(keep),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

fn claim(region: &ValidRegion, store: Component, managed: &Managed) -> Option<PersistentVolumeClaim> {
    let storage = managed.storage.clone()?;
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(labels(region, Some(store))),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: managed.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(storage))])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// The memory that the container may use, in bytes.
fn memory_limit_bytes(managed: &Managed) -> i128 {
    let limit = managed.resources.limits.as_ref().and_then(|limits| limits.get("memory"));
    limit.and_then(|limit| quantity_millis(&limit.0)).map_or(512 << 20, |millis| millis / 1000)
}

/// A file of this directory with its `@NAMES@` filled in.
fn fill(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

fn files<const N: usize>(files: [(&str, String); N]) -> BTreeMap<String, String> {
    files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn shell(script: &str) -> Vec<String> {
    vec!["/bin/sh".to_owned(), format!("{}/{script}", crate::pods::CONFIG_PATH)]
}
