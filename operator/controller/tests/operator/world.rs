//! A cluster, a region's api and an operator, moved on pass by pass: no clock, no waiting, the same order every time.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PartialObjectMeta;
use kube::core::{DeserializeGuard, DynamicObject};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use meridian_crds::{BillingRegion, Meter, Plan, Tenant};
use meridian_desired::images::Images;
use meridian_desired::object::Kind;
use meridian_desired::region::Operator;
use meridian_operator::caches::{Caches, Writers};
use meridian_operator::client::Guard;
use meridian_operator::context::{Context, Memory, Pace};
use meridian_operator::control::ControlPort;
use meridian_operator::fence::Fence;
use meridian_operator::foreign_secrets::ForeignSecrets;
use meridian_operator::metrics::Metrics;
use meridian_operator::{entries, region};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::Layer;

use super::control::Control;
use super::server::{At, Server};
use super::simulated;

pub const REGIONS: &str = "apis/billing.meridian.dev/v1alpha1/billingregions";
pub const METERS: &str = "apis/billing.meridian.dev/v1alpha1/meters";
pub const PLANS: &str = "apis/billing.meridian.dev/v1alpha1/plans";
pub const TENANTS: &str = "apis/billing.meridian.dev/v1alpha1/tenants";
pub const NAMESPACE: &str = "lab";

pub struct World {
    pub server: Server,
    pub control: Control,
    url: String,
    pub context: Arc<Context>,
    writers: Writers,
    pace: Pace,
    images: BTreeMap<String, String>,
    pub fence: Fence,
}

/// More rounds than any phase needs: a world that has not settled by then never will.
const ROUNDS_MAX: usize = 60;

impl World {
    pub async fn new() -> World {
        let server = Server::default();
        server
            .put("admin", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
        World::on(server, Control::default(), images("1")).await
    }

    /// The same cluster once more, with an operator that has just started.
    pub async fn fork(&self) -> World {
        World::on(self.server.fork(), self.control.fork(), self.images.clone()).await
    }

    async fn on(server: Server, control: Control, images: BTreeMap<String, String>) -> World {
        let url = control.serve(server.clone()).await;
        let (pace, fence) = (Pace::default(), Fence::open_for_ever());
        let (context, writers) = process(&server, &url, &images, pace, &fence);
        World { server, control, url, context, writers, pace, images, fence }
    }

    /// A new process: nothing is remembered.
    pub fn restart(&mut self) {
        (self.context, self.writers) = process(&self.server, &self.url, &self.images, self.pace, &self.fence);
    }

    pub fn restart_with_images(&mut self, images: BTreeMap<String, String>) {
        self.images = images;
        self.restart();
    }

    pub fn restart_with_pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.restart();
    }

    /// One pass over every object, each with what was to be seen when its turn came. Returns what failed.
    pub async fn pass(&mut self) -> Vec<String> {
        let mut failed = Vec::new();
        self.look();
        for object in self.context.caches.regions_in(NAMESPACE) {
            failed
                .extend(region::reconcile(&self.context, &object).await.err().map(|error| error.to_string()));
        }
        self.look();
        for meter in self.context.caches.meters_in(NAMESPACE).values() {
            failed.extend(
                entries::reconcile(&self.context, &**meter).await.err().map(|error| error.to_string()),
            );
        }
        self.look();
        for plan in self.context.caches.plans_in(NAMESPACE).values() {
            failed.extend(
                entries::reconcile(&self.context, &**plan).await.err().map(|error| error.to_string()),
            );
        }
        self.look();
        for tenant in self.context.caches.tenants.state() {
            if let Ok(tenant) = &tenant.0 {
                failed.extend(
                    entries::reconcile(&self.context, tenant).await.err().map(|error| error.to_string()),
                );
            }
        }
        failed
    }

    /// Passes and steps until nothing moves any more. A process that died is started again.
    pub async fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before = self.server.state().version;
            let writes = self.server.writes();
            let failed = self.pass().await;
            if self.server.is_dead() {
                self.server.script([]);
                self.restart();
                continue;
            }
            let moved = simulated::step(&self.server);
            let quiet = failed.is_empty()
                && !moved
                && self.server.writes() == writes
                && self.server.state().version == before;
            if quiet {
                return;
            }
        }
        let calls: Vec<String> =
            self.server.calls().iter().rev().take(20).map(|call| format!("{call:?}")).collect();
        panic!("not settled after {ROUNDS_MAX} rounds; the last calls:\n{}", calls.join("\n"));
    }

    /// So many rounds, settled or not.
    pub async fn settle_for(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.pass().await;
            simulated::step(&self.server);
        }
    }

    /// Somebody else leads.
    pub fn fence_off(&mut self) {
        self.fence = Fence::shut();
        self.restart();
    }

    /// Fills the caches with what the server has now.
    fn look(&mut self) {
        let Writers { regions, meters, plans, tenants, namespaces, foreign_secrets, objects } =
            &mut self.writers;
        fill(regions, typed::<DeserializeGuard<BillingRegion>>(&self.server.list(REGIONS)));
        fill(meters, typed::<DeserializeGuard<Meter>>(&self.server.list(METERS)));
        fill(plans, typed::<DeserializeGuard<Plan>>(&self.server.list(PLANS)));
        fill(tenants, typed::<DeserializeGuard<Tenant>>(&self.server.list(TENANTS)));
        fill(namespaces, typed::<PartialObjectMeta<Namespace>>(&self.server.list("api/v1/namespaces")));
        let ours = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/part-of"] == "meridian";
        let mut secrets = self.server.list(&api(Kind::Secret));
        secrets.retain(|secret| !ours(secret));
        fill(foreign_secrets, typed::<PartialObjectMeta<Secret>>(&secrets));
        for (kind, writer) in objects {
            let mut found = self.server.list(&api(*kind));
            found.retain(ours);
            fill(writer, typed::<DynamicObject>(&found));
        }
    }

    pub fn region(&self) -> BillingRegion {
        serde_json::from_value(self.server.get(REGIONS, NAMESPACE, "demo").expect("the region is there"))
            .unwrap()
    }

    /// A condition of the region: status, reason, message.
    pub fn condition(&self, type_: &str) -> (String, String, String) {
        condition(&self.server.get(REGIONS, NAMESPACE, "demo").expect("the region is there"), type_)
    }

    /// All that is there but what has no say in being right: times, versions, random values, Events.
    pub fn snapshot(&self) -> BTreeMap<At, Value> {
        let state = self.server.state();
        state
            .objects
            .iter()
            .filter(|(at, _)| !at.api.starts_with("apis/events"))
            .map(|(at, stored)| (At { name: nameless(&at.name), ..at.clone() }, normal(&stored.body)))
            .collect()
    }
}

