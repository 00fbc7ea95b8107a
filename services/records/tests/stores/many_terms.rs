//! The terms of many periods at once are those of each by itself, and ask the database no more often than those of one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use jiff::Timestamp;
use meridian_billing::{
    coupon::CouponSpec,
    decimal::Quantity,
    ids::SubscriptionId,
    invoice::{Computation, PriceUsage},
    subscription::{BillingAnchor, CustomTerms},
};
use meridian_records::{
    ChargedAhead, InvoiceChange, InvoiceDraft, InvoiceStep, NewSubscription, SubscriptionError,
};
use serde_json::{Value, json};
use tracing::{Event, Metadata, Subscriber, span};
use uuid::Uuid;

use crate::region::{Region, by, draft, plan_spec, source};

const JULY: &str = "2026-07-01T00:00:00Z";
const AUGUST: &str = "2026-08-01T00:00:00Z";

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// Counts the statements that the driver reports, and keeps nothing.
#[derive(Clone, Default)]
struct Statements(Arc<AtomicUsize>);

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What this costs in statements.
pub async fn statements<T>(work: impl Future<Output = T>) -> (T, usize) {
    let counted = Statements::default();
    // While there is one subscriber only, tracing asks whoever comes first to a call site, here another test, whether anybody listens
    // to it, and keeps the answer.
    let _second = tracing::Dispatch::new(counted.clone());
    let guard = tracing::subscriber::set_default(counted.clone());
    let result = work.await;
    drop(guard);
    (result, counted.0.load(Ordering::Relaxed))
}

/// A subscription of a customer of its own.
async fn subscribe(region: &Region, key: &str, plan: &str, terms: Value) -> SubscriptionId {
    let customer = region.add_customer("acme", key).await;
    let new = NewSubscription {
        customer_id: customer.id,
        plan: plan.parse().expect("a name"),
        starts_at: instant(JULY),
        ends_at: None,
        anchor: BillingAnchor::Anniversary,
        time_zone: None,
        terms: CustomTerms::from_json(&terms).expect("terms"),
    };
    region.tenant("acme").create_subscription(&new, Uuid::now_v7(), &by()).await.expect("made").id
}

/// Issues July's invoice.
async fn bill_july(region: &Region, of: &SubscriptionId, calls: i64) -> meridian_records::Invoice {
    let acme = region.tenant("acme");
    let terms = acme.period_terms(of, Some(instant(JULY))).await.expect("terms");
    let saved = acme.save_invoice(&draft(&terms, calls, AUGUST), &by()).await.expect("saved");
    acme.issue_invoice(&saved.invoice.id, instant(AUGUST), &by()).await.expect("issued")
}

/// Bills within July what thresholds asked for.
async fn bill_threshold(region: &Region, of: &SubscriptionId, calls: i64, until: &str) {
    let acme = region.tenant("acme");
    let terms = acme.period_terms(of, Some(instant(JULY))).await.expect("terms");
    let count = |price| PriceUsage::total(price, Quantity::from_integer(calls), calls as u64, 1);
    let usage = terms.metered().expect("a plan").iter().map(count).collect();
    let input = terms.threshold_input(usage, instant(until)).expect("an input");
    let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
    let saved = acme.save_invoice(&draft, &by()).await.expect("saved");
    acme.issue_invoice(&saved.invoice.id, instant(until), &by()).await.expect("issued");
}

