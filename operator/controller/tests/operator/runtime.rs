//! The whole operator but its process: watches, queues, controllers, against the scripted server.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::events::{Recorder, Reporter};
use meridian_desired::images::Images;
use meridian_desired::region::Operator;
use meridian_operator::caches::Caches;
use meridian_operator::client::Guard;
use meridian_operator::context::{Context, Memory, Pace};
use meridian_operator::control::ControlPort;
use meridian_operator::fence::Fence;
use meridian_operator::foreign_secrets::ForeignSecrets;
use meridian_operator::metrics::Metrics;
use meridian_operator::run::controllers;
use meridian_operator::watch::{self, Scope, Wakes};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::Layer;

use super::control::Control;
use super::server::Server;
use super::simulated::{self, DEPLOYMENTS, STATEFUL_SETS};
use super::world::{NAMESPACE, REGIONS, TENANTS, catalogue, condition, dev_region, images};

pub struct Running {
    stop: CancellationToken,
    controllers: tokio::task::JoinHandle<()>,
    _watches: tokio::task::JoinSet<()>,
}

impl Running {
    /// Lets passes that have begun end.
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.controllers).await.expect("it drains").unwrap();
    }
}

/// Everything that a leader runs.
pub async fn start(client: kube::Client, url: &str, namespace: Option<String>, fence: &Fence) -> Running {
    let (metrics, fence) = (Metrics::default(), fence.clone());
    let (caches, writers) = Caches::empty();
    let (wakes, queues) = Wakes::new();
    let namespaces = namespace.is_none();
    let scope = Scope { client: client.clone(), namespace, namespaces };
    let watches = watch::start(&scope, &caches, writers, &wakes);
    caches.wait_until_ready().await;
    let operator = Operator {
        namespace: "meridian-system".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        labels_namespaces: namespaces,
        otlp_endpoint: None,
        log_filter: "info".to_owned(),
    };
    let context = Arc::new(Context {
        client: client.clone(),
        caches: caches.clone(),
        operator,
        images: Images::new(images("1")),
        recorder: Recorder::new(
            client,
            Reporter { controller: "meridian-operator".to_owned(), instance: None },
        ),
        metrics,
        control: ControlPort::new(url, fence).unwrap(),
        pace: Pace::default(),
        memory: Memory::default(),
        foreign_secrets: ForeignSecrets::default(),
    });
    wakes.lead(&caches);
    let stop = CancellationToken::new();
    let controllers = tokio::spawn(controllers(context, queues, 4, stop.clone()));
    Running { stop, controllers, _watches: watches }
}

pub async fn until_async<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < limit, "waited a minute until {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < limit, "waited a minute until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_comes_up_heals_and_then_there_is_silence() {
    let server = Server::default();
    server.put("admin", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
    let url = Control::default().serve(server.clone()).await;
    let fence = Fence::open_for_ever();
    let client =
        kube::Client::new(Guard::new(fence.clone(), Metrics::default()).layer(server.clone()), "default");
    let running = start(client.clone(), &url, None, &fence).await;
    server.put("user", dev_region());
    for object in catalogue() {
        server.put("user", object);
    }
    let ready = |api: &str, name: &str| {
        server.get(api, NAMESPACE, name).is_some_and(|object| condition(&object, "Ready").0 == "True")
    };
    until("the tenant is ready", || {
        simulated::step(&server);
        ready(REGIONS, "demo") && ready(TENANTS, "acme")
    })
    .await;

    // An object that is deleted under its feet comes back: deletions are seen.
    server.delete(DEPLOYMENTS, NAMESPACE, "demo-worker");
    until("the worker is back", || server.get(DEPLOYMENTS, NAMESPACE, "demo-worker").is_some()).await;
    until("the region is ready again", || {
        simulated::step(&server);
        ready(REGIONS, "demo")
    })
    .await;

    // Then nothing, though the objects are looked at again.
    sleep(Duration::from_secs(2)).await;
    server.script([]);
    server.edit("kubelet", STATEFUL_SETS, NAMESPACE, "demo-kafka", |set| {
        set["status"]["currentRevision"] = json!("x")
    });
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.calls(), vec![]);
    running.stop().await;

    // The next process finds by lists what this one was told by watches, and leaves it alone as well.
    server.script([]);
    let running = start(client, &url, None, &fence).await;
    sleep(Duration::from_secs(2)).await;
    let calls: Vec<String> =
        server.calls().iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    assert_eq!(calls, ["GET control/catalogue"]);
    assert!(ready(REGIONS, "demo"));
    running.stop().await;
}
