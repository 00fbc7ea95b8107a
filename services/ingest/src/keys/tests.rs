//! Keys against a scripted directory.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

struct Scripted {
    answer: Mutex<Result<Known, Away>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn says(&self, answer: Result<Known, Away>) {
        *self.answer.lock().unwrap() = answer;
    }
}

impl Directory for Scripted {
    fn find<'a>(&'a self, hash_hex: &'a str) -> BoxFuture<'a, Result<Known, Away>> {
        assert_eq!(hash_hex.len(), 64, "only hashes are looked up");
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(self.answer.lock().unwrap().clone()))
    }
}

fn setup(answer: Result<Known, Away>) -> (Arc<Scripted>, Keys) {
    let directory = Arc::new(Scripted { answer: Mutex::new(answer), asked: AtomicUsize::new(0) });
    (directory.clone(), Keys::new(directory, Arc::default()))
}

fn grant() -> Known {
    Known::Grant(origin(TenantId::new("acme").unwrap(), ProjectId::default_project(), "k".to_owned()))
}

fn with_key(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
}

fn good_key() -> HeaderMap {
    with_key(&format!("Bearer mrd_{}", "a7Z".repeat(14) + "9"))
}

async fn code(keys: &Keys, headers: &HeaderMap) -> &'static str {
    match keys.admit(headers).await {
        Ok(_) => "admitted",
        Err(refusal) => refusal.code(),
    }
}

#[tokio::test]
async fn what_cannot_be_a_key_costs_no_lookup() {
    let (directory, keys) = setup(Ok(grant()));
    assert_eq!(code(&keys, &HeaderMap::new()).await, "missing_api_key");
    let cases = [
        ("Basic bXJkOg==", "missing_api_key"),
        ("mrd_aaaa", "missing_api_key"),
        ("Bearer ", "invalid_api_key"),
        ("Bearer mrd_short", "invalid_api_key"),
        (&format!("Bearer mrd_{}", "a".repeat(44)), "invalid_api_key"),
        (&format!("Bearer mrd_{}", "-".repeat(43)), "invalid_api_key"),
        (&format!("Bearer xxx_{}", "a".repeat(43)), "invalid_api_key"),
    ];
    for (value, expected) in cases {
        assert_eq!(code(&keys, &with_key(value)).await, expected, "{value}");
    }
    assert_eq!(directory.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_key_is_looked_up_once_and_remembered() {
    let (directory, keys) = setup(Ok(grant()));
    for _ in 0..10 {
        assert_eq!(code(&keys, &good_key()).await, "admitted");
    }
    assert_eq!(directory.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn wrong_and_revoked_keys_are_told_apart() {
    let (directory, keys) = setup(Ok(Known::Unknown));
    assert_eq!(code(&keys, &good_key()).await, "invalid_api_key");
    assert_eq!(code(&keys, &good_key()).await, "invalid_api_key");
    assert_eq!(directory.asked.load(Ordering::Relaxed), 1, "a wrong key is remembered as wrong");
    let (_, keys) = setup(Ok(Known::Revoked));
    assert_eq!(code(&keys, &good_key()).await, "revoked_api_key");
}

#[tokio::test]
async fn a_grant_outlives_an_outage_and_a_stranger_gets_none() {
    let (directory, keys) = setup(Ok(grant()));
    assert_eq!(code(&keys, &good_key()).await, "admitted");
    directory.says(Err(Away));
    keys.fresh.invalidate_all();
    assert_eq!(code(&keys, &good_key()).await, "admitted");
    let stranger = with_key(&format!("Bearer mrd_{}", "b".repeat(43)));
    assert_eq!(code(&keys, &stranger).await, "keys_unavailable");
    assert!(keys.has_good_grants());
}

#[tokio::test]
async fn during_an_outage_nobody_waits_for_the_directory_and_a_revocation_after_it_holds() {
    let (directory, keys) = setup(Ok(grant()));
    keys.admit(&good_key()).await.unwrap();
    directory.says(Err(Away));
    keys.fresh.invalidate_all();
    for _ in 0..50 {
        assert_eq!(code(&keys, &good_key()).await, "admitted");
    }
    // One finds out, and at most one a second asks again in the background.
    assert!(directory.asked.load(Ordering::Relaxed) <= 3, "{:?}", directory.asked);

    directory.says(Ok(Known::Revoked));
    keys.ask(Sha256::digest(bearer(&good_key()).unwrap()).into()).await.unwrap();
    assert_eq!(code(&keys, &good_key()).await, "revoked_api_key");
    directory.says(Err(Away));
    keys.fresh.invalidate_all();
    assert_eq!(code(&keys, &good_key()).await, "keys_unavailable", "a revoked key is no good grant");
}

#[tokio::test]
async fn requests_that_come_together_share_one_lookup() {
    let (directory, keys) = setup(Ok(grant()));
    let headers = good_key();
    let all = (0..100).map(|_| keys.admit(&headers));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(directory.asked.load(Ordering::Relaxed), 1);
}