/// Subscriptions of every kind that terms look at, each with the periods to ask for.
async fn many_kinds(region: &Region) -> Vec<(SubscriptionId, Timestamp)> {
    let acme = region.tenant("acme");
    let ahead = json!({"prices": [{"name": "base", "flat": {"amount": "31", "billed": "InAdvance"}}]});
    let name = "ahead".parse().expect("a name");
    region.records.put_plan(&name, &source("p-ahead", 1), &plan_spec(ahead), &by()).await.expect("plan");
    let mut asked = Vec::new();
    for number in 0..4 {
        let plain = subscribe(region, &format!("plain-{number}"), "starter", json!({})).await;
        asked.push((plain, instant(JULY)));
    }
    // Charged in advance: what was charged is known, is to be expected, is void, and is void and asked for again.
    for kind in ["known", "expected", "void", "reissued"] {
        let of = subscribe(region, kind, "ahead", json!({})).await;
        asked.extend([(of.clone(), instant(JULY)), (of.clone(), instant(AUGUST))]);
        let steps: &[InvoiceStep] = match kind {
            "expected" => continue,
            "void" => &[InvoiceStep::Void { reason: "wrong".to_owned() }],
            "reissued" => &[
                InvoiceStep::Void { reason: "wrong".to_owned() },
                InvoiceStep::Reissue { reason: "right".to_owned() },
            ],
            _ => &[],
        };
        let invoice = bill_july(region, &of, 0).await;
        for step in steps.iter().cloned() {
            let change =
                InvoiceChange { step, seen_version: None, at: instant(AUGUST), seed: Uuid::now_v7() };
            acme.change_invoice(&invoice.id, &change, &by()).await.expect("changed");
        }
    }
    // Two subscriptions on the way to their thresholds, at different places.
    for (key, parts) in [("once", 1), ("twice", 2)] {
        let of = subscribe(region, key, "starter", json!({"thresholds": [{"amount": "20"}]})).await;
        bill_threshold(region, &of, 12_345, "2026-07-10T00:00:00Z").await;
        if parts == 2 {
            bill_threshold(region, &of, 14_567, "2026-07-20T00:00:00Z").await;
        }
        asked.push((of, instant(JULY)));
    }
    // Coupons, from the start and redeemed; changes, add-ons and a pause.
    for name in ["spring", "autumn"] {
        let coupon = CouponSpec::from_json(&json!({"name": name, "percent": "20"})).expect("a coupon");
        acme.create_coupon(&coupon, Uuid::now_v7(), &by()).await.expect("coupon");
    }
    let own = json!({"coupons": [{"name": "welcome", "amount": "5", "currency": "USD"}]});
    let redeemer = subscribe(region, "redeemer", "starter", own).await;
    for (name, at) in [("autumn", "2026-07-03T00:00:00Z"), ("spring", "2026-08-03T00:00:00Z")] {
        acme.redeem_coupon(&redeemer, &name.parse().expect("a name"), instant(at), &by()).await.expect("had");
    }
    asked.extend([(redeemer.clone(), instant(JULY)), (redeemer, instant(AUGUST))]);
    let changes = json!({"addOns": [{"planRef": {"name": "ahead"}, "quantity": "2"}], "changes": [
        {"at": "2026-07-11T00:00:00Z", "pause": true}, {"at": "2026-07-21T00:00:00Z", "resume": true},
        {"at": "2026-07-25T00:00:00Z", "addOns": []}]});
    asked.push((subscribe(region, "changing", "starter", changes).await, instant(JULY)));
    // What has no answer, and one that is asked for twice.
    let nobody = "sub_00000000000000000000000000000000".parse().expect("an id");
    asked.push((nobody, instant(JULY)));
    asked.push((asked[0].0.clone(), instant("2026-07-02T00:00:00Z")));
    asked.push(asked[0].clone());
    asked
}

#[tokio::test]
async fn the_terms_of_many_periods_are_those_of_each_by_itself() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let asked = many_kinds(&region).await;
    let acme = region.tenant("acme");
    let together = acme.period_terms_of(&asked).await.expect("read");
    assert_eq!(together.len(), asked.len());
    let mut ahead = Vec::new();
    for ((subscription, start), found) in asked.iter().zip(together) {
        match (acme.period_terms(subscription, Some(*start)).await, found) {
            (Ok(alone), Ok(found)) => {
                assert_eq!((&found.subscription.id, found.period.start), (subscription, *start));
                if *start == instant(AUGUST) {
                    ahead.push(found.charged_ahead.clone());
                }
                assert_eq!(alone, found);
            }
            (Err(alone), Err(found)) => assert_eq!(alone.to_string(), found.to_string()),
            (alone, found) => panic!("alone {alone:?}, together {found:?}"),
        }
    }
    // The kinds are what their names say: known, expected, nothing, expected.
    let kinds: Vec<String> = ahead
        .iter()
        .take(4)
        .map(|ahead| match ahead {
            ChargedAhead::Known(charges) => format!("{} known", charges.len()),
            ChargedAhead::Expected(_) => "expected".to_owned(),
        })
        .collect();
    assert_eq!(kinds, ["1 known", "expected", "0 known", "expected"]);
    region.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_one_subscription_is_no_other_ones_answer() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let mut asked = Vec::new();
    for number in 0..3 {
        asked.push((
            subscribe(&region, &format!("customer-{number}"), "starter", json!({})).await,
            instant(JULY),
        ));
    }
    let mut owner = region.raw_over_all().await;
    sqlx::query("UPDATE subscriptions SET terms = '{\"coupons\": 7}' WHERE subscription_id = $1")
        .bind(asked[1].0.as_str())
        .execute(&mut owner)
        .await
        .expect("broken");
    let found = region.tenant("acme").period_terms_of(&asked).await.expect("read");
    assert!(matches!(found[1], Err(SubscriptionError::Store(_))), "{:?}", found[1]);
    assert!(found[0].is_ok() && found[2].is_ok(), "{found:?}");
    region.end().await;
}

#[tokio::test]
async fn many_periods_cost_no_more_statements_than_one() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let asked = many_kinds(&region).await;
    let acme = region.tenant("acme");
    let (one, for_one) = statements(acme.period_terms_of(&asked[..1])).await;
    let (all, for_all) = statements(acme.period_terms_of(&asked)).await;
    assert_eq!((one.expect("read").len(), all.expect("read").len()), (1, asked.len()));
    assert!(for_one >= 10, "{for_one} statements were counted: the driver no longer says what it sends");
    assert_eq!(for_one, for_all);
    region.end().await;
}
