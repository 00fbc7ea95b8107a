//! The table of crds/cases against a real API server: it is the judge of what the definitions mean, of the cost of the CEL
//! rules, and of the admission policies.
//!
//! Needs MERIDIAN_TEST_KUBECONFIG, the kubeconfig of a cluster that is there to be written to (`e2e/cluster/cluster up
//! --control-plane-only` is enough). Without it the test says on the terminal that it did not run; `./test` always sets it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there and then")]

mod cases;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use cases::{Case, RuleId};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

const KUBECONFIG: &str = "MERIDIAN_TEST_KUBECONFIG";

/// None, and a word on the terminal, if no cluster was named.
async fn client(test: &str) -> Option<Client> {
    let Some(path) = std::env::var_os(KUBECONFIG) else {
        // Past the capture of the test harness: a test that did not run must be seen.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test}: set {KUBECONFIG} to the kubeconfig of a test cluster"
        );
        return None;
    };
    let kubeconfig = Kubeconfig::read_from(&path).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    install(&client).await;
    Some(client)
}

/// Applies the definitions as they are committed, and waits until they are served.
async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let ours = PatchParams::apply("meridian-crds-test").force();
    for crd in meridian_crds::all_crds() {
        let name = crd.metadata.name.clone().unwrap();
        definitions
            .patch(&name, &ours, &Patch::Apply(&crd))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for crd in meridian_crds::all_crds() {
        let name = crd.metadata.name.unwrap();
        until(&format!("{name} is established"), async || {
            let conditions = definitions.get(&name).await.unwrap().status.unwrap_or_default().conditions;
            conditions.unwrap_or_default().iter().any(|c| c.type_ == "Established" && c.status == "True")
        })
        .await;
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A namespace of the test's own; an earlier run may have left it.
async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let body: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let created = namespaces.create(&PostParams::default(), &body).await;
    assert!(
        created.is_ok() || matches!(&created, Err(kube::Error::Api(status)) if status.is_already_exists()),
        "{created:?}"
    );
}

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let plural = format!("{}s", kind.to_lowercase());
    let gvk = GroupVersionKind::gvk(meridian_crds::GROUP, meridian_crds::VERSION, kind);
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, &plural))
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

#[tokio::test]
async fn the_api_server_judges_every_case_as_the_table_says() {
    let Some(client) = client("the_api_server_judges_every_case_as_the_table_says").await else { return };
    let cases = cases::all();
    let started = Instant::now();
    let mut wrong = Vec::new();
    let mut apis: BTreeMap<&str, Api<DynamicObject>> = BTreeMap::new();
    for kind in ["BillingRegion", "Meter", "Plan", "Tenant"] {
        apis.insert(kind, empty(&client, kind).await);
    }
    for case in &cases {
        let result = submit(&apis[case.kind.as_str()], case).await;
        if let Err(problem) = judge(case, result) {
            wrong.push(format!("{}\n  {problem}", case.title()));
        }
    }
    println!("{} cases against the API server in {:?}", cases.len(), started.elapsed());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A namespace for the cases of one kind, without what an earlier run may have left. The admission policies that another
/// test applies compare the objects of one namespace: regions and their catalogue must not meet here.
async fn empty(client: &Client, kind: &str) -> Api<DynamicObject> {
    let name = format!("meridian-crds-{}", kind.to_lowercase());
    namespace(client, &name).await;
    let api = api(client, &name, kind);
    for left in api.list(&ListParams::default()).await.unwrap() {
        api.delete(&left.name_any(), &DeleteParams::default()).await.unwrap();
    }
    api
}

/// Creates the case's object, or makes its change to an object that was just created. Nothing stays.
async fn submit(api: &Api<DynamicObject>, case: &Case) -> Result<DynamicObject, kube::Error> {
    let object = |value: &Value| -> DynamicObject {
        let mut value = value.clone();
        value["metadata"].as_object_mut().unwrap().remove("namespace");
        serde_json::from_value(value).unwrap()
    };
    let mut new = object(&case.new);
    let Some(old) = &case.old else {
        return api.create(&dry_run(), &new).await;
    };
    let created = api.create(&PostParams::default(), &object(old)).await.unwrap_or_else(|error| {
        panic!("{}\n  the object before the change is refused: {error}", case.title());
    });
    let name = created.name_any();
    new.metadata.resource_version = created.metadata.resource_version;
    let result = api.replace(&name, &dry_run(), &new).await;
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    result
}

fn judge(case: &Case, result: Result<DynamicObject, kube::Error>) -> Result<(), String> {
    match (case.accepted, result) {
        (true, Ok(_)) => Ok(()),
        (true, Err(error)) => Err(format!("the API server refuses it: {error}")),
        (false, Ok(_)) => Err("the API server accepts it".into()),
        (false, Err(kube::Error::Api(status))) => named(case, &status),
        (false, Err(error)) => Err(format!("not an answer: {error}")),
    }
}

/// The refusal must name the rule, or the field whose schema is violated: a case that fails for another reason shows nothing.
fn named(case: &Case, status: &Status) -> Result<(), String> {
    let causes = status.details.as_ref().map(|details| details.causes.clone()).unwrap_or_default();
    let ok = match &case.rule {
        RuleId::Cel(message) => causes.iter().any(|cause| cause.message.contains(message.as_str())),
        RuleId::Schema { field, .. } => causes.iter().any(|cause| cause.field.starts_with(field.as_str())),
    };
    if ok { Ok(()) } else { Err(format!("refused for another reason: {}", status.message)) }
}

#[tokio::test]
async fn defaults_and_the_first_status_come_from_the_server() {
    let Some(client) = client("defaults_and_the_first_status_come_from_the_server").await else { return };
    let name = "meridian-crds-defaults";
    namespace(&client, name).await;
    let regions = api(&client, name, "BillingRegion");
    let body: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "billing.meridian.dev/v1alpha1", "kind": "BillingRegion",
        "metadata": {"name": "eu"}, "spec": {"location": "eu-central-1"},
    }))
    .unwrap();
    let region = regions.create(&dry_run(), &body).await.unwrap();
    assert_eq!(region.data["status"]["observedGeneration"], -1);
    let spec = &region.data["spec"];
    assert_eq!(spec["tenancy"]["mode"], "Shared");
    assert_eq!(spec["profile"], "Standard");
    assert_eq!(spec["deletionPolicy"], "Retain");
    assert_eq!(
        spec["stores"],
        json!({}),
        "a managed store is not written into the object: a later external would clash"
    );
}

