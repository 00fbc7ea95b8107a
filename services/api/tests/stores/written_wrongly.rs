//! What clients get wrong: each a problem with a code and a field, never a 500, and nothing is made of it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::region::{Region, answer, key_of};

#[tokio::test]
async fn wrong_bodies_name_what_is_wrong() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let customer = region.customer("acme", "big").await["id"].as_str().expect("an id").to_owned();
    let subscribe = |more: Value| {
        let mut body = json!({"customer_id": customer, "plan": "starter"});
        body.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        body
    };
    let grants = format!("/v1/customers/{customer}/grants");
    let grant = |more: Value| {
        let mut body =
            json!({"name": "g", "amount": "5", "currency": "USD", "effectiveAt": "2026-07-01T00:00:00Z"});
        body.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        body
    };
    let cases: Vec<(&str, Value, u16, &str, Option<&str>)> = vec![
        ("/v1/customers", json!({}), 422, "malformed_body", None),
        ("/v1/customers", json!({"key": 7}), 422, "malformed_body", None),
        ("/v1/customers", json!({"key": "a", "surprise": 1}), 422, "malformed_body", None),
        ("/v1/customers", json!([]), 422, "malformed_body", None),
        ("/v1/customers", json!({"key": ""}), 422, "invalid", Some("key")),
        ("/v1/customers", json!({"key": "x".repeat(257)}), 422, "invalid", Some("key")),
        ("/v1/customers", json!({"key": "a\u{0}b"}), 422, "invalid", Some("key")),
        ("/v1/customers", json!({"key": "a", "name": "a\u{0}"}), 422, "invalid", Some("name")),
        ("/v1/customers", json!({"key": "a", "name": "x".repeat(257)}), 422, "invalid", Some("name")),
        (
            "/v1/customers",
            json!({"key": "a", "time_zone": "Mars/Olympus"}),
            422,
            "invalid",
            Some("time_zone"),
        ),
        ("/v1/customers", json!({"key": "a", "metadata": []}), 422, "invalid", Some("metadata")),
        ("/v1/customers", json!({"key": "a", "metadata": {"a": "\u{0}"}}), 422, "invalid", Some("metadata")),
        ("/v1/customers", json!({"key": "big"}), 409, "key_taken", Some("key")),
        (
            "/v1/subscriptions",
            subscribe(json!({"customer_id": "cus_0"})),
            404,
            "not_found",
            Some("customer_id"),
        ),
        ("/v1/subscriptions", subscribe(json!({"plan": "none"})), 422, "invalid", Some("plan")),
        ("/v1/subscriptions", subscribe(json!({"plan": "No Plan"})), 422, "invalid", Some("plan")),
        ("/v1/subscriptions", subscribe(json!({"time_zone": "x"})), 422, "invalid", Some("time_zone")),
        ("/v1/subscriptions", subscribe(json!({"starts_at": "yesterday"})), 422, "malformed_body", None),
        (
            "/v1/subscriptions",
            subscribe(json!({"starts_at": "2026-07-01T00:00:00Z", "ends_at": "2026-07-01T00:00:00Z"})),
            422,
            "invalid",
            Some("ends_at"),
        ),
        ("/v1/invoices/preview", json!({"subscription_id": "sub_0"}), 404, "not_found", None),
        (
            "/v1/invoices/preview",
            json!({"subscription_id": "sub_0", "at": "2100-01-01T00:00:00Z"}),
            422,
            "invalid",
            Some("at"),
        ),
        ("/v1/coupons", json!({}), 422, "invalid", None),
        ("/v1/coupons", json!({"name": "a"}), 422, "invalid", Some("percent")),
        ("/v1/coupons", json!({"name": "a", "percent": 7}), 422, "invalid", Some("percent")),
        ("/v1/coupons", json!({"name": "A b", "percent": "7"}), 422, "invalid", Some("name")),
        (
            "/v1/coupons",
            json!({"name": "a", "percent": "7", "surprise": 1}),
            422,
            "invalid",
            Some("surprise"),
        ),
        (&grants, grant(json!({"amount": "0"})), 422, "invalid", Some("amount")),
        (&grants, grant(json!({"amount": "0.001"})), 422, "invalid", Some("amount")),
        (&grants, grant(json!({"currency": null})), 422, "invalid", Some("currency")),
        (&grants, grant(json!({"currency": "BTC"})), 422, "invalid", Some("currency")),
        (
            &grants,
            grant(json!({"effectiveAt": "2001-01-01T00:00:00Z", "every": {"unit": "Day", "count": 1}})),
            422,
            "invalid",
            Some("effectiveAt"),
        ),
    ];
    for (path, body, status, code, field) in cases {
        let problem = region.post("acme", path, body.clone()).await.problem(status, code);
        assert_eq!(problem["field"].as_str(), field, "{path} {body}: {problem}");
    }
}

