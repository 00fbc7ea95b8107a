//! Named scenarios: what the operator sends, and what it leaves alone.

use std::time::Duration;

use meridian_operator::context::Pace;
use serde_json::{Value, json};

use super::server::Fault;
use super::simulated::{self, DEPLOYMENTS, JOBS, PODS, SECRETS, STATEFUL_SETS, VOLUMES, text};
use super::world::{
    METERS, NAMESPACE, PLANS, REGIONS, TENANTS, World, catalogue, condition, dev_region, images,
};

async fn ready_world() -> World {
    let mut world = World::new().await;
    world.server.put("user", dev_region());
    for object in catalogue() {
        world.server.put("user", object);
    }
    world.settle().await;
    assert_eq!(world.condition("Ready").0, "True", "{:?}", world.condition("Ready"));
    world
}

fn is(world: &World, type_: &str, status: &str, reason: &str) {
    let (found, why, message) = world.condition(type_);
    assert_eq!((found.as_str(), why.as_str()), (status, reason), "{type_}: {message}");
}

#[tokio::test]
async fn a_region_and_its_catalogue_become_ready() {
    let world = ready_world().await;
    for (api, name) in [(METERS, "api-calls"), (PLANS, "starter"), (TENANTS, "acme")] {
        let object = world.server.get(api, NAMESPACE, name).unwrap();
        assert_eq!(condition(&object, "Ready").0, "True", "{name}: {object:#}");
    }
    let region = world.region();
    let status = region.status.unwrap();
    assert_eq!(status.observed_generation, region.metadata.generation);
    assert_eq!(status.stores_ready.as_deref(), Some("7/7"));
    assert_eq!(status.services_ready.as_deref(), Some("4/4"));
    assert_eq!(status.version.as_deref(), Some("1"));
    assert_eq!(world.control.rows().len(), 3);
    assert_eq!(world.server.state().violations, Vec::<String>::new());
}

#[tokio::test]
async fn create_to_ready_takes_at_most_six_writes_more_than_children() {
    let mut world = World::new().await;
    world.server.put("user", dev_region());
    world.server.script([]);
    world.settle().await;
    is(&world, "Ready", "True", "Succeeded");
    let writes: Vec<_> = world.server.calls().into_iter().filter(|call| call.is_write()).collect();
    let of_children = |path: &str| {
        !path.contains("/billingregions/")
            && !path.contains("/events")
            && !path.starts_with("api/v1/namespaces/lab?")
            && path != "api/v1/namespaces/lab"
    };
    let children = writes.iter().filter(|call| of_children(&call.path)).count();
    println!(
        "create -> Ready: {} writes, {children} children, {} more",
        writes.len(),
        writes.len() - children
    );
    for call in writes.iter().filter(|call| !of_children(&call.path)) {
        println!("  {} {}", call.method, call.path);
    }
    let objects = world
        .snapshot()
        .keys()
        .filter(|at| !at.api.ends_with("/pods") && !at.api.ends_with("/persistentvolumeclaims"))
        .count();
    assert_eq!(children, objects - 2, "one write a child: all but the region and the namespace");
    assert!(writes.len() <= children + 6, "{} writes for {children} children", writes.len());
}

#[tokio::test]
async fn a_pass_in_which_nothing_changed_sends_nothing() {
    let mut world = ready_world().await;
    world.server.script([]);
    assert_eq!(world.pass().await, Vec::<String>::new());
    assert_eq!(world.server.calls(), vec![]);
}

#[tokio::test]
async fn a_restarted_operator_sends_nothing_but_one_question_to_the_api() {
    let mut world = ready_world().await;
    world.server.script([]);
    world.restart();
    assert_eq!(world.pass().await, Vec::<String>::new());
    let calls: Vec<String> =
        world.server.calls().iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    assert_eq!(calls, ["GET control/catalogue"]);
}