#[tokio::test]
async fn the_admission_policies_refuse_what_they_should() {
    let Some(client) = client("the_admission_policies_refuse_what_they_should").await else { return };
    let name = "meridian-crds-policies";
    namespace(&client, name).await;
    apply_policies(&client).await;
    let regions = api(&client, name, "BillingRegion");
    let make = |kind: &str, name: &str, spec: Value| -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "billing.meridian.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        }))
        .unwrap()
    };
    // An earlier run may have left it, protected.
    let unprotect = Patch::Merge(json!({"spec": {"protected": false}}));
    if regions.get_opt("eu").await.unwrap().is_some() {
        regions.patch("eu", &PatchParams::default(), &unprotect).await.unwrap();
        regions.delete("eu", &DeleteParams::default()).await.unwrap();
    }

    let tenants = api(&client, name, "Tenant");
    let stranger = make("Tenant", "acme", json!({"regionRef": {"name": "us"}}));
    tenants.create(&dry_run(), &stranger).await.expect("without a region the order of creation is free");

    let protected = make("BillingRegion", "eu", json!({"location": "eu", "protected": true}));
    regions.create(&PostParams::default(), &protected).await.unwrap();

    // A policy and its parameters reach the admission plugin through watches; until then it does not act.
    let refused = async |result: Result<(), kube::Error>| match result {
        Err(kube::Error::Api(status)) if status.code == 403 || status.code == 422 => Some(status.message),
        Err(error) => panic!("{error}"),
        Ok(()) => None,
    };
    let drop_dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    until("a protected region cannot be deleted", async || {
        let result = regions.delete("eu", &drop_dry).await.map(|_| ());
        refused(result).await.is_some_and(|message| message.contains("protected"))
    })
    .await;
    until("a tenant must name the region of its namespace", async || {
        let result = tenants.create(&dry_run(), &stranger).await.map(|_| ());
        refused(result).await.is_some_and(|message| message.contains("eu"))
    })
    .await;
    let second = make("BillingRegion", "us", json!({"location": "us"}));
    until("a namespace holds one region", async || {
        let result = regions.create(&dry_run(), &second).await.map(|_| ());
        refused(result).await.is_some_and(|message| message.contains("namespace of its own"))
    })
    .await;
    let native = make("Tenant", "acme", json!({"regionRef": {"name": "eu"}}));
    tenants.create(&dry_run(), &native).await.expect("a tenant of the region of its namespace");

    regions.patch("eu", &PatchParams::default(), &unprotect).await.unwrap();
    regions.delete("eu", &DeleteParams::default()).await.expect("an unprotected region can be deleted");
}

/// Applies the policies as the chart has them.
async fn apply_policies(client: &Client) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/meridian/policies");
    let mut applied: BTreeMap<String, usize> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for document in documents {
            let object: DynamicObject = serde_json::from_value(document).unwrap();
            let types = object.types.clone().unwrap();
            let plural = if types.kind.ends_with('y') {
                format!("{}ies", types.kind.to_lowercase().trim_end_matches('y'))
            } else {
                format!("{}s", types.kind.to_lowercase())
            };
            let gvk = GroupVersionKind::try_from(&types).unwrap();
            let api: Api<DynamicObject> =
                Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, &plural));
            let name = object.metadata.name.clone().unwrap();
            api.patch(&name, &PatchParams::apply("meridian-crds-test").force(), &Patch::Apply(&object))
                .await
                .unwrap_or_else(|error| panic!("{} {name}: {error}", types.kind));
            *applied.entry(types.kind).or_default() += 1;
        }
    }
    assert_eq!(
        applied.get("ValidatingAdmissionPolicy"),
        applied.get("ValidatingAdmissionPolicyBinding"),
        "every policy has its binding: {applied:?}"
    );
    assert!(!applied.is_empty());
}
