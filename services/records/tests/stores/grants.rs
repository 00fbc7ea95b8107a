//! Grants: given once, recurring where they were given, and what time does to them.

use jiff::Timestamp;
use meridian_billing::ledger::GrantSpec;
use meridian_records::{CreditError, CustomerChange, LedgerSweep, Page};
use serde_json::json;
use uuid::Uuid;

use crate::{
    credits::{balances, keys},
    region::{Region, by},
};

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn appended(sweep: &LedgerSweep) -> usize {
    assert!(sweep.failed.is_empty(), "{:?}", sweep.failed);
    sweep.advanced.iter().map(|ledger| ledger.entries).sum()
}

#[tokio::test]
async fn a_recurring_grant_rolls_over_and_expires_by_the_sweep_once() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let customer = region.add_customer("acme", "big").await;
    let monthly = json!({
        "amount": "10", "effectiveAt": "2026-07-01T00:00:00Z", "expiresAt": "2026-10-01T00:00:00Z",
        "every": {"unit": "Month", "count": 1}, "rollover": {"max": "4"},
    });
    region.grant("acme", &customer.id, "monthly", "2026-07-03T00:00:00Z", monthly).await;
    let sweep = async |now: &str| region.records.advance_ledgers(instant(now), None, 9).await.expect("swept");

    assert_eq!(appended(&sweep("2026-07-31T23:59:59Z").await), 0);
    // Two workers at once, and then one more: August is given and July ends, once.
    let (one, other) = tokio::join!(sweep("2026-08-15T00:00:00Z"), sweep("2026-08-15T00:00:00Z"));
    assert_eq!(appended(&one) + appended(&other), 2);
    assert_eq!(sweep("2026-08-15T00:00:00Z").await.advanced, [], "nothing is due");
    assert_eq!(
        balances(&acme, &customer.id, "2026-08-15T00:00:00Z").await,
        ["monthly: 10 = 0 + 6 + 4 + 0", "monthly: 14 = 0 + 0 + 0 + 14"]
    );

    let before = balances(&acme, &customer.id, "2026-12-01T00:00:00Z").await;
    assert_eq!(
        before,
        ["monthly: 10 = 0 + 6 + 4 + 0", "monthly: 14 = 0 + 10 + 4 + 0", "monthly: 14 = 0 + 14 + 0 + 0"],
        "the last one has nothing to roll over to"
    );
    assert_eq!(appended(&sweep("2026-12-01T00:00:00Z").await), 3);
    assert_eq!(sweep("2027-12-01T00:00:00Z").await.advanced, [], "nothing is due any more");
    assert_eq!(balances(&acme, &customer.id, "2026-12-01T00:00:00Z").await, before, "it was told before");
    assert_eq!(
        keys(&acme, &customer.id).await,
        [
            "grant/monthly/2026-07-01T00:00:00Z",
            "grant/monthly/2026-08-01T00:00:00Z",
            "expire/monthly/2026-07-01T00:00:00Z/1",
            "grant/monthly/2026-09-01T00:00:00Z",
            "expire/monthly/2026-08-01T00:00:00Z/1",
            "expire/monthly/2026-09-01T00:00:00Z/1",
        ]
    );
    region.end().await;
}

