//! What the operator has seen: reflector stores of our four kinds and of the objects that carry our label.
//!
//! A reconcile reads from here and nowhere else; `watch` fills it. It is as old as the last event: whoever creates an object
//! that is not here asks the server first (`apply`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use meridian_crds::{BillingRegion, Meter, Plan, Tenant};
use meridian_desired::object::{Kind, REGION_LABEL};
use meridian_desired::observed::{Observed, label};

use kube::core::DynamicObject;

/// The readers.
#[derive(Clone)]
pub struct Caches {
    pub regions: Store<DeserializeGuard<BillingRegion>>,
    pub meters: Store<DeserializeGuard<Meter>>,
    pub plans: Store<DeserializeGuard<Plan>>,
    pub tenants: Store<DeserializeGuard<Tenant>>,
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// The Secrets of others: that they exist, and in which version.
    pub foreign_secrets: Store<PartialObjectMeta<Secret>>,
    pub objects: BTreeMap<Kind, Store<DynamicObject>>,
}

/// The writers that belong to them.
pub struct Writers {
    pub regions: Writer<DeserializeGuard<BillingRegion>>,
    pub meters: Writer<DeserializeGuard<Meter>>,
    pub plans: Writer<DeserializeGuard<Plan>>,
    pub tenants: Writer<DeserializeGuard<Tenant>>,
    pub namespaces: Writer<PartialObjectMeta<Namespace>>,
    pub foreign_secrets: Writer<PartialObjectMeta<Secret>>,
    pub objects: BTreeMap<Kind, Writer<DynamicObject>>,
}

impl Caches {
    pub fn empty() -> (Caches, Writers) {
        let writers = Writers {
            regions: Writer::default(),
            meters: Writer::default(),
            plans: Writer::default(),
            tenants: Writer::default(),
            namespaces: Writer::default(),
            foreign_secrets: Writer::default(),
            objects: Kind::WATCHED.into_iter().map(|kind| (kind, Writer::new(kind.api_resource()))).collect(),
        };
        let caches = Caches {
            regions: writers.regions.as_reader(),
            meters: writers.meters.as_reader(),
            plans: writers.plans.as_reader(),
            tenants: writers.tenants.as_reader(),
            namespaces: writers.namespaces.as_reader(),
            foreign_secrets: writers.foreign_secrets.as_reader(),
            objects: writers.objects.iter().map(|(kind, writer)| (*kind, writer.as_reader())).collect(),
        };
        (caches, writers)
    }

    /// Returns once every cache has been filled for the first time, but for namespaces, which may not be watched.
    pub async fn wait_until_ready(&self) {
        let Caches { regions, meters, plans, tenants, namespaces: _, foreign_secrets, objects } = self;
        // A writer is dropped only when its watch is aborted, with the whole process.
        let ready = tokio::join!(
            regions.wait_until_ready(),
            meters.wait_until_ready(),
            plans.wait_until_ready(),
            tenants.wait_until_ready(),
            foreign_secrets.wait_until_ready(),
        );
        let mut dropped = [ready.0, ready.1, ready.2, ready.3, ready.4].iter().any(Result::is_err);
        for store in objects.values() {
            dropped |= store.wait_until_ready().await.is_err();
        }
        if dropped {
            tracing::error!("a watch ended before its cache was filled");
        }
    }

    /// Every object in `namespace` that carries the label of the region, and the namespace itself.
    pub fn observed(&self, namespace: &str, region: &str) -> Observed {
        let mut found = Vec::new();
        for (kind, store) in &self.objects {
            let of_region = |object: &DynamicObject| {
                object.metadata.namespace.as_deref() == Some(namespace)
                    && label(object, REGION_LABEL) == Some(region)
            };
            found.extend(store.state_filter(of_region).into_iter().map(|object| (*kind, object)));
        }
        found.extend(self.namespace(namespace).map(|object| (Kind::Namespace, object)));
        Observed::new(found)
    }

    /// One object, if it carries our label.
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(name, kind.api_resource()).within(namespace);
        self.objects.get(&kind)?.get(&key)
    }

    /// The version of a Secret that does not carry our label; nothing when there is no such Secret.
    pub fn foreign_secret_version(&self, namespace: &str, name: &str) -> Option<String> {
        let found = self.foreign_secrets.get(&ObjectRef::new(name).within(namespace))?;
        Some(found.metadata.resource_version.clone().unwrap_or_default())
    }

    /// The metadata of a namespace; nothing where the operator may not watch namespaces.
    fn namespace(&self, name: &str) -> Option<Arc<DynamicObject>> {
        let found = self.namespaces.get(&ObjectRef::new(name))?;
        let mut object = DynamicObject::new(name, &Kind::Namespace.api_resource());
        object.metadata = found.metadata.clone();
        object.data = serde_json::json!({});
        Some(Arc::new(object))
    }

    pub fn region(&self, namespace: &str, name: &str) -> Option<BillingRegion> {
        get(&self.regions, namespace, name)
    }

    /// The regions of a namespace, readable ones only.
    pub fn regions_in(&self, namespace: &str) -> Vec<BillingRegion> {
        in_namespace(&self.regions, namespace)
    }

    pub fn meters_in(&self, namespace: &str) -> BTreeMap<String, Arc<Meter>> {
        by_name(in_namespace(&self.meters, namespace))
    }

    pub fn plans_in(&self, namespace: &str) -> BTreeMap<String, Arc<Plan>> {
        by_name(in_namespace(&self.plans, namespace))
    }
}

fn get<K>(store: &Store<DeserializeGuard<K>>, namespace: &str, name: &str) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let guard = store.get(&ObjectRef::new(name).within(namespace))?;
    guard.0.as_ref().ok().cloned()
}

fn in_namespace<K>(store: &Store<DeserializeGuard<K>>, namespace: &str) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let here = |guard: &DeserializeGuard<K>| guard.meta().namespace.as_deref() == Some(namespace);
    store.state_filter(here).iter().filter_map(|guard| guard.0.as_ref().ok().cloned()).collect()
}

fn by_name<K: ResourceExt>(objects: Vec<K>) -> BTreeMap<String, Arc<K>> {
    objects.into_iter().map(|object| (object.name_any(), Arc::new(object))).collect()
}
