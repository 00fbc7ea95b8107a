//! Coupons by the API: made, redeemed, used up, archived.

use reqwest::Method;
use serde_json::json;

use crate::region::Region;

#[tokio::test]
async fn a_coupon_is_redeemed_once_by_each_and_as_often_as_it_may_be() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let own = region.subscription("acme").await;
    let customer = region.customer("acme", "big").await["id"].as_str().expect("an id").to_owned();
    let subscribe = json!({"customer_id": customer, "plan": "starter"});
    let other = region.post("acme", "/v1/subscriptions", subscribe).await.expect(201);
    let other = other["id"].as_str().expect("an id").to_owned();
    let redeem = async |subscription: &str, coupon: &str| {
        let path = format!("/v1/subscriptions/{subscription}/coupons");
        region.post("acme", &path, json!({"coupon": coupon})).await
    };

    let spec = json!({"name": "spring", "percent": "20", "duration": "Forever", "maxRedemptions": 1});
    let made = region.post("acme", "/v1/coupons", spec.clone()).await.expect(201);
    assert_eq!((&made["spec"], &made["name"], &made["redemptions"]), (&spec, &json!("spring"), &json!(0)));
    region.post("acme", "/v1/coupons", spec).await.problem(409, "name_taken");

    let first = redeem(&own, "spring").await.expect(201);
    assert_eq!(redeem(&own, "spring").await.expect(201), first, "it has it already");
    redeem(&other, "spring").await.problem(409, "coupon_used_up");
    let problem = redeem(&other, "none").await.problem(422, "invalid");
    assert_eq!(problem["field"], "coupon");
    let list = region.get("acme", &format!("/v1/subscriptions/{own}/coupons")).await.expect(200);
    assert_eq!(list, json!({"data": [first], "next_cursor": null}));

    let early = json!({"name": "early", "percent": "5", "redeemBy": "2026-07-01T00:00:00Z"});
    region.post("acme", "/v1/coupons", early).await.expect(201);
    let terms = json!({"coupons": [{"name": "early", "percent": "5", "duration": "Once"}]});
    let subscribe = json!({"customer_id": customer, "plan": "starter", "terms": terms});
    let with_own = region.post("acme", "/v1/subscriptions", subscribe).await.expect(201);
    let problem = redeem(with_own["id"].as_str().expect("an id"), "early").await.problem(409, "name_taken");
    assert_eq!(problem["field"], "coupon");
    redeem(&other, "early").await.problem(409, "coupon_expired");
    let euros = json!({"name": "euros", "amount": "5", "currency": "EUR"});
    region.post("acme", "/v1/coupons", euros).await.expect(201);
    redeem(&other, "euros").await.problem(409, "coupon_currency");
    let archived = region.ask("acme", Method::DELETE, "/v1/coupons/euros", None).await.expect(200);
    assert!(archived["archived_at"].is_string(), "{archived}");
    redeem(&other, "euros").await.problem(409, "coupon_archived");

    let all = region.get("acme", "/v1/coupons?limit=2").await.expect(200);
    let names: Vec<_> =
        all["data"].as_array().expect("a list").iter().map(|coupon| &coupon["name"]).collect();
    assert_eq!(names, ["spring", "early"]);
    assert_eq!(all["data"][0]["redemptions"], 1);
    let cursor = all["next_cursor"].as_str().expect("a cursor");
    let rest = region.get("acme", &format!("/v1/coupons?cursor={cursor}")).await.expect(200);
    assert_eq!((&rest["data"][0]["name"], &rest["data"][1]), (&json!("euros"), &json!(null)));
}
