//! What a change of a plan would mean, told before it is applied.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::region::{Region, plan_spec};

fn dearer(policy: &str) -> Value {
    let mut spec = plan_spec();
    spec["updatePolicy"] = json!(policy);
    spec["prices"][0]["flat"]["amount"] = json!("200");
    json!({"spec": spec})
}

/// What the preview says of one subscription: when it moves, and by how much in its current and in a whole period.
async fn touched(region: &Region, policy: &str, subscription: &Value) -> (Value, f64, Value) {
    let preview = region.post("acme", "/v1/plans/starter/preview", dearer(policy)).await.expect(200);
    assert_eq!((&preview["version"], &preview["update_policy"]), (&json!(2), &json!(policy)));
    let said = preview["changes"].as_array().expect("sentences").iter().any(|sentence| {
        sentence.as_str().is_some_and(|text| text.contains("flat.amount changes from 100 to 200"))
    });
    assert!(said, "{preview}");
    let data = preview["data"].as_array().expect("a list");
    let own = data.iter().find(|touched| touched["subscription_id"] == *subscription).expect("it is touched");
    assert_eq!((&own["currency"], &own["total"]), (&json!("USD"), &json!("100.00")));
    // A comparison of sizes only; what the amounts are is the engine's test.
    let difference = own["difference"].as_str().expect("an amount").parse().expect("a number");
    (own["moves_at"].clone(), difference, own["whole_period_difference"].clone())
}

#[tokio::test]
async fn a_preview_says_who_moves_when_and_by_how_much_and_stores_nothing() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    region.with_old_plans().await;
    let customer = region.customer("acme", "big").await;
    let month = format!("{}-01T00:00:00Z", &Timestamp::now().to_string()[..7]);
    let body = json!({"customer_id": customer["id"], "plan": "starter", "starts_at": month});
    let subscription = region.post("acme", "/v1/subscriptions", body).await.expect(201);
    let id = &subscription["id"];
    let whole = json!("100.00");

    let (moves_at, difference, throughout) = touched(&region, "Immediate", id).await;
    assert!(moves_at.as_str().is_some_and(|at| at > month.as_str()), "{moves_at}");
    assert!((0.0..100.0).contains(&difference), "the rest of the month: {difference}");
    assert_eq!(throughout, whole);
    let next = (subscription["next_period"]["end"].clone(), 0.0, whole.clone());
    assert_eq!(touched(&region, "NextPeriod", id).await, next);
    assert_eq!(touched(&region, "New", id).await, (Value::Null, 0.0, whole));

    let plans = region.get("acme", "/v1/plans").await.expect(200);
    assert_eq!(plans["data"][0]["version"], 1, "nothing was stored");
}

#[tokio::test]
async fn what_a_plan_never_changes_and_what_its_meters_lack_is_refused_with_the_field() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let spec = |field: &str, value: Value| {
        let mut spec = plan_spec();
        spec[field] = value;
        json!({"spec": spec})
    };
    let counts = |meter: &str| json!([{"name": "calls", "meterRef": {"name": meter}, "matrix": {"dimensions": ["path"], "default": {"amount": "1"}, "cells": []}}]);
    for (body, field) in [
        (spec("currency", json!("EUR")), "spec.currency"),
        (spec("interval", json!({"unit": "Year"})), "spec.interval"),
        (spec("prices", counts("none")), "spec.prices[0]"),
        (spec("prices", counts("api-calls")), "spec.prices[0]"),
        (json!({"spec": {}}), "spec."),
    ] {
        let problem =
            region.post("acme", "/v1/plans/starter/preview", body.clone()).await.problem(422, "invalid");
        assert!(problem["field"].as_str().is_some_and(|named| named.starts_with(field)), "{body}: {problem}");
    }
    region.post("acme", "/v1/plans/none/preview", dearer("New")).await.problem(404, "not_found");
}
