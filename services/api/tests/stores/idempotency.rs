//! The same POST with the same key is carried out once and answered the same.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::region::{Answer, Region, answer, key_of};

async fn create(region: &Region, tenant: &str, key: &str, body: &Value) -> Answer {
    let request = region.rest_request(Method::POST, "/v1/customers").bearer_auth(key_of(tenant));
    answer(request.header("Idempotency-Key", key).json(body)).await
}

async fn customers(region: &Region, tenant: &str) -> usize {
    let list = region.get(tenant, "/v1/customers").await.expect(200);
    // Without the tenant itself.
    list["data"].as_array().expect("a list").iter().filter(|customer| customer["key"] != "").count()
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_makes_nothing() {
    let region = Region::start().await.with_catalogue(&["acme", "zeta"]).await;
    let body = json!({"key": "big"});
    let first = create(&region, "acme", "k1", &body).await;
    assert!(first.headers.get("idempotency-replayed").is_none());
    let first = first.expect(201);
    let again = create(&region, "acme", "k1", &body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), first);
    assert_eq!(customers(&region, "acme").await, 1);
    create(&region, "acme", "k1", &json!({"key": "other"})).await.problem(409, "idempotency_key_reused");
    create(&region, "zeta", "k1", &json!({"key": "other"})).await.expect(201);
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_customer() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let body = json!({"key": "big"});
    let answers = futures::future::join_all((0..12).map(|_| create(&region, "acme", "k1", &body))).await;
    let mut made = BTreeSet::new();
    for answer in answers {
        match answer.status.as_u16() {
            201 => {
                made.insert(answer.body["id"].to_string());
            }
            _ => {
                answer.problem(409, "idempotency_key_in_progress");
            }
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(customers(&region, "acme").await, 1);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free_for_a_corrected_one() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    create(&region, "acme", "k1", &json!({"key": "big", "time_zone": "Nowhere"}))
        .await
        .problem(422, "invalid");
    create(&region, "acme", "k1", &json!({"key": "big", "time_zone": "Asia/Kolkata"})).await.expect(201);
    let keyed = |key: String| {
        let request = region.rest_request(Method::POST, "/v1/customers").bearer_auth(key_of("acme"));
        answer(request.header("Idempotency-Key", key).json(&json!({"key": "x"})))
    };
    keyed("has a blank".to_owned()).await.problem(400, "invalid_parameter");
    keyed("x".repeat(256)).await.problem(400, "invalid_parameter");
}

#[tokio::test]
async fn an_attempt_that_died_half_way_is_finished_by_the_next_not_doubled() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let body = json!({"key": "big"});
    let first = create(&region, "acme", "k1", &body).await.expect(201);
    // The customer was made, and the process died before it could note the answer; a minute went by.
    region.forget_answer("k1").await;
    let again = create(&region, "acme", "k1", &body).await.expect(201);
    assert_eq!(again["id"], first["id"]);
    assert_eq!(customers(&region, "acme").await, 1);
}

#[tokio::test]
async fn a_change_that_takes_effect_now_is_made_once_however_often_it_is_tried() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let customer = region.customer("acme", "big").await;
    let new = json!({"customer_id": customer["id"], "plan": "starter", "starts_at": "2026-07-01T00:00:00Z"});
    let made = region.post("acme", "/v1/subscriptions", new).await.expect(201);
    let path = format!("/v1/subscriptions/{}/changes", made["id"].as_str().expect("an id"));
    let pause = async || {
        let request = region.rest_request(Method::POST, &path).bearer_auth(key_of("acme"));
        answer(request.header("Idempotency-Key", "pause").json(&json!({"pause": true}))).await.expect(200)
    };
    let first = pause().await;
    region.forget_answer("pause").await;
    let again = pause().await;
    assert_eq!(again, first);
    assert_eq!(again["terms"]["changes"].as_array().map(Vec::len), Some(1));
}
