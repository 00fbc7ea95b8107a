//! Closing a period, against a real Temporal on whose task queue nobody works.

use serde_json::json;

use crate::region::Region;

#[tokio::test]
async fn closing_starts_one_run_for_a_period_and_tells_how_it_goes() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let path = format!("/v1/subscriptions/{subscription}/close");
    let started = region
        .post("acme", &path, json!({"period_start": "2026-07-01T00:00:00Z", "issue": true}))
        .await
        .expect(202);
    assert_eq!(started["workflow_id"], format!("close/acme/{subscription}/1782864000000000"));
    assert_eq!(started["period"], json!({"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"}));
    // By default it is the first period without an invoice: the same one, whose run is joined.
    assert_eq!(region.post("acme", &path, json!({})).await.expect(202), started);
    let run = region.get("acme", started["billing_run"].as_str().expect("a path")).await.expect(200);
    assert_eq!(
        (run["status"].as_str(), run["subscription_id"].as_str()),
        (Some("running"), Some(subscription.as_str()))
    );
    assert_eq!(run["invoice_id"], json!(null));
    region.terminate(started["workflow_id"].as_str().expect("an id")).await;
    let run = region.get("acme", started["billing_run"].as_str().expect("a path")).await.expect(200);
    assert_eq!(run["status"], "terminated");
}

#[tokio::test]
async fn a_period_that_is_not_over_or_does_not_exist_is_not_closed() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let path = format!("/v1/subscriptions/{subscription}/close");
    let wrong = region.post("acme", &path, json!({"period_start": "2026-07-02T00:00:00Z"})).await;
    assert_eq!(wrong.problem(422, "invalid")["field"], "period_start");
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let this_month =
        now.date().first_of_month().to_zoned(jiff::tz::TimeZone::UTC).expect("midnight").timestamp();
    region.post("acme", &path, json!({"period_start": this_month})).await.problem(409, "period_not_over");
}
