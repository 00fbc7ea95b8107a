//! Changing a running subscription, as a tenant does it: what the preview says of it, and what is refused with which field.

use reqwest::Method;
use serde_json::{Value, json};

use crate::region::{Region, plan_spec};

async fn with_plans(region: &Region) {
    let mut pro = plan_spec();
    pro["prices"] =
        json!([{"name": "base", "flat": {"amount": "310"}}, {"name": "seats", "flat": {"amount": "31"}}]);
    region.put("plans/pro", json!({"uid": "p2", "generation": 1, "spec": pro})).await.expect(200);
}

/// A subscription of a new customer to `starter` from July 2026 on; its path.
async fn subscribed(region: &Region, terms: Value) -> String {
    let customer = region.customer("acme", "big").await;
    let body = json!({"customer_id": customer["id"], "plan": "starter", "starts_at": "2026-07-01T00:00:00Z", "terms": terms});
    let made = region.post("acme", "/v1/subscriptions", body).await.expect(201);
    format!("/v1/subscriptions/{}", made["id"].as_str().expect("an id"))
}

async fn preview(region: &Region, path: &str) -> Value {
    let id = path.rsplit('/').next().expect("an id");
    region.post("acme", "/v1/invoices/preview", json!({"subscription_id": id})).await.expect(200)
}

#[tokio::test]
async fn a_change_shows_in_the_preview_and_goes_when_it_is_taken_back() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    with_plans(&region).await;
    let path = subscribed(&region, json!({"quantities": []})).await;
    assert_eq!(preview(&region, &path).await["total"], "100.00");
    let upgrade = json!({
        "at": "2026-07-11T00:00:00Z", "planRef": {"name": "pro"}, "quantities": [{"price": "seats", "quantity": "2"}],
    });
    let changed = region.post("acme", &format!("{path}/changes"), upgrade.clone()).await.expect(200);
    assert_eq!(changed["terms"]["changes"][0]["planRef"]["name"], "pro");
    // 10 of 31 days of 100; 21 of 31 days of 310 and of twice 31.
    assert_eq!(preview(&region, &path).await["total"], "284.26");
    region
        .ask("acme", Method::DELETE, &format!("{path}/changes?at=2026-07-11T00:00:00Z"), None)
        .await
        .problem(409, "already_billed");
    region
        .ask("acme", Method::DELETE, &format!("{path}/changes?at=2026-07-12T00:00:00Z"), None)
        .await
        .problem(404, "not_found");
    let later = json!({"at": "2096-07-11T00:00:00Z", "pause": true});
    region.post("acme", &format!("{path}/changes"), later).await.expect(200);
    let back =
        region.ask("acme", Method::DELETE, &format!("{path}/changes?at=2096-07-11T00:00:00Z"), None).await;
    assert_eq!(back.expect(200)["terms"]["changes"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_trial_bills_nothing_and_the_period_end_ends_it() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let path = subscribed(&region, json!({"trial": {"days": 14}})).await;
    let trial = region.get("acme", &path).await.expect(200);
    assert_eq!(trial["next_period"]["start"], "2026-07-15T00:00:00Z");
    let end = format!("{path}?at=2026-07-20T00:00:00Z&when=period_end");
    let cancelled = region.ask("acme", Method::DELETE, &end, None).await.expect(200);
    assert_eq!(
        (&cancelled["status"], &cancelled["ends_at"]),
        (&json!("cancelled"), &json!("2026-08-01T00:00:00Z"))
    );
}

#[tokio::test]
async fn a_change_that_makes_no_sense_is_refused_with_its_field() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    with_plans(&region).await;
    let path = subscribed(&region, json!({})).await;
    let changes = format!("{path}/changes");
    for (body, code, field) in [
        (json!({}), "invalid", Some("")),
        (json!([]), "malformed_body", None),
        (json!({"pause": false}), "invalid", Some("pause")),
        (json!({"pause": true, "resume": true}), "invalid", None),
        (json!({"planRef": {"name": "none"}}), "invalid", Some("plan")),
        (json!({"surprise": 1}), "invalid", Some("surprise")),
        (json!({"at": "yesterday", "pause": true}), "invalid", Some("at")),
        (json!({"at": "2026-07-11T00:00:00Z", "resume": true}), "invalid", Some("terms")),
        (
            json!({"at": "2026-07-11T00:00:00Z", "quantities": [{"price": "seats", "quantity": "2"}]}),
            "invalid",
            Some("terms.changes[0].quantities[0].price"),
        ),
        (json!({"at": "2026-06-11T00:00:00Z", "pause": true}), "invalid", Some("terms.changes[0].at")),
    ] {
        let problem = region.post("acme", &changes, body.clone()).await.problem(422, code);
        if let Some(field) = field {
            assert_eq!(problem["field"], field, "{body}: {problem}");
        }
    }
    let own = region.subscription("acme").await;
    region
        .post("acme", &format!("/v1/subscriptions/{own}/changes"), json!({"pause": true}))
        .await
        .problem(409, "managed_by_kubernetes");
    let unchanged = region.get("acme", &path).await.expect(200);
    assert_eq!(unchanged["terms"].get("changes"), None);
}