#[tokio::test]
async fn services_wait_for_the_migration_and_that_for_the_stores() {
    let mut world = World::new().await;
    world.server.put("user", dev_region());
    world.pass().await;
    assert_eq!(world.server.list(STATEFUL_SETS).len(), 7);
    assert_eq!((world.server.list(JOBS).len(), world.server.list(DEPLOYMENTS).len()), (0, 0));
    is(&world, "SchemasMigrated", "False", "WaitingForDependency");
    simulated::step(&world.server);
    world.pass().await;
    assert_eq!((world.server.list(JOBS).len(), world.server.list(DEPLOYMENTS).len()), (1, 0));
    simulated::step(&world.server);
    world.pass().await;
    let names = |world: &World| -> Vec<String> {
        world
            .server
            .list(DEPLOYMENTS)
            .iter()
            .map(|deployment| text(deployment, "/metadata/name").to_owned())
            .collect()
    };
    assert_eq!(names(&world), ["demo-consumer", "demo-worker"]);
    simulated::step(&world.server);
    world.pass().await;
    assert_eq!(names(&world), ["demo-api", "demo-consumer", "demo-worker"]);
    simulated::step(&world.server);
    world.pass().await;
    assert_eq!(names(&world), ["demo-api", "demo-consumer", "demo-ingest", "demo-worker"]);
}

#[tokio::test]
async fn drift_is_put_right_and_told() {
    let mut world = ready_world().await;
    world.server.edit("kubectl", DEPLOYMENTS, NAMESPACE, "demo-ingest", |deployment| {
        deployment["spec"]["replicas"] = 7.into()
    });
    world.server.delete("apis/networking.k8s.io/v1/networkpolicies", NAMESPACE, "demo-default-deny");
    world.server.script([]);
    world.settle().await;
    let deployment = world.server.get(DEPLOYMENTS, NAMESPACE, "demo-ingest").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert!(
        world
            .server
            .get("apis/networking.k8s.io/v1/networkpolicies", NAMESPACE, "demo-default-deny")
            .is_some()
    );
    // Without force first, and with force only then.
    let applies: Vec<bool> = world
        .server
        .calls()
        .iter()
        .filter(|call| {
            call.path.ends_with("/demo-ingest") && call.path.contains("deployments") && call.is_write()
        })
        .map(|call| call.forced)
        .collect();
    assert_eq!(applies, [false, true]);
}

#[tokio::test]
async fn what_others_add_is_left_to_them() {
    let mut world = ready_world().await;
    world.server.edit("kubectl", DEPLOYMENTS, NAMESPACE, "demo-ingest", |deployment| {
        deployment["metadata"]["labels"]["team"] = "payments".into();
        deployment["spec"]["template"]["spec"]["containers"][0]["env"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "EXTRA", "value": "1"}));
    });
    simulated::step(&world.server);
    world.server.script([]);
    world.pass().await;
    assert_eq!(world.server.writes(), 0, "{:?}", world.server.calls());
}

#[tokio::test]
async fn a_writer_who_does_not_give_up_makes_no_storm() {
    let mut world = ready_world().await;
    world.server.script([]);
    for replicas in 10..20 {
        world.server.edit("other", DEPLOYMENTS, NAMESPACE, "demo-ingest", |deployment| {
            deployment["spec"]["replicas"] = replicas.into()
        });
        world.pass().await;
    }
    let forced = world
        .server
        .calls()
        .iter()
        .filter(|call| call.forced && call.path.ends_with("deployments/demo-ingest"))
        .count();
    assert_eq!(forced, 1, "forced once a minute, however often the other writes");
}

#[tokio::test]
async fn a_foreign_object_with_our_name_is_left_untouched() {
    let mut world = World::new().await;
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-kafka", "namespace": NAMESPACE}, "data": {"theirs": "yes"}});
    world.server.put("somebody", foreign);
    let before = world.server.get("api/v1/configmaps", NAMESPACE, "demo-kafka");
    world.server.put("user", dev_region());
    for _ in 0..6 {
        world.pass().await;
        simulated::step(&world.server);
    }
    assert_eq!(world.server.get("api/v1/configmaps", NAMESPACE, "demo-kafka"), before);
    is(&world, "Stalled", "True", "NameConflict");
    assert!(
        world.condition("Stalled").2.contains("ConfigMap demo-kafka"),
        "{}",
        world.condition("Stalled").2
    );
}

