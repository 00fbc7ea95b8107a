//! The controllers of Kubernetes that the operator counts on, one step at a time: workloads get their pods and volumes and
//! become ready, Jobs end, what belongs to nobody is collected.

use serde_json::{Value, json};

use super::server::{At, Server};

pub const STATEFUL_SETS: &str = "apis/apps/v1/statefulsets";
pub const DEPLOYMENTS: &str = "apis/apps/v1/deployments";
pub const JOBS: &str = "apis/batch/v1/jobs";
pub const PODS: &str = "api/v1/pods";
pub const VOLUMES: &str = "api/v1/persistentvolumeclaims";
pub const SECRETS: &str = "api/v1/secrets";

/// Moves the cluster one step on. False: nothing moved.
pub fn step(server: &Server) -> bool {
    let before = server.state().version;
    for set in server.list(STATEFUL_SETS) {
        run_stateful_set(server, &set);
    }
    for deployment in server.list(DEPLOYMENTS) {
        run_deployment(server, &deployment);
    }
    for job in server.list(JOBS) {
        write_status(
            server,
            &job,
            json!({"succeeded": 1, "conditions": [
                {"type": "Complete", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]}),
        );
    }
    collect(server);
    server.state().version != before
}

fn run_stateful_set(server: &Server, set: &Value) {
    let replicas = set["spec"]["replicas"].as_i64().unwrap();
    for ordinal in 0..replicas {
        let name = format!("{}-{ordinal}", text(set, "/metadata/name"));
        make_pod(server, set, &name);
        for claim in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
            let claim_name = format!("{}-{name}", text(claim, "/metadata/name"));
            if server.get(VOLUMES, text(set, "/metadata/namespace"), &claim_name).is_none() {
                let mut volume = claim.clone();
                volume["apiVersion"] = "v1".into();
                volume["kind"] = "PersistentVolumeClaim".into();
                volume["metadata"]["name"] = claim_name.into();
                volume["metadata"]["namespace"] = set["metadata"]["namespace"].clone();
                server.put("statefulset-controller", volume);
            }
        }
    }
    write_status(
        server,
        set,
        json!({
            "observedGeneration": set["metadata"]["generation"],
            "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas,
        }),
    );
}

fn run_deployment(server: &Server, deployment: &Value) {
    let replicas = deployment["spec"]["replicas"].as_i64().unwrap();
    for ordinal in 0..replicas {
        make_pod(server, deployment, &format!("{}-x{ordinal}", text(deployment, "/metadata/name")));
    }
    write_status(
        server,
        deployment,
        json!({
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas, "availableReplicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas,
        }),
    );
}

fn make_pod(server: &Server, workload: &Value, name: &str) {
    let namespace = text(workload, "/metadata/namespace");
    if server.get(PODS, namespace, name).is_some() || !workload["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    server.put("workload-controller", json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": workload["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{"apiVersion": workload["apiVersion"], "kind": workload["kind"],
                "name": workload["metadata"]["name"], "uid": workload["metadata"]["uid"], "controller": true}],
        },
        "spec": {"containers": []},
    }));
}

fn write_status(server: &Server, object: &Value, status: Value) {
    let mut object = object.clone();
    object["status"] = status;
    server.put("workload-controller", object);
}

/// Objects whose owners are all gone go too.
fn collect(server: &Server) {
    loop {
        let orphan: Option<At> = {
            let state = server.state();
            let uids: Vec<&str> =
                state.objects.values().filter_map(|stored| stored.body["metadata"]["uid"].as_str()).collect();
            state
                .objects
                .iter()
                .find(|(_, stored)| {
                    let owners = stored.body["metadata"]["ownerReferences"].as_array();
                    stored.body["metadata"]["deletionTimestamp"].is_null()
                        && owners.is_some_and(|owners| {
                            !owners.is_empty()
                                && owners.iter().all(|owner| !uids.contains(&owner["uid"].as_str().unwrap()))
                        })
                })
                .map(|(at, _)| at.clone())
        };
        match orphan {
            Some(at) => server.delete(&at.api, &at.namespace, &at.name),
            None => return,
        }
    }
}

pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
