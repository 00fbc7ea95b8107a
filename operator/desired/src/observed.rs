//! What was read from the API server about a region's objects, taken apart once for the rules that look at it.
//!
//! It holds whole objects as the server stores them, and the few facts of their status that conditions are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube_core::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::component::Component;
use crate::object::{Key, Kind, MANAGED_BY, MANAGED_BY_LABEL, NAME_LABEL, Object, REGION_LABEL};
use crate::subset::is_subset;

/// The objects of one region, by kind and name.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    objects: BTreeMap<Key, Arc<DynamicObject>>,
}

/// Whose an object is that has a name which the region needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The region owns it, or nobody does and it carries our labels: data that a region of this name left behind.
    Ours,
    /// A former region of this name owns it: it is about to be collected.
    Former,
    /// Somebody else's. It must not be touched.
    Foreign,
}

impl Observed {
    pub fn new(objects: impl IntoIterator<Item = (Kind, Arc<DynamicObject>)>) -> Self {
        let key = |kind, object: &DynamicObject| Key {
            kind,
            name: object.metadata.name.clone().unwrap_or_default(),
        };
        Self { objects: objects.into_iter().map(|(kind, object)| (key(kind, &object), object)).collect() }
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<DynamicObject>> {
        self.objects.get(key)
    }

    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<DynamicObject>> {
        self.objects.iter().filter(move |(key, _)| key.kind == kind).map(|(_, object)| object)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<DynamicObject>)> {
        self.objects.iter()
    }

    /// Whether the stored object already is as `wanted` says.
    pub fn matches(&self, wanted: &Object) -> bool {
        self.get(&wanted.key).is_some_and(|stored| {
            stored.metadata.deletion_timestamp.is_none() && is_subset(&wanted.body, &json(stored))
        })
    }

    pub fn stateful_set(&self, name: &str) -> Option<StatefulSet> {
        self.typed(Kind::StatefulSet, name)
    }

    pub fn deployment(&self, name: &str) -> Option<Deployment> {
        self.typed(Kind::Deployment, name)
    }

    pub fn job(&self, name: &str) -> Option<Job> {
        self.typed(Kind::Job, name)
    }

    /// The pods of `component`, in order of their names.
    pub fn pods(&self, component: Component) -> Vec<Pod> {
        let of_component = |object: &&Arc<DynamicObject>| label(object, NAME_LABEL) == Some(component.name());
        self.of_kind(Kind::Pod).filter(of_component).filter_map(|object| typed(object)).collect()
    }

    fn typed<K: DeserializeOwned>(&self, kind: Kind, name: &str) -> Option<K> {
        self.get(&Key { kind, name: name.to_owned() }).and_then(|object| typed(object))
    }
}

/// The object as the API server stores it.
pub fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object that came as JSON is JSON")
}

/// What the server stored as this kind is of this kind.
fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Option<K> {
    serde_json::from_value(json(object)).ok()
}

pub fn label<'a>(object: &'a DynamicObject, key: &str) -> Option<&'a str> {
    object.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whose `object` is, as seen by the region or tenant with this uid. `region` is the region's name in our labels.
pub fn ownership(object: &DynamicObject, owner_uid: &str, owner_kind: &str, region: &str) -> Ownership {
    let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
    if owners.iter().any(|owner| owner.uid == owner_uid) {
        return Ownership::Ours;
    }
    let labelled =
        label(object, MANAGED_BY_LABEL) == Some(MANAGED_BY) && label(object, REGION_LABEL) == Some(region);
    match (labelled, owners) {
        (true, []) => Ownership::Ours,
        (true, owners) if owners.iter().any(|owner| owner.kind == owner_kind) => Ownership::Former,
        (true, _) | (false, _) => Ownership::Foreign,
    }
}
