//! Keys: unknown, revoked, rotated, of an archived tenant.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::region::{Answer, CONTROL_TOKEN, Region, answer, hash_of, key_of, tenant_body};

async fn with_key(region: &Region, authorization: &str) -> Answer {
    answer(region.rest_request(Method::GET, "/v1/customers").header("authorization", authorization)).await
}

/// The promise is ten seconds; the tests' cache is shorter.
async fn until_refused(region: &Region, key: &str) -> Answer {
    let started = Instant::now();
    loop {
        let answer = with_key(region, &format!("Bearer {key}")).await;
        if answer.status == 401 {
            return answer;
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "still {} after {:?}",
            answer.status,
            started.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn only_a_known_bearer_key_opens() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    for wrong in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer mrd_unknown", "Token x"] {
        let refused = with_key(&region, wrong).await;
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        refused.problem(401, "unauthorized");
    }
    // Neither the hash that is stored nor the operator's token is a key.
    for wrong in [hash_of(&key_of("acme")), CONTROL_TOKEN.to_owned()] {
        with_key(&region, &format!("Bearer {wrong}")).await.problem(401, "unauthorized");
    }
    with_key(&region, &format!("Bearer {}", key_of("acme"))).await.expect(200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_and_told_so() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    with_key(&region, &format!("Bearer {}", key_of("acme"))).await.expect(200);
    let mut rotated = tenant_body("acme");
    rotated["apiKeys"] = json!([{"name": "default", "hash": hash_of("mrd_the-new-key")}]);
    region.put("tenants/acme", rotated).await.expect(200);
    until_refused(&region, &key_of("acme")).await.problem(401, "key_revoked");
    with_key(&region, "Bearer mrd_the-new-key").await.expect(200);
}

#[tokio::test]
async fn the_keys_of_an_archived_tenant_are_refused() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    with_key(&region, &format!("Bearer {}", key_of("acme"))).await.expect(200);
    let delete =
        region.control_request(Method::DELETE, "/control/v1/tenants/acme").bearer_auth(CONTROL_TOKEN);
    assert_eq!(answer(delete).await.expect(200)["changed"], true);
    until_refused(&region, &key_of("acme")).await.problem(401, "key_revoked");
}
