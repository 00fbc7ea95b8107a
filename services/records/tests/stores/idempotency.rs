//! One request with one key is carried out once.

use meridian_records::Claim;

use crate::region::Region;

async fn region() -> Region {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    region.add_tenant("zeta", 'b').await;
    region
}

#[tokio::test]
async fn a_finished_request_is_answered_again_and_another_one_is_refused() {
    let region = region().await;
    let acme = region.tenant("acme");
    assert!(matches!(acme.claim_idempotency_key("k", "request").await.expect("asked"), Claim::Run { .. }));
    assert_eq!(acme.claim_idempotency_key("k", "request").await.expect("asked"), Claim::InProgress);
    acme.finish_idempotency_key("k", 201, "{\"id\":1}").await.expect("finished");
    let replay = Claim::Replay { status: 201, response: "{\"id\":1}".to_owned() };
    assert_eq!(acme.claim_idempotency_key("k", "request").await.expect("asked"), replay);
    assert_eq!(acme.claim_idempotency_key("k", "another").await.expect("asked"), Claim::OtherRequest);
    let theirs = region.tenant("zeta").claim_idempotency_key("k", "another").await.expect("asked");
    assert!(matches!(theirs, Claim::Run { .. }), "keys of two tenants have nothing to do with each other");
    region.end().await;
}

#[tokio::test]
async fn of_many_at_once_one_runs() {
    let region = region().await;
    let claims = (0..12).map(|_| {
        let acme = region.tenant("acme");
        tokio::spawn(async move { acme.claim_idempotency_key("k", "request").await.expect("asked") })
    });
    let claims: Vec<Claim> =
        futures::future::join_all(claims).await.into_iter().map(|claim| claim.expect("no panic")).collect();
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Claim::Run { .. })).count(), 1);
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::InProgress).count(), 11);
    region.end().await;
}

#[tokio::test]
async fn a_failed_attempt_hands_its_seed_to_the_next_and_a_refused_one_frees_the_key() {
    let region = region().await;
    let acme = region.tenant("acme");
    let first = acme.claim_idempotency_key("k", "request").await.expect("asked");
    acme.release_idempotency_key("k").await.expect("released");
    assert_eq!(
        acme.claim_idempotency_key("k", "request").await.expect("asked"),
        first,
        "the same seed, so the same ids"
    );
    acme.forget_idempotency_key("k").await.expect("forgotten");
    let corrected = acme.claim_idempotency_key("k", "corrected request").await.expect("asked");
    assert!(matches!(corrected, Claim::Run { .. }) && corrected != first);
    region.end().await;
}

#[tokio::test]
async fn old_keys_are_purged_and_young_ones_stay() {
    let region = region().await;
    region.tenant("acme").claim_idempotency_key("young", "r").await.expect("asked");
    region.tenant("zeta").claim_idempotency_key("old", "r").await.expect("asked");
    let mut owner = region.raw_over_all().await;
    sqlx::query("UPDATE idempotency_keys SET claimed_at = now() - interval '3 days' WHERE key = 'old'")
        .execute(&mut owner)
        .await
        .expect("aged");
    let purged = region
        .records
        .purge_idempotency_keys(std::time::Duration::from_secs(2 * 86_400))
        .await
        .expect("purged");
    assert_eq!(purged, 1);
    assert_eq!(
        region.tenant("acme").claim_idempotency_key("young", "r").await.expect("asked"),
        Claim::InProgress
    );
    region.end().await;
}