pub fn condition(object: &Value, type_: &str) -> (String, String, String) {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == type_).cloned().unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn process(
    server: &Server,
    url: &str,
    images: &BTreeMap<String, String>,
    pace: Pace,
    fence: &Fence,
) -> (Arc<Context>, Writers) {
    let (caches, writers) = Caches::empty();
    let metrics = Metrics::default();
    let guarded = Guard::new(fence.clone(), metrics.clone()).layer(server.clone());
    let client = kube::Client::new(guarded, "default");
    let context = Context {
        client: client.clone(),
        caches,
        operator: Operator {
            namespace: "meridian-system".to_owned(),
            image_pull_policy: "IfNotPresent".to_owned(),
            labels_namespaces: true,
            otlp_endpoint: None,
            log_filter: "info".to_owned(),
        },
        images: Images::new(images.clone()),
        recorder: Recorder::new(
            client,
            Reporter { controller: "meridian-operator".to_owned(), instance: None },
        ),
        metrics,
        control: ControlPort::new(url, fence.clone()).unwrap(),
        pace,
        memory: Memory::default(),
        foreign_secrets: ForeignSecrets::default(),
    };
    (Arc::new(context), writers)
}

fn fill<K>(writer: &mut Writer<K>, objects: Vec<K>)
where
    K: kube::Resource + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
}

fn typed<K: DeserializeOwned>(objects: &[Value]) -> Vec<K> {
    objects.iter().map(|object| serde_json::from_value(object.clone()).unwrap()).collect()
}

fn api(kind: Kind) -> String {
    let resource = kind.api_resource();
    let prefix = if resource.group.is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}/{}", resource.api_version, resource.plural)
}

/// The name of a migration ends in a hash of random credentials.
fn nameless(name: &str) -> String {
    match name.split_once("-migrate-") {
        Some((region, _)) => format!("{region}-migrate-*"),
        None => name.to_owned(),
    }
}

fn normal(body: &Value) -> Value {
    let mut body = body.clone();
    let is_secret = body["kind"] == "Secret";
    scrub(&mut body, is_secret);
    body
}

fn scrub(value: &mut Value, is_secret: bool) {
    match value {
        Value::Object(map) => {
            for key in [
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "generation",
                "observedGeneration",
                "lastTransitionTime",
            ] {
                map.remove(key);
            }
            for key in ["billing.meridian.dev/applied", "billing.meridian.dev/config"] {
                if let Some(hash) = map.get_mut(key) {
                    *hash = "*".into();
                }
            }
            if let (true, Some(Value::Object(data))) = (is_secret, map.get_mut("data")) {
                for (_, value) in data.iter_mut() {
                    *value = value.as_str().unwrap_or_default().len().into();
                }
            }
            for (key, value) in map.iter_mut() {
                if (key == "name" || key == "message")
                    && let Some(text) = value.as_str()
                {
                    *value = nameless(text).into();
                }
                scrub(value, is_secret);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| scrub(item, is_secret)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An image catalogue at some version.
pub fn images(version: &str) -> BTreeMap<String, String> {
    let of = |name: &str| (name.to_owned(), format!("registry.example/{name}:{version}"));
    ["meridian", "postgres", "clickhouse", "kafka", "redis", "buffer", "objectstore", "temporal"]
        .into_iter()
        .map(of)
        .collect()
}

pub fn dev_region() -> Value {
    json!({
        "apiVersion": "billing.meridian.dev/v1alpha1", "kind": "BillingRegion",
        "metadata": {"name": "demo", "namespace": NAMESPACE},
        "spec": {"location": "eu-central-1", "profile": "Dev"},
    })
}

pub fn catalogue() -> [Value; 3] {
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "billing.meridian.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        })
    };
    [
        object(
            "Meter",
            "api-calls",
            json!({"regionRef": {"name": "demo"}, "eventType": "api-calls", "aggregation": "Count"}),
        ),
        object(
            "Plan",
            "starter",
            json!({
                "regionRef": {"name": "demo"}, "currency": "USD", "interval": {"unit": "Month", "count": 1},
                "prices": [
                    {"name": "base", "flat": {"amount": "100", "billed": "InAdvance"}},
                    {"name": "calls", "meterRef": {"name": "api-calls"}, "included": "10000", "perUnit": {"amount": "0.01"}},
                ],
            }),
        ),
        object(
            "Tenant",
            "acme",
            json!({
                "regionRef": {"name": "demo"}, "planRef": {"name": "starter"},
                "apiKeys": [{"name": "default", "secretRef": {"name": "acme-key"}}],
            }),
        ),
    ]
}
