//! What the conditions say, scenario by scenario: from objects as a server would store them to the status.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "a test fails by panicking, reads its golden files, and shares fixtures with its siblings"
)]

mod fixture;

use std::sync::Arc;

use jiff::Timestamp;
use kube_core::DynamicObject;
use meridian_crds::BillingRegion;
use meridian_crds::conditions::Reason;
use meridian_desired::build::{Plan, build};
use meridian_desired::component::Component;
use meridian_desired::object::{Kind, Object};
use meridian_desired::observed::Observed;
use meridian_desired::region::ValidRegion;
use meridian_desired::status::{Difference, Findings, Obstacle, difference, status};
use meridian_desired::validate::Problem;
use serde_json::{Value, json};

const NOW: &str = "2026-03-01T11:00:00Z";

/// A region some way up: what is stored, and what each workload says of itself.
struct Scene {
    resource: BillingRegion,
    region: ValidRegion,
    stored: Vec<(Kind, Value)>,
}

impl Scene {
    /// Nothing is there yet.
    fn new() -> Scene {
        let resource = fixture::with_spec("");
        let region = fixture::judge(&resource, &[]).unwrap();
        Scene { resource, region, stored: Vec::new() }
    }

    /// Everything is there and ready.
    fn ready() -> Scene {
        let mut scene = Scene::new();
        for _ in 0..6 {
            for object in scene.plan().apply {
                scene.store(object);
            }
        }
        scene
    }

    fn store(&mut self, Object { key, body }: Object) {
        let mut body = body;
        body["metadata"]["generation"] = 1.into();
        body["metadata"]["creationTimestamp"] = "2026-03-01T10:00:00Z".into();
        let replicas = body["spec"]["replicas"].clone();
        body["status"] = match key.kind {
            Kind::StatefulSet => {
                json!({"observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas})
            }
            Kind::Deployment => {
                json!({"observedGeneration": 1, "replicas": replicas, "availableReplicas": replicas, "updatedReplicas": replicas})
            }
            Kind::Job => json!({"conditions": [{"type": "Complete", "status": "True"}]}),
            _ => Value::Null,
        };
        self.stored.retain(|(kind, other)| {
            !(*kind == key.kind && other["metadata"]["name"] == body["metadata"]["name"])
        });
        self.stored.push((key.kind, body));
    }

    fn edit(&mut self, kind: Kind, name: &str, edit: impl FnOnce(&mut Value)) {
        let found = self.stored.iter_mut().find(|(other, body)| {
            *other == kind && body["metadata"]["name"].as_str().is_some_and(|other| other.starts_with(name))
        });
        edit(&mut found.unwrap_or_else(|| panic!("no {kind:?} {name}")).1);
    }

    fn pod(&mut self, component: Component, created: &str, status: Value) {
        let name = format!("eu-{}-0", component.name());
        let labels = meridian_desired::object::labels(&self.region, Some(component));
        self.stored.push((Kind::Pod, json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
            "metadata": {"name": name, "namespace": "billing-eu", "labels": labels, "creationTimestamp": created},
            "status": status,
        })));
    }

    fn observed(&self) -> Observed {
        let object = |body: &Value| Arc::new(serde_json::from_value::<DynamicObject>(body.clone()).unwrap());
        Observed::new(self.stored.iter().map(|(kind, body)| (*kind, object(body))))
    }

    fn plan(&self) -> Plan {
        build(&self.region, &fixture::credentials(&self.region), &self.observed(), now())
    }

    fn status(&self, obstacles: &[Obstacle]) -> meridian_crds::BillingRegionStatus {
        let plan = self.plan();
        status(
            &self.resource,
            &Findings::Valid { region: &self.region, progress: &plan.progress, obstacles },
            now(),
        )
    }

    fn says(&self, expected: &[(&str, &str, &str)]) {
        says(&self.status(&[]), expected);
    }
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn says(status: &meridian_crds::BillingRegionStatus, expected: &[(&str, &str, &str)]) {
    for (type_, value, reason) in expected {
        let found = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == *type_)
            .unwrap_or_else(|| panic!("no {type_}"));
        assert_eq!(
            (found.status.as_str(), found.reason.as_str()),
            (*value, *reason),
            "{type_}: {}",
            found.message
        );
    }
}

