//! The bounds of one replica: size, time and number, each answered as a problem.

use std::time::Duration;

use futures::stream;
use meridian_api::config::Limits;
use reqwest::{Body, Method};
use serde_json::json;

use crate::region::{Answer, Region, answer, key_of};

/// A POST whose body never ends.
fn stuck(region: &Region) -> impl Future<Output = Answer> + use<> {
    let body = Body::wrap_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = region.rest_request(Method::POST, "/v1/customers").bearer_auth(key_of("acme"));
    answer(request.header("content-type", "application/json").body(body))
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let limits = Limits { body_bytes_max: 2_000, ..Limits::default() };
    let region = Region::start_with(limits, None).await.with_catalogue(&["acme"]).await;
    let large = json!({"key": "big", "metadata": {"text": "x".repeat(3_000)}});
    region.post("acme", "/v1/customers", large.clone()).await.problem(413, "body_too_large");
    let request = region.rest_request(Method::POST, "/v1/customers").bearer_auth(key_of("acme"));
    answer(request.header("Idempotency-Key", "k").json(&large)).await.problem(413, "body_too_large");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504() {
    let limits = Limits { request_timeout: Duration::from_millis(700), ..Limits::default() };
    let region = Region::start_with(limits, None).await.with_catalogue(&["acme"]).await;
    stuck(&region).await.problem(504, "timeout");
}

#[tokio::test]
async fn requests_beyond_the_bound_are_503_at_once_and_served_again_later() {
    let limits = Limits { requests_in_flight_max: 2, ..Limits::default() };
    let region = Region::start_with(limits, None).await.with_catalogue(&["acme"]).await;
    let busy: Vec<_> = (0..2).map(|_| tokio::spawn(stuck(&region))).collect();
    let refusal = async {
        loop {
            let answer = region.get("acme", "/v1/customers").await;
            if answer.status == 503 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(10), refusal).await.expect("refused");
    assert_eq!(refused.headers["retry-after"], "1");
    refused.problem(503, "overloaded");
    busy.into_iter().for_each(|request| request.abort());
    let served = async {
        while region.get("acme", "/v1/customers").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("served again");
}

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let region = Region::start().await;
    let made = answer(region.rest_request(Method::GET, "/v1/customers")).await;
    assert!(made.headers["x-request-id"].len() > 8);
    let given = answer(region.rest_request(Method::GET, "/nothing").header("x-request-id", "mine")).await;
    assert_eq!(given.headers["x-request-id"], "mine");
}
