//! Coupons: never more redemptions than allowed, and none is lost.

use jiff::Timestamp;
use meridian_billing::{
    coupon::{CouponSpec, RedemptionError},
    ids::CouponName,
};
use meridian_records::{CouponError, NewSubscription, Page, Subscription};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::region::{Region, by};

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn coupon(spec: Value) -> CouponSpec {
    CouponSpec::from_json(&spec).expect("a coupon")
}

fn named(name: &str) -> CouponName {
    name.parse().expect("a name")
}

async fn region_with(coupons: &[Value]) -> (Region, Subscription) {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    for spec in coupons {
        let spec = coupon(spec.clone());
        region.tenant("acme").create_coupon(&spec, Uuid::now_v7(), &by()).await.expect("coupon");
    }
    (region, subscription)
}

#[tokio::test]
async fn four_redeemers_of_forty_subscriptions_redeem_a_coupon_for_ten_exactly_ten_times() {
    let (region, _) = region_with(&[json!({"name": "spring", "percent": "20", "maxRedemptions": 10})]).await;
    let customer = region.add_customer("acme", "big").await;
    let mut subscriptions = Vec::new();
    for _ in 0..40 {
        subscriptions.push(region.subscribe_customer("acme", &customer).await.id);
    }
    let redeemers = subscriptions.chunks(10).map(|part| {
        let (acme, part) = (region.tenant("acme"), part.to_vec());
        tokio::spawn(async move {
            let mut results = Vec::new();
            for subscription in part {
                let at = instant("2026-08-01T00:00:00Z");
                results.push(acme.redeem_coupon(&subscription, &named("spring"), at, &by()).await);
            }
            results
        })
    });
    let results: Vec<_> = futures::future::join_all(redeemers)
        .await
        .into_iter()
        .flat_map(|task| task.expect("no panic"))
        .collect();
    let redeemed = results.iter().filter(|result| result.is_ok()).count();
    let used_up = |result: &&Result<_, CouponError>| {
        matches!(result, Err(CouponError::Refused(RedemptionError::UsedUp { max_redemptions: 10, .. })))
    };
    assert_eq!((redeemed, results.iter().filter(used_up).count()), (10, 30), "{results:?}");
    let listed = region.tenant("acme").coupons(&Page::first(5)).await.expect("list").items;
    assert_eq!(listed[0].redemptions, 10);
    let mut have_it = 0;
    for subscription in &subscriptions {
        have_it += region.tenant("acme").redeemed_coupons(subscription).await.expect("asked").len();
    }
    assert_eq!(have_it, 10);
    region.end().await;
}

#[tokio::test]
async fn who_has_a_coupon_keeps_it_whatever_becomes_of_it() {
    let (region, subscription) = region_with(&[
        json!({"name": "last", "percent": "5", "maxRedemptions": 1}),
        json!({"name": "b", "percent": "1"}),
    ])
    .await;
    let acme = region.tenant("acme");
    let redeem = async |name: &str, at: &str| {
        acme.redeem_coupon(&subscription.id, &named(name), instant(at), &by()).await.expect("redeemed")
    };
    let first = redeem("last", "2026-07-05T00:00:00Z").await;
    let earlier = redeem("b", "2026-07-04T00:00:00Z").await;
    assert_eq!(redeem("last", "2026-07-09T00:00:00Z").await, first, "the last one is not taken twice");
    let archived = acme.archive_coupon(&named("last"), &by()).await.expect("archived");
    assert_eq!(acme.archive_coupon(&named("last"), &by()).await.expect("archived"), archived);
    assert_eq!(redeem("last", "2026-07-09T00:00:00Z").await, first);
    let have = acme.redeemed_coupons(&subscription.id).await.expect("asked");
    assert_eq!(have, [earlier, first], "in the order of redemption");
    let log = acme.audit_log(&Page::first(100)).await.expect("log").items;
    let actions: Vec<&str> =
        log.iter().map(|entry| entry.action.as_str()).filter(|action| action.starts_with("coupon")).collect();
    assert_eq!(
        actions,
        ["coupon.create", "coupon.create", "coupon.redeem", "coupon.redeem", "coupon.archive"]
    );
    region.end().await;
}

