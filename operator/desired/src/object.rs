//! Kubernetes objects as values: what the builders return and the controller applies.
//!
//! A typed object is turned into JSON here and stamped with a hash of itself (see `subset` for why). Neighbours:
//! every builder ends in [`Object::of`]; the controller knows objects only in this form.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::discovery::ApiResource;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::component::Component;
use crate::region::ValidRegion;

/// On every object of a region, and on its pods.
pub const REGION_LABEL: &str = "billing.meridian.dev/region";
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
pub const MANAGED_BY: &str = "meridian-operator";
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
pub const PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
pub const PART_OF: &str = "meridian";
/// A hash of the object as it was wanted when it was applied.
pub const APPLIED_ANNOTATION: &str = "billing.meridian.dev/applied";
/// On pod templates: a hash of the configuration that the pods read. It changes, they roll.
pub const CONFIG_ANNOTATION: &str = "billing.meridian.dev/config";

/// The kinds that the operator reads or writes in a region's namespace, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    NetworkPolicy,
    ServiceAccount,
    Secret,
    ConfigMap,
    Service,
    PodDisruptionBudget,
    StatefulSet,
    Job,
    Deployment,
    Pod,
    PersistentVolumeClaim,
}

impl Kind {
    /// The kinds whose objects are watched by label. Namespaces are watched apart.
    pub const WATCHED: [Kind; 11] = [
        Kind::NetworkPolicy,
        Kind::ServiceAccount,
        Kind::Secret,
        Kind::ConfigMap,
        Kind::Service,
        Kind::PodDisruptionBudget,
        Kind::StatefulSet,
        Kind::Job,
        Kind::Deployment,
        Kind::Pod,
        Kind::PersistentVolumeClaim,
    ];

    pub fn api_resource(self) -> ApiResource {
        match self {
            Kind::Namespace => ApiResource::erase::<Namespace>(&()),
            Kind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Kind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Kind::Secret => ApiResource::erase::<Secret>(&()),
            Kind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Kind::Service => ApiResource::erase::<Service>(&()),
            Kind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Kind::Job => ApiResource::erase::<Job>(&()),
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::Pod => ApiResource::erase::<Pod>(&()),
            Kind::PersistentVolumeClaim => ApiResource::erase::<PersistentVolumeClaim>(&()),
        }
    }

    /// The kind as Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::ServiceAccount => "ServiceAccount",
            Kind::Secret => "Secret",
            Kind::ConfigMap => "ConfigMap",
            Kind::Service => "Service",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
            Kind::StatefulSet => "StatefulSet",
            Kind::Job => "Job",
            Kind::Deployment => "Deployment",
            Kind::Pod => "Pod",
            Kind::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
    }

    fn of_name(name: &str) -> Option<Kind> {
        Kind::WATCHED.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which object, within a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// One wanted object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub key: Key,
    /// The whole object as it is applied.
    pub body: serde_json::Value,
}

impl Object {
    /// Stamps a typed object. Its kind is one of [`Kind`]; its name is set.
    pub fn of<K>(object: K) -> Object
    where
        K: Serialize + k8s_openapi::Metadata<Ty = ObjectMeta>,
    {
        let kind = Kind::of_name(K::KIND).expect("builders make only the kinds in Kind::WATCHED");
        let name = object.metadata().name.clone().expect("builders name every object");
        let mut body = serde_json::to_value(&object).expect("a Kubernetes object is JSON");
        let stamp = short_hash(&[body.to_string().as_bytes()]);
        body["metadata"]["annotations"][APPLIED_ANNOTATION] = stamp.into();
        Object { key: Key { kind, name }, body }
    }
}

/// The metadata of an object that the region owns.
pub fn metadata(region: &ValidRegion, name: &str, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(region.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![region.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// The metadata of the object that is named after `component`.
pub fn component_metadata(region: &ValidRegion, component: Component) -> ObjectMeta {
    metadata(region, &region.object_name(component), labels(region, Some(component)))
}

pub fn labels(region: &ValidRegion, component: Option<Component>) -> BTreeMap<String, String> {
    region_labels(&region.name, component)
}

/// The labels of an object of the region called `name`.
pub fn region_labels(name: &str, component: Option<Component>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (PART_OF_LABEL.to_owned(), PART_OF.to_owned()),
        (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        ("app.kubernetes.io/instance".to_owned(), name.to_owned()),
        (REGION_LABEL.to_owned(), name.to_owned()),
    ]);
    if let Some(component) = component {
        labels.insert(NAME_LABEL.to_owned(), component.name().to_owned());
        labels.insert("app.kubernetes.io/component".to_owned(), component.role().to_owned());
    }
    labels
}

/// What selects the pods of `component`. It is immutable in workloads: never add to it.
pub fn selector(region: &ValidRegion, component: Component) -> BTreeMap<String, String> {
    BTreeMap::from([
        (NAME_LABEL.to_owned(), component.name().to_owned()),
        (REGION_LABEL.to_owned(), region.name.clone()),
    ])
}

/// 16 hexadecimal digits over the parts, each delimited by its length.
pub fn short_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}