#[tokio::test]
async fn what_is_not_json_is_told_from_what_is_not_valid() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let post = |content_type: &'static str, body: &'static str| {
        let request = region.rest_request(Method::POST, "/v1/customers").bearer_auth(key_of("acme"));
        answer(request.header("content-type", content_type).body(body))
    };
    post("application/json", "{\"key\": NaN}").await.problem(400, "malformed_body");
    post("application/json", "{").await.problem(400, "malformed_body");
    post("application/json", "").await.problem(400, "malformed_body");
    post("text/plain", "{\"key\": \"a\"}").await.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn wrong_parameters_and_paths_are_problems() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let range = "start=2026-07-01T00:00:00Z&end=2026-08-01T00:00:00Z";
    for (path, status, code) in [
        ("/v1/customers?limit=0".to_owned(), 400, "invalid_parameter"),
        ("/v1/customers?limit=1001".to_owned(), 400, "invalid_parameter"),
        ("/v1/customers?limit=many".to_owned(), 400, "invalid_parameter"),
        (format!("/v1/customers?cursor={}", "x".repeat(600)), 400, "invalid_parameter"),
        ("/v1/customers?cursor=%00".to_owned(), 400, "invalid_parameter"),
        ("/v1/quarantine?cursor=nonsense".to_owned(), 400, "invalid_parameter"),
        ("/v1/usage".to_owned(), 400, "invalid_parameter"),
        (
            "/v1/usage?meter=api-calls&start=2026-08-01T00:00:00Z&end=2026-08-01T00:00:00Z".to_owned(),
            400,
            "invalid_parameter",
        ),
        (format!("/v1/usage?meter=api-calls&{range}&window=week"), 400, "invalid_parameter"),
        (format!("/v1/usage?meter=none&{range}"), 404, "not_found"),
        (format!("/v1/usage?meter=api-calls&{range}&customer=nobody"), 404, "not_found"),
        (format!("/v1/usage/proof?{range}"), 400, "invalid_parameter"),
        (
            "/v1/usage/proof?meter=api-calls&start=2026-08-01T00:00:00Z&end=2026-07-01T00:00:00Z".to_owned(),
            400,
            "invalid_parameter",
        ),
        (format!("/v1/usage/proof?meter=none&{range}"), 404, "not_found"),
        (format!("/v1/usage/proof?meter=api-calls&{range}&customer=nobody"), 404, "not_found"),
        ("/v1/customers/cus_%00".to_owned(), 404, "not_found"),
        ("/v1/invoices/%27%20OR%201=1--".to_owned(), 404, "not_found"),
        ("/v1/billing-runs/close%2Facme%2Fsub_0%2F1782864000000000".to_owned(), 404, "not_found"),
        ("/v1/billing-runs/x".to_owned(), 404, "not_found"),
        ("/nothing".to_owned(), 404, "not_found"),
    ] {
        region.get("acme", &path).await.problem(status, code);
    }
    let customer = region.customer("acme", "big").await["id"].as_str().expect("an id").to_owned();
    for (query, field) in [
        ("balances", "currency"),
        ("balances?currency=XXX1", "currency"),
        ("balances?currency=USD&at=2190-01-01T00:00:00Z", "at"),
        ("ledger", "currency"),
        ("ledger?currency=USD&cursor=nonsense", "cursor"),
        ("ledger?currency=USD&limit=0", "limit"),
    ] {
        let path = format!("/v1/customers/{customer}/{query}");
        let problem = region.get("acme", &path).await.problem(400, "invalid_parameter");
        assert_eq!(problem["field"], field, "{query}");
    }
    region.ask("acme", Method::PUT, "/v1/customers", None).await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn what_the_operator_keeps_is_left_alone() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let own = region.get("acme", "/v1/customers").await.expect(200)["data"][0].clone();
    assert_eq!((own["key"].as_str(), own["managed_by"].as_str()), (Some(""), Some("kubernetes")));
    let path = format!("/v1/customers/{}", own["id"].as_str().expect("an id"));
    region
        .ask("acme", Method::PATCH, &path, Some(json!({"name": "x"})))
        .await
        .problem(409, "managed_by_kubernetes");
    region.ask("acme", Method::DELETE, &path, None).await.problem(409, "managed_by_kubernetes");
    let subscription = format!("/v1/subscriptions/{}", region.subscription("acme").await);
    region.ask("acme", Method::DELETE, &subscription, None).await.problem(409, "managed_by_kubernetes");
}