#[tokio::test]
async fn a_foreign_secret_with_the_name_of_a_credential_stops_the_region_before_anything_is_built() {
    let mut world = World::new().await;
    world.server.put("somebody", json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo-postgres-credentials", "namespace": NAMESPACE}, "data": {"password": "aHVudGVyMg=="}}));
    let before = world.server.get(SECRETS, NAMESPACE, "demo-postgres-credentials");
    world.server.put("user", dev_region());
    world.pass().await;
    assert_eq!(world.server.get(SECRETS, NAMESPACE, "demo-postgres-credentials"), before);
    is(&world, "Stalled", "True", "NameConflict");
    assert_eq!(world.server.list(STATEFUL_SETS).len(), 0);
}

#[tokio::test]
async fn a_foreign_secret_is_never_an_api_key() {
    let mut world = World::new().await;
    world.server.put("somebody", json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme-key", "namespace": NAMESPACE}, "data": {"apiKey": "aHVudGVyMg=="}}));
    let before = world.server.get(SECRETS, NAMESPACE, "acme-key");
    world.server.put("user", dev_region());
    for object in catalogue() {
        world.server.put("user", object);
    }
    world.settle().await;
    assert_eq!(world.server.get(SECRETS, NAMESPACE, "acme-key"), before);
    let tenant = world.server.get(TENANTS, NAMESPACE, "acme").unwrap();
    assert_eq!(condition(&tenant, "Stalled").1, "NameConflict", "{tenant:#}");
    assert!(!world.control.rows().contains_key(&("tenants".into(), "acme".into())));
}

#[tokio::test]
async fn a_bad_spec_is_a_condition_and_nothing_is_touched() {
    let mut world = ready_world().await;
    let before: Vec<Value> = world.server.list(STATEFUL_SETS);
    world.server.edit("user", REGIONS, NAMESPACE, "demo", |region| {
        region["spec"]["stores"] = json!({"postgres": {"operatorRef": {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "pg"}}});
    });
    world.settle().await;
    is(&world, "Stalled", "True", "NotSupported");
    is(&world, "Ready", "False", "NotSupported");
    is(&world, "Available", "True", "Succeeded");
    assert_eq!(world.server.list(STATEFUL_SETS), before);
}

#[tokio::test]
async fn a_paused_region_is_only_reported_on() {
    let mut world = ready_world().await;
    world.server.edit("user", REGIONS, NAMESPACE, "demo", |region| region["spec"]["paused"] = true.into());
    world.server.edit("kubectl", DEPLOYMENTS, NAMESPACE, "demo-ingest", |deployment| {
        deployment["spec"]["replicas"] = 3.into()
    });
    world.server.script([]);
    world.settle().await;
    let deployment = world.server.get(DEPLOYMENTS, NAMESPACE, "demo-ingest").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    is(&world, "Ready", "False", "Paused");
    is(&world, "Available", "True", "Succeeded");
    let writes: Vec<_> = world
        .server
        .calls()
        .into_iter()
        .filter(|call| call.is_write() && !call.path.contains("events"))
        .collect();
    assert!(writes.iter().all(|call| call.path.ends_with("/status")), "{writes:?}");
}

#[tokio::test]
async fn a_new_image_migrates_before_the_services_roll() {
    let mut world = ready_world().await;
    world.restart_with_images(images("2"));
    world.pass().await;
    let image = |world: &World, name: &str| {
        let deployment = world.server.get(DEPLOYMENTS, NAMESPACE, name).unwrap();
        text(&deployment, "/spec/template/spec/containers/0/image").to_owned()
    };
    // The stores roll first, and nothing else.
    assert!(image(&world, "demo-api").ends_with(":1"));
    assert_eq!(world.server.list(JOBS).len(), 1);
    simulated::step(&world.server);
    world.pass().await;
    assert_eq!(world.server.list(JOBS).len(), 2, "the migration to version 2");
    assert!(image(&world, "demo-consumer").ends_with(":1"));
    world.settle().await;
    assert!(image(&world, "demo-ingest").ends_with(":2"));
    assert_eq!(world.server.list(JOBS).len(), 1, "the former migration is pruned");
    is(&world, "Ready", "True", "Succeeded");
}

#[tokio::test]
async fn a_store_that_became_external_is_pruned_and_its_data_kept() {
    let mut world = ready_world().await;
    world.server.edit("user", REGIONS, NAMESPACE, "demo", |region| {
        region["spec"]["stores"] =
            json!({"redis": {"external": {"host": "redis.example", "port": 6380, "tls": true}}});
    });
    world.settle().await;
    assert!(world.server.get(STATEFUL_SETS, NAMESPACE, "demo-redis").is_none());
    assert!(world.server.get(VOLUMES, NAMESPACE, "data-demo-redis-0").is_some());
    assert!(world.server.get(SECRETS, NAMESPACE, "demo-redis-credentials").is_some());
    is(&world, "RedisReady", "True", "External");
    is(&world, "Ready", "True", "Succeeded");
}

fn redis_secret(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "their-redis", "namespace": NAMESPACE}, "data": data})
}

