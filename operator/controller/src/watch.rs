//! Watches: each fills its cache and wakes the objects that the event concerns.
//!
//! There is one watch a kind, shared by everything that reads it, and it runs whether this process leads or not: a follower
//! that becomes the leader starts with warm caches. A wake is only a name; the pass looks at the world, not at the event.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, PartialObjectMeta};
use kube::core::{DeserializeGuard, DynamicObject, NamespaceResourceScope, TypeMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::predicates;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource, ResourceExt};
use meridian_crds::{BillingRegion, Meter, Plan, Tenant};
use meridian_desired::catalogue::TENANT_LABEL;
use meridian_desired::object::{Kind, PART_OF, PART_OF_LABEL, REGION_LABEL};
use meridian_desired::observed::label;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::caches::{Caches, Writers};

/// An object of ours, readable or not.
pub type Guarded<K> = DeserializeGuard<K>;

/// Where wakes are sent.
#[derive(Clone)]
pub struct Wakes {
    regions: UnboundedSender<ObjectRef<Guarded<BillingRegion>>>,
    meters: UnboundedSender<ObjectRef<Guarded<Meter>>>,
    plans: UnboundedSender<ObjectRef<Guarded<Plan>>>,
    tenants: UnboundedSender<ObjectRef<Guarded<Tenant>>>,
    /// Nobody reads the wakes of a follower. The leader begins with a pass over everything.
    leading: Arc<AtomicBool>,
}

/// Where they arrive. Events bound their number: the queue of a controller holds each object once.
pub struct Queues {
    pub regions: UnboundedReceiver<ObjectRef<Guarded<BillingRegion>>>,
    pub meters: UnboundedReceiver<ObjectRef<Guarded<Meter>>>,
    pub plans: UnboundedReceiver<ObjectRef<Guarded<Plan>>>,
    pub tenants: UnboundedReceiver<ObjectRef<Guarded<Tenant>>>,
}

/// What is watched.
#[derive(Clone)]
pub struct Scope {
    pub client: Client,
    /// None: every namespace.
    pub namespace: Option<String>,
    /// Whether namespaces themselves are watched.
    pub namespaces: bool,
}

impl Wakes {
    pub fn new() -> (Wakes, Queues) {
        let (regions, region_queue) = unbounded_channel();
        let (meters, meter_queue) = unbounded_channel();
        let (plans, plan_queue) = unbounded_channel();
        let (tenants, tenant_queue) = unbounded_channel();
        let wakes = Wakes { regions, meters, plans, tenants, leading: Arc::default() };
        (
            wakes,
            Queues { regions: region_queue, meters: meter_queue, plans: plan_queue, tenants: tenant_queue },
        )
    }

    /// From now on wakes count; everything that is known is woken once.
    pub fn lead(&self, caches: &Caches) {
        self.leading.store(true, Ordering::Release);
        for object in caches.regions.state() {
            self.send(&self.regions, ObjectRef::from_obj(object.as_ref()));
        }
        for object in caches.meters.state() {
            self.send(&self.meters, ObjectRef::from_obj(object.as_ref()));
        }
        for object in caches.plans.state() {
            self.send(&self.plans, ObjectRef::from_obj(object.as_ref()));
        }
        for object in caches.tenants.state() {
            self.send(&self.tenants, ObjectRef::from_obj(object.as_ref()));
        }
    }

    fn send<K: Resource>(&self, queue: &UnboundedSender<ObjectRef<K>>, object: ObjectRef<K>) {
        if self.leading.load(Ordering::Acquire) {
            // The queue is closed when its controller has stopped: the process is on its way out.
            let _closed = queue.send(object);
        }
    }

    /// A region changed: itself, its siblings (one of them may own the namespace now), its catalogue.
    fn region_touched(&self, caches: &Caches, namespace: &str) {
        self.regions_touched(caches, namespace);
        self.catalogue_touched(caches, namespace);
    }

