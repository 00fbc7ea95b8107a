//! Workers that die between two lines, and one that is asked to stop.

use std::{os::unix::process::ExitStatusExt, time::Duration};

use meridian_worker::wire::DueCursor;

use crate::world::World;

/// Closes July with a worker that dies at this place and one that comes after it.
async fn killed_at(place: &str) {
    let world = World::start().await;
    world.use_calls(12_000).await;
    let dying = world.worker(&[("MERIDIAN_CRASH_AT", place)]);
    let july = world.july();
    let (closed, died) = tokio::join!(world.close(&july), async {
        let died = world.ended(dying).await;
        world.worker(&[]);
        died
    });
    assert_eq!(died.signal(), Some(libc::SIGABRT), "{place} was not passed");
    let closed = closed.expect("closed by the other worker");
    assert_eq!((closed.total.as_str(), closed.number.as_deref()), ("120.00", Some("INV-000001")));
    assert_eq!(world.invoices().await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_the_gate_is_followed_by_one_that_goes_on() {
    killed_at("pipeline/passed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_saving_the_invoice_leaves_one_invoice() {
    killed_at("rate-period/saved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_issuing_the_invoice_leaves_one_number() {
    killed_at("issue-invoice/issued").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_after_issuing_many_invoices_leaves_one_of_each() {
    let world = World::start().await;
    world.use_calls(12_000).await;
    for number in 0..3 {
        world.subscribe(&format!("customer-{number}"), "starter").await;
    }
    let dying = world.worker(&[("MERIDIAN_CRASH_AT", "close-periods/issued")]);
    let (report, died) = tokio::join!(world.sweep("sweep 1"), async {
        let died = world.ended(dying).await;
        world.worker(&[]);
        died
    });
    assert_eq!((died.signal(), report.started), (Some(libc::SIGABRT), 4));
    let due = DueCursor { period: world.subscription.next_period.expect("July"), ..world.due_august() };
    world.closed_many(due).await;
    let mut numbers: Vec<_> =
        world.invoices().await.into_iter().filter_map(|invoice| invoice.number).collect();
    numbers.sort();
    assert_eq!(numbers, ["INV-000001", "INV-000002", "INV-000003", "INV-000004"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_while_it_waits_is_followed_by_one_that_goes_on() {
    let world = World::start().await;
    world.use_calls(12_000).await;
    world.silence("kafka/1");
    let killed = world.worker(&[]);
    let july = world.july();
    let (closed, ()) = tokio::join!(world.close(&july), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        // Our own child, which nobody has waited for yet: the id is still its.
        assert!(
            std::process::Command::new("kill")
                .args(["-9", &killed.to_string()])
                .status()
                .expect("kill")
                .success()
        );
        assert_eq!(world.ended(killed).await.signal(), Some(libc::SIGKILL));
        assert!(world.invoices().await.is_empty());
        world.worker(&[]);
        world.let_speak();
    });
    assert_eq!(closed.expect("closed by the other worker").total, "120.00");
    assert_eq!(world.invoices().await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_lets_go_and_another_one_goes_on() {
    let world = World::start().await;
    world.use_calls(12_000).await;
    world.silence("outbox/2");
    let stopping = world.worker(&[("MERIDIAN_SHUTDOWN_GRACE_SECONDS", "10")]);
    let july = world.july();
    let (closed, ()) = tokio::join!(world.close(&july), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let told = std::time::Instant::now();
        assert!(
            std::process::Command::new("kill")
                .args(["-TERM", &stopping.to_string()])
                .status()
                .expect("kill")
                .success()
        );
        assert_eq!(world.ended(stopping).await.code(), Some(0), "a clean stop");
        assert!(told.elapsed() < Duration::from_secs(10), "it took {:?}", told.elapsed());
        world.worker(&[]);
        world.let_speak();
    });
    assert_eq!(closed.expect("closed by the other worker").total, "120.00");
    world.end().await;
}