fn message(status: &meridian_crds::BillingRegionStatus, type_: &str) -> String {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap().message.clone()
}

#[test]
fn at_first_sight_every_condition_is_there() {
    let scene = Scene::new();
    scene.says(&[
        ("Ready", "False", "Progressing"),
        ("Reconciling", "True", "Progressing"),
        ("Stalled", "False", "Progressing"),
        ("Available", "False", "WaitingForPods"),
        ("PostgresReady", "False", "Progressing"),
        ("SchemasMigrated", "False", "WaitingForDependency"),
        ("IngestReady", "False", "WaitingForDependency"),
    ]);
    assert_eq!(scene.status(&[]).conditions.len(), 4 + 12);
    assert_eq!(scene.status(&[]).stores_ready.as_deref(), Some("0/7"));
}

#[test]
fn all_up_is_ready_and_available() {
    let scene = Scene::ready();
    scene.says(&[
        ("Ready", "True", "Succeeded"),
        ("Reconciling", "False", "Succeeded"),
        ("Stalled", "False", "Succeeded"),
        ("Available", "True", "Succeeded"),
        ("SchemasMigrated", "True", "Succeeded"),
    ]);
    assert_eq!(scene.status(&[]).services_ready.as_deref(), Some("4/4"));
    assert_eq!(scene.status(&[]).version.as_deref(), Some("1.2.3"));
}

#[test]
fn an_older_status_of_a_workload_is_not_believed() {
    let mut scene = Scene::ready();
    scene.edit(Kind::StatefulSet, "eu-kafka", |set| set["metadata"]["generation"] = 2.into());
    scene.says(&[
        ("KafkaReady", "False", "WaitingForPods"),
        ("Ready", "False", "Progressing"),
        ("Available", "True", "Succeeded"),
    ]);
}

#[test]
fn a_rolling_service_is_available_though_not_ready() {
    let mut scene = Scene::ready();
    scene.edit(Kind::Deployment, "eu-api", |deployment| {
        deployment["status"] =
            json!({"observedGeneration": 1, "replicas": 2, "availableReplicas": 1, "updatedReplicas": 1});
    });
    scene.says(&[
        ("ApiReady", "False", "WaitingForPods"),
        ("Ready", "False", "Progressing"),
        ("Available", "True", "Succeeded"),
    ]);
}

#[test]
fn a_store_that_went_down_leaves_running_services_as_they_are() {
    let mut scene = Scene::ready();
    scene.edit(Kind::StatefulSet, "eu-clickhouse", |set| set["status"]["readyReplicas"] = 0.into());
    scene.says(&[
        ("ClickHouseReady", "False", "WaitingForPods"),
        ("ConsumerReady", "True", "Succeeded"),
        ("Ready", "False", "Progressing"),
    ]);
    let plan = scene.plan();
    assert!(
        plan.apply.iter().all(|object| object.key.kind != Kind::Deployment),
        "behind a closed gate nothing is applied"
    );
    assert_eq!(plan.prune, []);
}

#[test]
fn a_pod_that_cannot_get_its_image_is_told_after_a_grace() {
    let waiting = json!({"containerStatuses": [{
        "name": "kafka", "image": "registry.example/kafka:1.2.3", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image, 17s"}},
    }]});
    for (created, reason) in
        [("2026-03-01T10:59:45Z", "WaitingForPods"), ("2026-03-01T10:00:00Z", "PodsFailing")]
    {
        let mut scene = Scene::ready();
        scene.edit(Kind::StatefulSet, "eu-kafka", |set| set["status"]["readyReplicas"] = 0.into());
        scene.pod(Component::Kafka, created, waiting.clone());
        scene.says(&[("KafkaReady", "False", reason)]);
    }
}