async fn world_with_external_redis() -> World {
    let mut world = World::new().await;
    let mut region = dev_region();
    region["spec"]["stores"] = json!({"redis": {"external": {
        "host": "redis.example", "port": 6380, "tls": true, "credentialsSecretRef": {"name": "their-redis"},
    }}});
    world.server.put("user", region);
    world.settle().await;
    world
}

#[tokio::test]
async fn the_secret_of_an_external_store_is_waited_for_by_name_and_never_touched() {
    let mut world = world_with_external_redis().await;
    is(&world, "Ready", "False", "SecretMissing");
    is(&world, "Stalled", "False", "Progressing");
    is(&world, "RedisReady", "False", "SecretMissing");
    assert!(world.condition("Ready").2.contains("their-redis"), "{}", world.condition("Ready").2);
    assert_eq!((world.server.list(JOBS).len(), world.server.list(DEPLOYMENTS).len()), (0, 0));

    for empty in [json!({"user": "YQ=="}), json!({"password": ""})] {
        world.server.put("user", redis_secret(empty));
        world.settle().await;
        is(&world, "Ready", "False", "SecretInvalid");
        assert!(world.condition("Ready").2.contains("password"), "{}", world.condition("Ready").2);
    }

    let secret = redis_secret(json!({"password": "aHVudGVyMg=="}));
    world.server.put("user", secret.clone());
    world.settle().await;
    is(&world, "Ready", "True", "Succeeded");
    let stored = world.server.get(SECRETS, NAMESPACE, "their-redis").unwrap();
    assert_eq!((&stored["data"], &stored["metadata"]["labels"]), (&secret["data"], &Value::Null));
}

#[tokio::test]
async fn a_password_that_its_owner_rotates_rolls_the_pods_that_read_it_and_no_others() {
    let mut world = world_with_external_redis().await;
    world.server.put("user", redis_secret(json!({"password": "aHVudGVyMg=="})));
    world.settle().await;
    let config = |world: &World, api: &str, name: &str| {
        let workload = world.server.get(api, NAMESPACE, name).unwrap();
        text(&workload, "/spec/template/metadata/annotations/billing.meridian.dev~1config").to_owned()
    };
    let reader = config(&world, DEPLOYMENTS, "demo-ingest");
    let other = config(&world, STATEFUL_SETS, "demo-kafka");
    world.server.script([]);
    assert_eq!(world.pass().await, Vec::<String>::new());
    assert_eq!(world.server.calls(), vec![], "a Secret that did not change is not asked for again");

    // A key that nobody reads, and a label: asked for once, and nothing rolls.
    world.server.put("user", redis_secret(json!({"password": "aHVudGVyMg==", "note": "YQ=="})));
    world.server.script([]);
    world.pass().await;
    assert_eq!(world.server.calls().len(), 1, "{:?}", world.server.calls());
    assert_eq!(config(&world, DEPLOYMENTS, "demo-ingest"), reader);

    world.server.put("user", redis_secret(json!({"password": "aHVudGVyMw=="})));
    world.settle().await;
    assert_ne!(config(&world, DEPLOYMENTS, "demo-ingest"), reader);
    assert_eq!(config(&world, STATEFUL_SETS, "demo-kafka"), other);
    is(&world, "Ready", "True", "Succeeded");
}

