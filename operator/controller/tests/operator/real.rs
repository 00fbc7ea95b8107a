//! Against a real API server, where `MERIDIAN_TEST_KUBECONFIG` names one (a control plane without nodes is enough, and no other
//! operator may run there): what the
//! scripted one cannot prove. Defaulting, managed fields, conflicts and the schema are the server's own here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::{Client, ResourceExt};
use meridian_crds::BillingRegion;
use meridian_operator::fence::Fence;
use serde_json::{from_value, json};
use tokio::time::sleep;

use super::control::Control;
use super::runtime::{Running, start, until_async};
use super::server::Server;
use super::world::{condition, dev_region};

/// The requests that are no watches, in their order.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    fn noted(&self, config: kube::Config) -> Client {
        let requests = self.clone();
        let layer = tower::util::MapRequestLayer::new(move |request: http::Request<Body>| {
            if !request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                requests.0.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            }
            request
        });
        ClientBuilder::try_from(config).unwrap().with_layer(&layer).build()
    }

    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

async fn install(client: &Client, namespace: &str) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in meridian_crds::all_crds() {
        crds.patch(&crd.name_any(), &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await.unwrap();
        let (name, established) = (crd.name_any(), kube::runtime::conditions::is_crd_established());
        let ready = kube::runtime::wait::await_condition(crds.clone(), &name, established);
        tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap().unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let body = from_value(json!({"metadata": {"name": namespace}})).unwrap();
    namespaces.create(&PostParams::default(), &body).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_is_written_to_once_and_then_left_in_peace() {
    let Some(path) = std::env::var_os("MERIDIAN_TEST_KUBECONFIG") else {
        println!("skipped: MERIDIAN_TEST_KUBECONFIG names no API server");
        return;
    };
    let file = kube::config::Kubeconfig::read_from(path).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    let admin = Client::try_from(config.clone()).unwrap();
    let namespace = format!("operator-test-{}", std::process::id());
    install(&admin, &namespace).await;

    // Somebody's own object, with a name that the region needs.
    let config_maps: Api<ConfigMap> = Api::namespaced(admin.clone(), &namespace);
    let theirs: ConfigMap =
        from_value(json!({"metadata": {"name": "demo-redis"}, "data": {"theirs": "yes"}})).unwrap();
    let theirs = config_maps.create(&PostParams::default(), &theirs).await.unwrap();

    let requests = Requests::default();
    let client = requests.noted(config);
    let url = Control::default().serve(Server::default()).await;
    let running: Running =
        start(client.clone(), &url, Some(namespace.clone()), &Fence::open_for_ever()).await;
    let mut region = dev_region();
    region["metadata"]["namespace"] = namespace.clone().into();
    let regions: Api<BillingRegion> = Api::namespaced(admin.clone(), &namespace);
    regions.create(&PostParams::default(), &from_value(region).unwrap()).await.unwrap();

    let sets: Api<StatefulSet> = Api::namespaced(admin.clone(), &namespace);
    until_async("seven StatefulSets are there", || async {
        sets.list(&ListParams::default()).await.unwrap().items.len() == 7
    })
    .await;
    until_async("the name conflict is told", || async {
        let region = serde_json::to_value(regions.get("demo").await.unwrap()).unwrap();
        condition(&region, "Stalled").1 == "NameConflict"
    })
    .await;
    let after = config_maps.get("demo-redis").await.unwrap();
    assert_eq!(
        (after.data, after.metadata.resource_version),
        (theirs.data, theirs.metadata.resource_version)
    );

    // The conflict out of the way, everything is applied, and what the server filled in makes no difference to us.
    config_maps.delete("demo-redis", &DeleteParams::default()).await.unwrap();
    until_async("our own ConfigMap is there", || async {
        config_maps.get_opt("demo-redis").await.unwrap().is_some()
    })
    .await;
    sleep(Duration::from_secs(3)).await;
    requests.forget();
    let touch = json!({"metadata": {"annotations": {"example.com/touched": "1"}}});
    sets.patch("demo-kafka", &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(requests.all(), Vec::<String>::new(), "a pass in which nothing changed sends nothing");

    // Drift that another manager owns is set back, by force, and only that field.
    let scaled = json!({"spec": {"replicas": 3}});
    sets.patch(
        "demo-redis",
        &PatchParams { field_manager: Some("kubectl".into()), ..PatchParams::default() },
        &Patch::Merge(&scaled),
    )
    .await
    .unwrap();
    until_async("the replicas are set back", || async {
        sets.get("demo-redis").await.unwrap().spec.unwrap().replicas == Some(1)
    })
    .await;
    assert_eq!(
        sets.get("demo-kafka").await.unwrap().annotations()["example.com/touched"],
        "1",
        "what is not ours stays"
    );

    // A new process fills its caches from lists, whose items look different from what a watch says.
    running.stop().await;
    requests.forget();
    let running = start(client, &url, Some(namespace.clone()), &Fence::open_for_ever()).await;
    sleep(Duration::from_secs(3)).await;
    let mut sent = requests.all();
    sent.retain(|request| !request.starts_with("GET ") || request.contains("/demo-"));
    assert_eq!(sent, Vec::<String>::new(), "after a restart in which nothing changed");

    running.stop().await;
    regions.delete("demo", &DeleteParams::default()).await.unwrap();
    Api::<Namespace>::all(admin).delete(&namespace, &DeleteParams::default()).await.unwrap();
}
