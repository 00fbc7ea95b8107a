//! A crash after every call: wherever the operator dies, or a reply is lost, the end is the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::server::{At, Fault};
use super::world::{METERS, NAMESPACE, PLANS, REGIONS, TENANTS, World, catalogue, dev_region};

/// Runs a phase once in peace, then once for each call and each kind of fault.
async fn enumerate(phase: &str, start: &World, act: impl Fn(&World)) -> usize {
    let mut calm = start.fork().await;
    act(&calm);
    calm.server.script([]);
    calm.settle().await;
    let calls = calm.server.calls().len();
    let expected = calm.snapshot();
    let mut runs = 0;
    for call in 0..calls {
        for fault in [Fault::DiesAfter, Fault::ReplyLost] {
            let mut world = start.fork().await;
            act(&world);
            world.server.script([(call, fault)]);
            world.settle().await;
            let at = calm.server.calls().get(call).cloned();
            same(&expected, &world.snapshot(), &format!("{phase}: {fault:?} at call {call}: {at:?}"));
            assert_eq!(
                world.server.state().violations,
                Vec::<String>::new(),
                "{phase}: {fault:?} at call {call}"
            );
            assert_eq!(
                world.control.rows().len(),
                calm.control.rows().len(),
                "{phase}: {fault:?} at call {call}"
            );
            runs += 1;
        }
    }
    println!("{phase}: {calls} calls, {runs} crashes, each with the same end");
    runs
}

fn same(expected: &BTreeMap<At, Value>, found: &BTreeMap<At, Value>, when: &str) {
    let names = |objects: &BTreeMap<At, Value>| {
        objects.keys().map(|at| format!("{} {}", at.api, at.name)).collect::<Vec<_>>()
    };
    assert_eq!(names(expected), names(found), "{when}");
    for (at, object) in expected {
        assert_eq!(object, &found[at], "{when}: {} {}", at.api, at.name);
    }
}

fn create(world: &World) {
    let mut region = dev_region();
    region["spec"]["deletionPolicy"] = "Delete".into();
    world.server.put("user", region);
    for object in catalogue() {
        world.server.put("user", object);
    }
}

#[tokio::test]
async fn a_crash_after_any_call_of_create_update_and_delete_changes_nothing_in_the_end() {
    let empty = World::new().await;
    let mut runs = enumerate("create", &empty, create).await;

    let mut ready = World::new().await;
    create(&ready);
    ready.settle().await;
    runs += enumerate("update", &ready, |world| {
        world.server.edit("user", REGIONS, NAMESPACE, "demo", |region| {
            region["spec"]["services"] = json!({"ingest": {"replicas": 3}, "worker": {"resources": {"limits": {"memory": "1Gi"}}}});
            region["spec"]["stores"] = json!({"redis": {"external": {"host": "redis.example"}}, "kafka": {"managed": {"partitions": 24}}});
        });
        world.server.edit("user", PLANS, NAMESPACE, "starter", |plan| plan["spec"]["prices"][0]["flat"]["amount"] = "120".into());
        world.server.edit("user", TENANTS, NAMESPACE, "acme", |tenant| {
            tenant["spec"]["apiKeys"] = json!([
                {"name": "default", "secretRef": {"name": "acme-key"}},
                {"name": "second", "secretRef": {"name": "acme-key-2"}},
            ]);
        });
    })
    .await;

    runs += enumerate("delete", &ready, |world| {
        for (api, name) in [(TENANTS, "acme"), (PLANS, "starter"), (METERS, "api-calls"), (REGIONS, "demo")] {
            world.server.delete(api, NAMESPACE, name);
        }
    })
    .await;
    println!("{runs} crashes in all");
}