#[tokio::test]
async fn a_second_tenant_in_a_dedicated_region_is_refused_with_its_reason() {
    let mut world = World::new().await;
    let mut region = dev_region();
    region["spec"]["tenancy"] = json!({"mode": "Dedicated", "tenantName": "acme"});
    world.server.put("user", region);
    for object in catalogue() {
        world.server.put("user", object);
    }
    let mut second = catalogue()[2].clone();
    second["metadata"]["name"] = "globex".into();
    second["spec"]["apiKeys"][0]["secretRef"]["name"] = "globex-key".into();
    world.server.put("user", second);
    world.settle().await;
    let globex = world.server.get(TENANTS, NAMESPACE, "globex").unwrap();
    assert_eq!(condition(&globex, "Stalled").1, "TenancyRefused");
    assert!(world.server.get(SECRETS, NAMESPACE, "globex-key").is_none());
    assert!(!world.control.rows().contains_key(&("tenants".into(), "globex".into())));
    assert_eq!(condition(&world.server.get(TENANTS, NAMESPACE, "acme").unwrap(), "Ready").0, "True");
}

#[tokio::test]
async fn a_second_region_in_a_namespace_is_refused() {
    let mut world = ready_world().await;
    let mut second = dev_region();
    second["metadata"]["name"] = "second".into();
    world.server.put("user", second);
    world.settle().await;
    let second = world.server.get(REGIONS, NAMESPACE, "second").unwrap();
    assert_eq!(condition(&second, "Stalled").1, "NamespaceTaken");
    is(&world, "Ready", "True", "Succeeded");
}

#[tokio::test]
async fn what_the_api_refuses_is_told_and_not_sent_again() {
    let mut world = World::new().await;
    world.control.refuse(
        "api-calls",
        422,
        json!({"code": "malformed", "detail": "no such thing", "field": "eventType"}),
    );
    world.server.put("user", dev_region());
    world.server.put("user", catalogue()[0].clone());
    world.settle().await;
    let meter = world.server.get(METERS, NAMESPACE, "api-calls").unwrap();
    let (status, reason, message) = condition(&meter, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "CatalogueRefused"));
    assert!(message.contains("eventType: no such thing"), "{message}");
    let puts = world.control.puts();
    world.pass().await;
    world.pass().await;
    assert_eq!(world.control.puts(), puts);
}

#[tokio::test]
async fn a_price_that_does_not_fit_its_meter_is_told_before_it_is_sent() {
    let mut world = World::new().await;
    world.server.put("user", dev_region());
    let [meter, mut plan, _] = catalogue();
    plan["spec"]["prices"][1]["bucket"] = json!({"size": "Hour", "groupBy": ["model"]});
    world.server.put("user", meter);
    world.server.put("user", plan);
    world.settle().await;
    let told = |world: &World| condition(&world.server.get(PLANS, NAMESPACE, "starter").unwrap(), "Stalled");
    let (status, reason, message) = told(&world);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "MeterMisfit"));
    assert!(message.starts_with("spec.prices[1].bucket.groupBy[0]: Meter api-calls"), "{message}");
    assert!(!world.control.rows().contains_key(&("plans".to_owned(), "starter".to_owned())));
    world.server.edit("user", METERS, NAMESPACE, "api-calls", |meter| {
        meter["spec"]["groupBy"] = json!(["model"]);
    });
    world.settle().await;
    assert_eq!(told(&world).0, "False");
    assert!(world.control.rows().contains_key(&("plans".to_owned(), "starter".to_owned())));
}