    fn regions_touched(&self, caches: &Caches, namespace: &str) {
        for region in caches.regions.state_filter(|other| is_in(other, namespace)) {
            self.send(&self.regions, ObjectRef::from_obj(region.as_ref()));
        }
    }

    fn catalogue_touched(&self, caches: &Caches, namespace: &str) {
        for meter in caches.meters.state_filter(|other| is_in(other, namespace)) {
            self.send(&self.meters, ObjectRef::from_obj(meter.as_ref()));
        }
        self.plans_touched(caches, namespace);
    }

    fn plans_touched(&self, caches: &Caches, namespace: &str) {
        for plan in caches.plans.state_filter(|other| is_in(other, namespace)) {
            self.send(&self.plans, ObjectRef::from_obj(plan.as_ref()));
        }
        self.tenants_touched(caches, namespace);
    }

    fn tenants_touched(&self, caches: &Caches, namespace: &str) {
        for tenant in caches.tenants.state_filter(|other| is_in(other, namespace)) {
            self.send(&self.tenants, ObjectRef::from_obj(tenant.as_ref()));
        }
    }

    /// An object with our label changed.
    fn object_touched(&self, caches: &Caches, kind: Kind, object: &DynamicObject) {
        let namespace = object.namespace().unwrap_or_default();
        match label(object, REGION_LABEL) {
            Some(region) => self.send(&self.regions, ObjectRef::new(region).within(&namespace)),
            // An image catalogue belongs to nobody in particular.
            None if kind == Kind::ConfigMap => self.region_touched(caches, &namespace),
            None => {}
        }
        if let Some(tenant) = label(object, TENANT_LABEL) {
            self.send(&self.tenants, ObjectRef::new(tenant).within(&namespace));
        }
        if kind == Kind::Deployment || kind == Kind::Secret {
            // The api began to serve, or its credential is there.
            self.catalogue_touched(caches, &namespace);
        }
    }
}

fn is_in<K>(object: &Guarded<K>, namespace: &str) -> bool
where
    K: Resource<DynamicType = ()>,
{
    object.meta().namespace.as_deref() == Some(namespace)
}

/// Starts every watch. The tasks end only when they are aborted: a watch that fails begins again, further apart each time.
pub fn start(scope: &Scope, caches: &Caches, writers: Writers, wakes: &Wakes) -> JoinSet<()> {
    let Writers { regions, meters, plans, tenants, namespaces, foreign_secrets, objects } = writers;
    let mut tasks = JoinSet::new();
    let (c, w) = (caches.clone(), wakes.clone());
    tasks.spawn(drive("BillingRegion", ours(scope, regions), move |region| {
        w.send(&w.regions, ObjectRef::from_obj(region));
        w.region_touched(&c, &region.namespace().unwrap_or_default());
    }));
    let (c, w) = (caches.clone(), wakes.clone());
    tasks.spawn(drive("Meter", ours(scope, meters), move |meter| {
        w.send(&w.meters, ObjectRef::from_obj(meter));
        w.plans_touched(&c, &meter.namespace().unwrap_or_default());
    }));
    let (c, w) = (caches.clone(), wakes.clone());
    tasks.spawn(drive("Plan", ours(scope, plans), move |plan| {
        w.send(&w.plans, ObjectRef::from_obj(plan));
        w.tenants_touched(&c, &plan.namespace().unwrap_or_default());
    }));
    let w = wakes.clone();
    tasks.spawn(drive("Tenant", ours(scope, tenants), move |tenant| {
        w.send(&w.tenants, ObjectRef::from_obj(tenant));
    }));
    for (kind, writer) in objects {
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(drive(kind.name(), labelled(scope, kind, writer), move |object| {
            w.object_touched(&c, kind, object)
        }));
    }
    let (c, w) = (caches.clone(), wakes.clone());
    // One of them may be what an external store waits for, or hold a new password.
    tasks.spawn(drive("Secret of others", others_secrets(scope, foreign_secrets), move |secret| {
        w.regions_touched(&c, &secret.namespace().unwrap_or_default());
    }));
    if scope.namespaces {
        let (c, w) = (caches.clone(), wakes.clone());
        tasks.spawn(drive("Namespace", all_namespaces(scope, namespaces), move |namespace| {
            w.region_touched(&c, &namespace.name_any());
        }));
    }
    tasks
}

