//! Leader election: two candidates, one lease, and a leader that is paused or cut off.
//!
//! Against the scripted API server always; against a real one too when `MERIDIAN_TEST_KUBECONFIG` names it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use meridian_operator::fence::Fence;
use meridian_operator::lease::Elector;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::server::{Fault, Server};

const DURATION: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);

fn candidate(client: &Client, name: &str, identity: &str, fence: &Fence) -> Elector {
    Elector::new(Api::<Lease>::namespaced(client.clone(), "default"), name, identity, DURATION, fence.clone())
}

/// The clients to try: the scripted server's, and a real one's where there is one.
async fn clients() -> Vec<(&'static str, Client)> {
    let mut clients = vec![("scripted", Server::default().client())];
    if let Some(path) = std::env::var_os("MERIDIAN_TEST_KUBECONFIG") {
        let file = kube::config::Kubeconfig::read_from(path).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        clients.push(("real", Client::try_from(config).unwrap()));
    }
    clients
}

#[tokio::test]
async fn of_two_candidates_one_leads_and_the_other_follows_when_it_lets_go() {
    for (server, client) in clients().await {
        let lease = format!("two-{}", std::process::id());
        let (first_fence, second_fence) = (Fence::shut(), Fence::shut());
        let mut first = candidate(&client, &lease, "first", &first_fence);
        let mut second = candidate(&client, &lease, "second", &second_fence);
        timeout(LIMIT, first.acquire()).await.unwrap();
        assert!(first_fence.is_open(), "{server}");
        // Held and renewed past its duration, it is not to be had.
        let holding = tokio::spawn(async move {
            let held = timeout(DURATION * 3, first.hold()).await;
            assert!(held.is_err(), "it was not lost");
            first
        });
        assert!(
            timeout(DURATION * 2, second.acquire()).await.is_err(),
            "{server}: the lease was taken from its holder"
        );
        let mut first = holding.await.unwrap();
        first.release().await.unwrap();
        assert!(!first_fence.is_open(), "{server}");
        let asked = Instant::now();
        timeout(LIMIT, second.acquire()).await.unwrap();
        assert!(asked.elapsed() < DURATION, "{server}: a lease that was given up is free at once");
        second.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_leader_that_does_not_renew_is_fenced_before_another_can_lead() {
    for (server, client) in clients().await {
        let lease = format!("paused-{}", std::process::id());
        let (first_fence, second_fence) = (Fence::shut(), Fence::shut());
        let mut first = candidate(&client, &lease, "first", &first_fence);
        let mut second = candidate(&client, &lease, "second", &second_fence);
        timeout(LIMIT, first.acquire()).await.unwrap();
        // It never renews: as if it were stopped. Every moment is looked at, for an overlap.
        let watched = {
            let (first_fence, second_fence) = (first_fence.clone(), second_fence.clone());
            tokio::spawn(async move {
                let start = Instant::now();
                let mut shut_after = None;
                while !second_fence.is_open() {
                    if !first_fence.is_open() && shut_after.is_none() {
                        shut_after = Some(start.elapsed());
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert!(!first_fence.is_open(), "both may write");
                (shut_after.expect("the first was shut before"), start.elapsed())
            })
        };
        timeout(LIMIT, second.acquire()).await.unwrap();
        let (shut, taken) = watched.await.unwrap();
        println!("{server}: the old leader was fenced after {shut:?}, the new one led after {taken:?}");
        assert!(shut < DURATION && taken >= DURATION, "{server}: {shut:?} {taken:?}");
        // When it wakes up, it finds out.
        timeout(LIMIT, first.hold()).await.unwrap();
        assert!(!first_fence.is_open());
        second.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_leader_that_is_cut_off_lets_go_in_time() {
    let server = Server::default();
    let fence = Fence::shut();
    let mut leader = candidate(&server.client(), "cut-off", "first", &fence);
    timeout(LIMIT, leader.acquire()).await.unwrap();
    server.script((0..1000).map(|call| (call, Fault::Answered(503))));
    let cut = Instant::now();
    timeout(LIMIT, leader.hold()).await.unwrap();
    assert!(!fence.is_open());
    assert!(cut.elapsed() < DURATION, "it let go after {:?}", cut.elapsed());
}

#[tokio::test]
async fn a_renewal_that_lost_the_race_ends_leadership() {
    let server = Server::default();
    let fence = Fence::shut();
    let mut leader = candidate(&server.client(), "stolen", "first", &fence);
    timeout(LIMIT, leader.acquire()).await.unwrap();
    server.edit("thief", "apis/coordination.k8s.io/v1/leases", "default", "stolen", |lease| {
        lease["spec"]["holderIdentity"] = json!("thief");
        lease["spec"]["renewTime"] = json!("2030-01-01T00:00:00.000000Z");
    });
    timeout(LIMIT, leader.hold()).await.unwrap();
    assert!(!fence.is_open());
}