#[tokio::test]
async fn a_misfit_that_only_the_api_sees_has_its_own_reason_and_is_not_sent_again() {
    let mut world = World::new().await;
    let problem =
        json!({"code": "meter_misfit", "detail": "Meter m does not group by it", "field": "spec.prices[1]"});
    world.control.refuse("starter", 422, problem);
    world.server.put("user", dev_region());
    let [meter, plan, _] = catalogue();
    world.server.put("user", meter);
    world.server.put("user", plan);
    world.settle().await;
    let plan = world.server.get(PLANS, NAMESPACE, "starter").unwrap();
    let (status, reason, message) = condition(&plan, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "MeterMisfit"));
    assert!(message.contains("spec.prices[1]: Meter m does not group by it"), "{message}");
    let puts = world.control.puts();
    world.pass().await;
    world.pass().await;
    assert_eq!(world.control.puts(), puts);
}

#[tokio::test]
async fn an_api_that_lost_its_rows_gets_them_again() {
    let mut world = ready_world().await;
    world.control.lose_everything();
    world.restart_with_pace(Pace { catalogue: Duration::ZERO, ..Pace::default() });
    world.settle_for(2).await;
    assert_eq!(world.control.rows().len(), 3);
}

#[tokio::test]
async fn the_region_hears_only_hashes_and_only_with_its_token() {
    let world = ready_world().await;
    let decode = |name: &str, key: &str| {
        use base64::Engine as _;
        let secret = world.server.get(SECRETS, NAMESPACE, name).unwrap();
        let value =
            base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap();
        String::from_utf8(value).unwrap()
    };
    let key = decode("acme-key", "apiKey");
    assert!(key.starts_with("mrd_") && key.len() == 47, "{key}");
    assert_eq!(decode("acme-key", "tenant"), "acme");
    assert_eq!(decode("acme-key", "ingestUrl"), "http://demo-ingest.lab.svc:8080");
    let row = world.control.rows()[&("tenants".to_owned(), "acme".to_owned())].clone();
    assert_eq!(row["apiKeys"][0]["hash"], meridian_desired::catalogue::key_hash(&key));
    assert!(!row.to_string().contains(&key));
    let token = format!("Bearer {}", decode("demo-api-credentials", "controlToken"));
    assert!(world.control.tokens().iter().all(|seen| *seen == token));
}

#[tokio::test]
async fn a_lost_credential_is_made_anew_and_the_others_kept() {
    let mut world = ready_world().await;
    let before = world.server.get(SECRETS, NAMESPACE, "demo-postgres-credentials").unwrap();
    world.server.edit("vandal", SECRETS, NAMESPACE, "demo-postgres-credentials", |secret| {
        secret["data"].as_object_mut().unwrap().remove("password");
    });
    world.settle().await;
    let after = world.server.get(SECRETS, NAMESPACE, "demo-postgres-credentials").unwrap();
    assert_ne!(after["data"]["password"], before["data"]["password"]);
    assert!(after["data"]["password"].as_str().is_some_and(|password| !password.is_empty()));
    assert_eq!(after["data"]["superuserPassword"], before["data"]["superuserPassword"]);
}

#[tokio::test]
async fn retain_keeps_data_and_a_region_of_the_same_name_adopts_it() {
    let mut world = ready_world().await;
    let password = |world: &World| {
        world.server.get(SECRETS, NAMESPACE, "demo-postgres-credentials").unwrap()["data"]["password"].clone()
    };
    let before = (
        password(&world),
        world.server.get(VOLUMES, NAMESPACE, "data-demo-postgres-0").unwrap()["metadata"]["uid"].clone(),
    );
    world.server.delete(REGIONS, NAMESPACE, "demo");
    world.settle().await;
    assert_eq!(
        world.server.list(STATEFUL_SETS).len()
            + world.server.list(DEPLOYMENTS).len()
            + world.server.list(PODS).len(),
        0
    );
    world.server.put("user", dev_region());
    world.settle().await;
    is(&world, "Ready", "True", "Succeeded");
    let after = (
        password(&world),
        world.server.get(VOLUMES, NAMESPACE, "data-demo-postgres-0").unwrap()["metadata"]["uid"].clone(),
    );
    assert_eq!(before, after);
}