#[test]
fn what_fails_is_told_in_words_that_stay_the_same() {
    let container = |restarts: i32, state: Value| {
        json!({"containerStatuses": [{
            "name": "ingest", "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
        }]})
    };
    let cases = [
        (
            container(0, json!({"waiting": {"reason": "CreateContainerConfigError"}})),
            "a Secret or ConfigMap that it reads is missing",
        ),
        (
            container(3, json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}})),
            "keeps crashing",
        ),
        (container(4, json!({"running": {"startedAt": NOW}})), "keeps crashing"),
        (container(2, json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})), "runs out of memory"),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes, 17 pods"}]}),
            "fits on no node",
        ),
    ];
    for (status, words) in cases {
        let mut scene = Scene::ready();
        scene.edit(Kind::Deployment, "eu-ingest", |deployment| {
            deployment["status"]["availableReplicas"] = 0.into()
        });
        scene.pod(Component::Ingest, "2026-03-01T10:00:00Z", status);
        let status = scene.status(&[]);
        says(
            &status,
            &[
                ("IngestReady", "False", "PodsFailing"),
                ("Ready", "False", "PodsFailing"),
                ("Available", "False", "WaitingForPods"),
            ],
        );
        assert!(message(&status, "Ready").contains(words), "{}", message(&status, "Ready"));
        assert!(message(&status, "Ready").contains("eu-ingest-0"), "it names the pod");
    }
}

