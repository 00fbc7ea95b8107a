//! Incomplete data is never billed.

use std::time::Duration;

use crate::world::World;

/// Closing waits while this source says nothing, and counts what was stored meanwhile.
async fn held_by(source: &str) {
    let world = World::start().await;
    world.silence(source);
    world.worker(&[]);
    world.use_calls(10_500).await;
    let july = world.july();
    let (closed, ()) = tokio::join!(world.close(&july), async {
        // Long enough for a gate that does not hold to be passed: with every source speaking it takes two seconds.
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(world.invoices().await.is_empty(), "{source} is not through, and there is an invoice");
        // What the silent source had still in its hands.
        world.use_calls(1_500).await;
        world.let_speak();
    });
    assert_eq!(closed.expect("closed").total, "120.00");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_behind_holds_the_period() {
    held_by("kafka/1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_is_not_drained_holds_the_period() {
    held_by("outbox/3").await;
}

#[test]
fn a_worker_that_does_not_know_every_partition_does_not_start() {
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_meridian-worker"))
        .arg("--check-config")
        .env("MERIDIAN_REGION", "test")
        .env("MERIDIAN_LOCATION", "test")
        .env_remove("MERIDIAN_PIPELINE_PARTITIONS")
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("MERIDIAN_PIPELINE_PARTITIONS is not set"), "{said}");
}
