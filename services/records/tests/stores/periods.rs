//! Which period is billed next, by which version of the plan, and when it is due.

use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use meridian_billing::{
    ids::PlanName,
    subscription::{BillingAnchor, Share},
};
use meridian_records::{CancelAt, NewCustomer, NewSubscription, SubscriptionError, SubscriptionState};
use serde_json::json;
use uuid::Uuid;

use crate::region::{Region, by, draft, plan_spec, source};

const HOUR: Duration = Duration::from_secs(3600);

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

#[tokio::test]
async fn issuing_moves_on_to_the_next_period_and_out_of_order_issues_catch_up() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let issue = async |start: &str| {
        let terms = region.terms(&subscription, Some(start)).await;
        let saved = acme.save_invoice(&draft(&terms, 1, "2027-01-01T00:00:00Z"), &by()).await.expect("saved");
        acme.issue_invoice(&saved.invoice.id, instant("2027-01-01T00:00:00Z"), &by()).await.expect("issued");
        let now = acme.subscription(&subscription.id).await.expect("asked").expect("there");
        now.next_period.expect("a period").start.to_string()
    };
    assert_eq!(
        issue("2026-08-01T00:00:00Z").await,
        "2026-07-01T00:00:00Z",
        "the first period is still to bill"
    );
    assert_eq!(
        issue("2026-07-01T00:00:00Z").await,
        "2026-09-01T00:00:00Z",
        "and then August is done already"
    );
    let terms = region.terms(&subscription, None).await;
    assert_eq!(
        (terms.period.start, terms.segments[0].share),
        (instant("2026-09-01T00:00:00Z"), Share::WHOLE)
    );
    assert_eq!(terms.next.expect("goes on").period.end, instant("2026-11-01T00:00:00Z"));
    let wrong = acme.period_terms(&subscription.id, Some(instant("2026-09-02T00:00:00Z"))).await;
    assert!(matches!(wrong, Err(SubscriptionError::NoSuchPeriod(_))), "{wrong:?}");
    region.end().await;
}

#[tokio::test]
async fn a_period_is_due_when_it_and_the_grace_are_over_and_until_it_is_issued() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let created = subscription.created_at;
    let due = async |now: Timestamp| region.records.due_periods(now, HOUR, None, 10).await.expect("asked");
    // Its first period ended before it was made: it has a grace from its making.
    let past_end = instant("2026-08-01T00:00:00Z");
    assert!(created > past_end, "the clock of this machine is before August 2026");
    assert_eq!(due(created + 59.minutes()).await, []);
    let found = due(created + 61.minutes()).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].period.start, found[0].period.end), (instant("2026-07-01T00:00:00Z"), past_end));
    let behind =
        region.records.due_periods(created + 61.minutes(), HOUR, Some(&found[0]), 10).await.expect("asked");
    assert_eq!(behind, [], "asking behind the last one goes on");
    let acme = region.tenant("acme");
    let saved = acme
        .save_invoice(&draft(&region.terms(&subscription, None).await, 1, "2027-01-01T00:00:00Z"), &by())
        .await;
    assert_eq!(due(created + 61.minutes()).await.len(), 1, "a draft is not the end of it");
    acme.issue_invoice(&saved.expect("saved").invoice.id, created, &by()).await.expect("issued");
    assert_ne!(due(created + 61.minutes()).await, found);
    region.end().await;
}

#[tokio::test]
async fn a_new_plan_version_holds_from_the_next_period_on() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let name = PlanName::new("starter").expect("a name");
    let dearer = plan_spec(json!({"prices": [{"name": "base", "flat": {"amount": "200"}}]}));
    region.records.put_plan(&name, &source("p1", 2), &dearer, &by()).await.expect("stored");
    // Time passed: version 1 was made in June and version 2 in August.
    let mut owner = region.raw_over_all().await;
    sqlx::query("ALTER TABLE plan_versions DISABLE TRIGGER append_only")
        .execute(&mut owner)
        .await
        .expect("opened");
    sqlx::query("UPDATE plan_versions SET created_at = CASE version WHEN 1 THEN '2026-06-15Z'::timestamptz ELSE '2026-08-15Z' END")
        .execute(&mut owner).await.expect("moved");
    let version_at = async |start: &str| region.terms(&subscription, Some(start)).await.plan.version;
    assert_eq!(version_at("2026-08-01T00:00:00Z").await, 1, "August began before the change");
    assert_eq!(version_at("2026-09-01T00:00:00Z").await, 2);
    // A start before the plan's first version was promised nothing else than the newest.
    sqlx::query("UPDATE plan_versions SET created_at = '2026-10-01Z'")
        .execute(&mut owner)
        .await
        .expect("moved");
    assert_eq!(version_at("2026-08-01T00:00:00Z").await, 2);
    region.end().await;
}

#[tokio::test]
async fn a_cancelled_subscription_is_billed_to_its_end_and_then_ends() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let new = NewCustomer {
        key: "big".parse().expect("a key"),
        name: String::new(),
        time_zone: "UTC".to_owned(),
        metadata: json!({}),
    };
    let customer = acme.create_customer(&new, Uuid::now_v7(), &by()).await.expect("customer");
    let new = NewSubscription {
        customer_id: customer.id,
        plan: "starter".parse().expect("a name"),
        starts_at: instant("2026-01-31T10:00:00Z"),
        ends_at: None,
        anchor: BillingAnchor::Anniversary,
        time_zone: None,
        terms: Default::default(),
    };
    let seed = Uuid::now_v7();
    let made = acme.create_subscription(&new, seed, &by()).await.expect("made");
    assert_eq!(
        acme.create_subscription(&new, seed, &by()).await.expect("found"),
        made,
        "the same seed finds it"
    );
    assert_eq!(made.next_period.expect("a period").end, instant("2026-02-28T10:00:00Z"), "the 31st clamps");
    let end = CancelAt::Instant(instant("2026-02-10T00:00:00Z"));
    let cancelled = acme.cancel_subscription(&made.id, end, &by()).await.expect("cancelled");
    assert_eq!(cancelled.next_period.expect("a rest").end, instant("2026-02-10T00:00:00Z"));
    let terms = region.terms(&cancelled, None).await;
    assert_eq!(terms.next, None);
    let saved = acme.save_invoice(&draft(&terms, 1, "2026-03-01T00:00:00Z"), &by()).await.expect("saved");
    acme.issue_invoice(&saved.invoice.id, instant("2026-03-01T00:00:00Z"), &by()).await.expect("issued");
    let ended = acme.subscription(&made.id).await.expect("asked").expect("there");
    assert_eq!((ended.state, ended.next_period), (SubscriptionState::Ended, None));
    region.end().await;
}