#[test]
fn a_restart_or_two_is_nobodys_concern() {
    let mut scene = Scene::ready();
    scene.edit(Kind::Deployment, "eu-ingest", |deployment| {
        deployment["status"]["availableReplicas"] = 0.into()
    });
    scene.pod(Component::Ingest, "2026-03-01T10:00:00Z", json!({"containerStatuses": [{
        "name": "ingest", "image": "i", "imageID": "", "ready": false, "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }]}));
    scene.says(&[("IngestReady", "False", "WaitingForPods")]);
}

#[test]
fn a_failed_migration_stalls_and_says_how_to_go_on() {
    let mut scene = Scene::ready();
    scene.edit(Kind::Job, "eu-migrate-", |job| {
        job["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]})
    });
    let status = scene.status(&[]);
    says(
        &status,
        &[
            ("Stalled", "True", "MigrationFailed"),
            ("SchemasMigrated", "False", "MigrationFailed"),
            ("Available", "True", "Succeeded"),
        ],
    );
    assert!(message(&status, "Stalled").contains("kubectl delete job eu-migrate-"));
}

#[test]
fn a_migration_begins_only_when_a_former_one_that_hangs_is_gone() {
    let mut scene = Scene::ready();
    scene.edit(Kind::Job, "eu-migrate-", |job| {
        job["metadata"]["name"] = "eu-migrate-former".into();
        job["status"] = json!({"active": 1});
    });
    let plan = scene.plan();
    assert!(plan.apply.iter().all(|object| object.key.kind != Kind::Job));
    assert_eq!(plan.prune.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["eu-migrate-former"]);
    assert!(message(&scene.status(&[]), "SchemasMigrated").contains("former"));
    // One that came through is kept until the next has come through too, and holds up nothing.
    scene.edit(Kind::Job, "eu-migrate-former", |job| {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]})
    });
    let plan = scene.plan();
    assert_eq!(plan.apply.iter().filter(|object| object.key.kind == Kind::Job).count(), 1);
    assert_eq!(plan.prune, []);
}

#[test]
fn pods_that_admission_refuses_are_told() {
    let mut scene = Scene::ready();
    scene.edit(Kind::Deployment, "eu-worker", |deployment| {
        deployment["status"] = json!({"observedGeneration": 1, "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: tiny"}]});
    });
    let status = scene.status(&[]);
    says(&status, &[("WorkerReady", "False", "PodsFailing")]);
    assert!(message(&status, "WorkerReady").contains("exceeded quota: tiny"));
}

#[test]
fn obstacles_stall_but_a_field_conflict_is_only_reported() {
    let scene = Scene::ready();
    let obstacle = |reason| Obstacle { reason, message: "m".to_owned() };
    says(
        &scene.status(&[obstacle(Reason::NameConflict)]),
        &[("Stalled", "True", "NameConflict"), ("Ready", "False", "NameConflict")],
    );
    says(
        &scene.status(&[obstacle(Reason::Progressing)]),
        &[("Stalled", "False", "Progressing"), ("Reconciling", "True", "Progressing")],
    );
    says(&scene.status(&[obstacle(Reason::FieldConflict)]), &[("Ready", "True", "Succeeded")]);
}

#[test]
fn a_spec_that_became_invalid_leaves_the_parts_as_they_were() {
    let mut scene = Scene::ready();
    scene.resource.status = Some(scene.status(&[]));
    let problems = [Problem { reason: Reason::NotSupported, message: "do otherwise".to_owned() }];
    let after = status(&scene.resource, &Findings::Invalid(&problems), now());
    says(
        &after,
        &[
            ("Stalled", "True", "NotSupported"),
            ("Available", "True", "Succeeded"),
            ("KafkaReady", "True", "Succeeded"),
        ],
    );
    assert_eq!(after.endpoints, scene.resource.status.as_ref().unwrap().endpoints);
}

#[test]
fn a_condition_is_dated_by_when_its_status_changed() {
    let mut scene = Scene::ready();
    scene.resource.status = Some(scene.status(&[]));
    scene.edit(Kind::StatefulSet, "eu-redis", |set| set["status"]["readyReplicas"] = 0.into());
    let plan = scene.plan();
    let findings = Findings::Valid { region: &scene.region, progress: &plan.progress, obstacles: &[] };
    let later = "2026-03-01T12:00:00Z".parse().unwrap();
    let after = status(&scene.resource, &findings, later);
    let dated = |type_: &str| {
        after.conditions.iter().find(|condition| condition.type_ == type_).unwrap().last_transition_time.0
    };
    assert_eq!(dated("RedisReady"), later);
    assert_eq!(dated("KafkaReady"), now());
    assert_eq!(dated("Stalled"), now(), "another reason is no transition");
}

#[test]
fn news_are_written_at_once_and_progress_may_wait() {
    let scene = Scene::ready();
    let ready = scene.status(&[]);
    assert_eq!(difference(None, &ready), Difference::News);
    assert_eq!(difference(Some(&ready), &ready), Difference::None);
    let mut redated = ready.clone();
    redated.conditions[0].last_transition_time.0 = Timestamp::UNIX_EPOCH;
    assert_eq!(difference(Some(&ready), &redated), Difference::None, "times do not count");

    let empty = Scene::new().status(&[]);
    let mut one_up = Scene::new();
    let redis = one_up
        .plan()
        .apply
        .into_iter()
        .find(|object| object.key.kind == Kind::StatefulSet && object.key.name == "eu-redis");
    one_up.store(redis.unwrap());
    assert_eq!(difference(Some(&empty), &one_up.status(&[])), Difference::Progress);
    assert_eq!(
        difference(Some(&one_up.status(&[])), &empty),
        Difference::News,
        "what was ready and is not, is news"
    );
    assert_eq!(difference(Some(&empty), &ready), Difference::News);
}

#[test]
fn volumes_grow_in_place() {
    let mut scene = Scene::ready();
    scene.stored.push((
        Kind::PersistentVolumeClaim,
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-eu-postgres-0", "namespace": "billing-eu"},
            "spec": {"resources": {"requests": {"storage": "2Gi"}}},
        }),
    ));
    assert!(scene.plan().apply.iter().all(|object| object.key.kind != Kind::PersistentVolumeClaim));
    scene.region =
        fixture::judge(&fixture::with_spec("stores: {postgres: {managed: {storage: 5Gi}}}"), &[]).unwrap();
    let plan = scene.plan();
    let grown: Vec<_> =
        plan.apply.iter().filter(|object| object.key.kind == Kind::PersistentVolumeClaim).collect();
    assert_eq!(grown.len(), 1);
    assert_eq!(grown[0].body["spec"]["resources"]["requests"]["storage"], "5Gi");
    // Its template cannot be changed, and is not.
    let set = plan
        .apply
        .iter()
        .find(|object| object.key.kind == Kind::StatefulSet && object.key.name == "eu-postgres")
        .unwrap();
    assert_eq!(
        set.body["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"],
        "2Gi"
    );
}