async fn drive<K>(
    kind: &'static str,
    events: impl Stream<Item = Result<K, watcher::Error>> + Send,
    touched: impl Fn(&K) + Send,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(object) => touched(&object),
            Err(error) => tracing::warn!(kind, %error, "a watch was interrupted: it begins again"),
        }
    }
}

/// Objects of our own kinds. A status that only we write wakes nobody here but those who read it.
fn ours<K>(
    scope: &Scope,
    writer: Writer<Guarded<K>>,
) -> impl Stream<Item = Result<Guarded<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<Guarded<K>> = match &scope.namespace {
        Some(namespace) => Api::namespaced(scope.client.clone(), namespace),
        None => Api::all(scope.client.clone()),
    };
    reflected(api, watcher::Config::default(), writer)
}

fn labelled(
    scope: &Scope,
    kind: Kind,
    writer: Writer<DynamicObject>,
) -> impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<> {
    let resource = kind.api_resource();
    let api: Api<DynamicObject> = match &scope.namespace {
        Some(namespace) => Api::namespaced_with(scope.client.clone(), namespace, &resource),
        None => Api::all_with(scope.client.clone(), &resource),
    };
    let config = watcher::Config::default().labels(&format!("{PART_OF_LABEL}={PART_OF}"));
    kept(watcher(api, config), writer, move |object| {
        object.managed_fields_mut().clear();
        // The items of a list do not say what they are, as the same objects do in a watch.
        object.types.get_or_insert_with(|| TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
    })
}

fn all_namespaces(
    scope: &Scope,
    writer: Writer<PartialObjectMeta<Namespace>>,
) -> impl Stream<Item = Result<PartialObjectMeta<Namespace>, watcher::Error>> + Send + use<> {
    reflected(Api::all(scope.client.clone()), watcher::Config::default(), writer)
}

/// The Secrets that do not carry our label. Only their metadata travels: what is in them is none of our business until an
/// external store names one.
fn others_secrets(
    scope: &Scope,
    writer: Writer<PartialObjectMeta<Secret>>,
) -> impl Stream<Item = Result<PartialObjectMeta<Secret>, watcher::Error>> + Send + use<> {
    let api: Api<PartialObjectMeta<Secret>> = match &scope.namespace {
        Some(namespace) => Api::namespaced(scope.client.clone(), namespace),
        None => Api::all(scope.client.clone()),
    };
    let config = watcher::Config::default().labels(&format!("{PART_OF_LABEL}!={PART_OF}"));
    kept(watcher(api, config), writer, |secret| {
        secret.managed_fields_mut().clear();
        secret.annotations_mut().clear();
        secret.labels_mut().clear();
    })
}

fn reflected<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Clone + Eq + std::hash::Hash + Send + Sync,
{
    kept(watcher(api, config), writer, |object| object.managed_fields_mut().clear())
}

/// A watch whose objects, `trimmed`, fill a cache and are passed on.
fn kept<K, S>(
    watch: S,
    writer: Writer<K>,
    trimmed: impl FnMut(&mut K) + Send,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    K: Resource + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Clone + Eq + std::hash::Hash + Send + Sync,
{
    watch
        .default_backoff()
        .modify(trimmed)
        .reflect(writer)
        // Deletions too: whoever owned the object must see that it is gone.
        .touched_objects()
        .predicate_filter(predicates::resource_version, Default::default())
        .map_ok(|object| object)
}