#[tokio::test]
async fn delete_leaves_nothing() {
    let mut world = World::new().await;
    let mut region = dev_region();
    region["spec"]["deletionPolicy"] = "Delete".into();
    world.server.put("user", region);
    for object in catalogue() {
        world.server.put("user", object);
    }
    world.settle().await;
    for (api, name) in [(REGIONS, "demo"), (METERS, "api-calls"), (PLANS, "starter"), (TENANTS, "acme")] {
        world.server.delete(api, NAMESPACE, name);
    }
    world.settle().await;
    let left: Vec<_> = world.snapshot().into_keys().map(|at| format!("{} {}", at.api, at.name)).collect();
    assert_eq!(left, ["api/v1/namespaces lab"]);
}

#[tokio::test]
async fn a_protected_region_outlives_its_deletion() {
    let mut world = World::new().await;
    let mut region = dev_region();
    region["spec"]["protected"] = true.into();
    region["spec"]["deletionPolicy"] = "Delete".into();
    world.server.put("user", region);
    world.settle().await;
    let before = world.server.list(STATEFUL_SETS);
    world.server.delete(REGIONS, NAMESPACE, "demo");
    world.settle_for(4).await;
    assert_eq!(world.server.list(STATEFUL_SETS), before);
    is(&world, "Ready", "False", "DeletionBlocked");
    world
        .server
        .edit("user", REGIONS, NAMESPACE, "demo", |region| region["spec"]["protected"] = false.into());
    world.settle().await;
    assert!(world.server.get(REGIONS, NAMESPACE, "demo").is_none());
}

#[tokio::test]
async fn a_tenant_that_goes_is_archived_first() {
    let mut world = ready_world().await;
    world.server.delete(TENANTS, NAMESPACE, "acme");
    world.settle().await;
    assert!(world.server.get(TENANTS, NAMESPACE, "acme").is_none());
    assert!(!world.control.rows().contains_key(&("tenants".into(), "acme".into())));
    assert!(world.server.get(SECRETS, NAMESPACE, "acme-key").is_none(), "the key goes with its tenant");
}

#[tokio::test]
async fn every_error_of_the_api_server_is_survived() {
    let calm = ready_world().await.snapshot();
    for code in [409, 429, 500, 503, 504] {
        let mut world = World::new().await;
        world.server.put("user", dev_region());
        for object in catalogue() {
            world.server.put("user", object);
        }
        // Every third call fails, for a while.
        world.server.script((0..120).filter(|call| call % 3 == 1).map(|call| (call, Fault::Answered(code))));
        world.settle().await;
        assert_eq!(world.snapshot(), calm, "after {code}s");
    }
}

#[tokio::test]
async fn a_refused_object_is_told_and_the_rest_goes_on() {
    let mut world = World::new().await;
    world.server.put("user", dev_region());
    world.server.refuse("statefulsets/demo-kafka", 403, "exceeded quota: tiny");
    for _ in 0..4 {
        world.pass().await;
        simulated::step(&world.server);
    }
    is(&world, "Stalled", "True", "Refused");
    assert!(world.condition("Stalled").2.contains("exceeded quota: tiny"));
    assert_eq!(world.server.list(STATEFUL_SETS).len(), 6);
    world.server.admit_everything();
    world.settle().await;
    is(&world, "Ready", "True", "Succeeded");
}

#[tokio::test]
async fn who_is_not_the_leader_writes_nothing() {
    let mut world = World::new().await;
    world.server.put("user", dev_region());
    world.fence_off();
    let failed = world.pass().await;
    assert!(!failed.is_empty());
    assert_eq!(world.server.writes(), 0);
}