#[tokio::test]
async fn a_sweep_goes_on_behind_the_last_ledger_and_a_broken_one_does_not_stop_it() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let mut customers = Vec::new();
    for (key, day) in [("a", "02"), ("b", "03"), ("c", "04")] {
        let customer = region.add_customer("acme", key).await;
        let ends = json!({"amount": "10", "effectiveAt": "2026-07-01T00:00:00Z", "expiresAt": format!("2026-07-{day}T00:00:00Z")});
        region.grant("acme", &customer.id, "g", "2026-07-01T00:00:00Z", ends).await;
        customers.push(customer);
    }
    let mut owner = region.raw_over_all().await;
    for statement in [
        "ALTER TABLE ledger_entries DISABLE TRIGGER append_only",
        "UPDATE ledger_entries SET kind = jsonb_set(kind, '{grant,terms,amount}', '\"11\"') WHERE customer_id =
             (SELECT customer_id FROM customers WHERE key = 'a')",
    ] {
        sqlx::query(statement).execute(&mut owner).await.expect(statement);
    }
    let now = instant("2026-08-01T00:00:00Z");
    let first = region.records.advance_ledgers(now, None, 2).await.expect("swept");
    assert_eq!((first.failed.len(), first.advanced.len()), (1, 1), "{first:?}");
    assert_eq!(first.failed[0].ledger.customer_id, customers[0].id);
    assert!(matches!(first.failed[0].error, CreditError::Ledger(_)), "{:?}", first.failed);
    let second = region.records.advance_ledgers(now, first.next.as_ref(), 2).await.expect("swept");
    assert_eq!(appended(&second), 1);
    assert_eq!(
        (second.advanced[0].ledger.customer_id.as_str(), second.next),
        (customers[2].id.as_str(), None)
    );
    region.end().await;
}

#[tokio::test]
async fn a_grant_recurs_where_it_was_given_though_the_customer_moves() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let customer = region.add_customer("acme", "big").await;
    let monthly = json!({"amount": "10", "effectiveAt": "2026-07-01T00:00:00Z", "every": {"unit": "Month", "count": 1}});
    let made = region.grant("acme", &customer.id, "monthly", "2026-08-02T00:00:00Z", monthly).await;
    let change = CustomerChange { time_zone: Some("America/New_York".to_owned()), ..Default::default() };
    acme.update_customer(&customer.id, &change, &by()).await.expect("moved");
    region.records.advance_ledgers(instant("2026-12-02T00:00:00Z"), None, 9).await.expect("swept");
    let given: Vec<String> =
        keys(&acme, &customer.id).await.into_iter().filter(|key| key.starts_with("grant/")).collect();
    let months = ["07", "08", "09", "10", "11", "12"];
    assert_eq!(given, months.map(|month| format!("grant/monthly/2026-{month}-01T00:00:00Z")));
    assert_eq!(made.time_zone, "UTC");
    region.end().await;
}

#[tokio::test]
async fn the_same_seed_finds_the_grant_and_nothing_is_given_twice() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let customer = region.add_customer("acme", "big").await;
    let spec = json!({"name": "g", "amount": "10", "currency": "USD", "effectiveAt": "2026-07-01T00:00:00Z"});
    let spec = GrantSpec::from_json(&spec).expect("a grant");
    let (now, seed) = (instant("2026-07-02T00:00:00Z"), Uuid::now_v7());
    let tries = (0..4).map(|_| {
        let (acme, id, spec) = (acme.clone(), customer.id.clone(), spec.clone());
        tokio::spawn(
            async move { acme.create_grant(&id, &spec, now, seed, &by()).await.expect("made or found") },
        )
    });
    let made: Vec<_> =
        futures::future::join_all(tries).await.into_iter().map(|task| task.expect("no panic")).collect();
    assert!(made.iter().all(|grant| *grant == made[0]), "{made:?}");
    assert_eq!(acme.grants(&customer.id, &Page::first(9)).await.expect("list").items, [made[0].clone()]);
    assert_eq!(keys(&acme, &customer.id).await, ["grant/g/2026-07-01T00:00:00Z"]);

    let taken = acme.create_grant(&customer.id, &spec, now, Uuid::now_v7(), &by()).await;
    assert!(matches!(taken, Err(CreditError::NameTaken(_))), "{taken:?}");
    let nowhere = GrantSpec { currency: None, ..spec.clone() };
    let refused = acme.create_grant(&customer.id, &nowhere, now, Uuid::now_v7(), &by()).await;
    assert!(matches!(refused, Err(CreditError::Spec(_))), "{refused:?}");
    acme.archive_customer(&customer.id, &by()).await.expect("archived");
    let late = GrantSpec { name: "late".parse().expect("a name"), ..spec };
    let refused = acme.create_grant(&customer.id, &late, now, Uuid::now_v7(), &by()).await;
    assert!(matches!(refused, Err(CreditError::CustomerArchived)), "{refused:?}");
    region.end().await;
}