#[tokio::test]
async fn a_coupon_that_cannot_be_redeemed_says_why_and_is_not() {
    let (region, subscription) = region_with(&[
        json!({"name": "early", "percent": "5", "redeemBy": "2026-07-10T00:00:00Z"}),
        json!({"name": "euros", "amount": "5", "currency": "EUR"}),
        json!({"name": "gone", "percent": "5"}),
        json!({"name": "fine", "amount": "5", "currency": "USD"}),
    ])
    .await;
    let acme = region.tenant("acme");
    acme.archive_coupon(&named("gone"), &by()).await.expect("archived");
    for (name, expected) in [
        ("early", "coupon early could be redeemed before 2026-07-10T00:00:00Z only"),
        ("euros", "coupon euros is in EUR, the subscription is billed in USD"),
        ("gone", "coupon gone is archived: nobody redeems it any more"),
        ("none", "there is no coupon \"none\""),
    ] {
        let at = instant("2026-07-10T00:00:00Z");
        let refused = acme.redeem_coupon(&subscription.id, &named(name), at, &by()).await;
        assert_eq!(refused.expect_err(name).to_string(), expected);
    }
    assert_eq!(acme.redeemed_coupons(&subscription.id).await.expect("asked"), []);
    let customer = region.add_customer("acme", "brief").await;
    let new = NewSubscription {
        customer_id: customer.id.clone(),
        plan: "starter".parse().expect("a name"),
        starts_at: instant("2026-07-01T00:00:00Z"),
        ends_at: None,
        anchor: meridian_billing::subscription::BillingAnchor::Calendar,
        time_zone: None,
        terms: Default::default(),
    };
    let own = json!({"coupons": [{"name": "fine", "percent": "5", "duration": "Forever"}]});
    let with_own = NewSubscription { terms: serde_json::from_value(own).expect("terms"), ..new.clone() };
    let with_own = acme.create_subscription(&with_own, Uuid::now_v7(), &by()).await.expect("subscription");
    let refused = acme.redeem_coupon(&with_own.id, &named("fine"), with_own.starts_at, &by()).await;
    assert!(matches!(refused, Err(CouponError::InTerms(_))), "{refused:?}");
    let ended = acme.create_subscription(&new, Uuid::now_v7(), &by()).await.expect("subscription");
    acme.cancel_subscription(&ended.id, meridian_records::CancelAt::Instant(ended.starts_at), &by())
        .await
        .expect("ended at once");
    let refused = acme.redeem_coupon(&ended.id, &named("fine"), ended.starts_at, &by()).await;
    assert!(matches!(refused, Err(CouponError::NothingToBill)), "{refused:?}");
    region.end().await;
}

#[tokio::test]
async fn the_same_seed_finds_the_coupon_and_a_name_is_taken_for_good() {
    let (region, _) = region_with(&[]).await;
    let acme = region.tenant("acme");
    let (spec, seed) = (coupon(json!({"name": "spring", "percent": "20"})), Uuid::now_v7());
    let made = acme.create_coupon(&spec, seed, &by()).await.expect("made");
    assert_eq!(acme.create_coupon(&spec, seed, &by()).await.expect("found"), made);
    acme.archive_coupon(&spec.name, &by()).await.expect("archived");
    let taken = acme.create_coupon(&spec, Uuid::now_v7(), &by()).await;
    assert!(matches!(taken, Err(CouponError::NameTaken(_))), "{taken:?}");
    let invalid = CouponSpec { percent: None, ..spec };
    let refused = acme.create_coupon(&invalid, Uuid::now_v7(), &by()).await;
    assert!(matches!(refused, Err(CouponError::Spec(_))), "{refused:?}");
    assert!(matches!(acme.archive_coupon(&named("x"), &by()).await, Err(CouponError::NoSuchCoupon(_))));
    region.end().await;
}
