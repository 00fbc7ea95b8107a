//! What somebody with psql, as the owner of the tables, cannot do to coupons, grants and ledgers.

use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::region::{Region, by};

async fn region_with_a_ledger() -> Region {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let more = json!({"amount": "50", "effectiveAt": "2026-07-01T00:00:00Z"});
    region.grant("acme", &subscription.customer_id, "welcome", "2026-07-02T00:00:00Z", more).await;
    let spec = json!({"name": "spring", "percent": "20"});
    let spec = meridian_billing::coupon::CouponSpec::from_json(&spec).expect("a coupon");
    let acme = region.tenant("acme");
    acme.create_coupon(&spec, Uuid::now_v7(), &by()).await.expect("coupon");
    let at = "2026-07-02T00:00:00Z".parse().expect("an instant");
    acme.redeem_coupon(&subscription.id, &spec.name, at, &by()).await.expect("redeemed");
    region
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

#[tokio::test]
async fn nothing_of_a_ledger_is_changed_or_removed() {
    let region = region_with_a_ledger().await;
    let mut owner = region.raw_over_all().await;
    let attempts = [
        "UPDATE ledger_entries SET at = now()",
        "UPDATE ledger_entries SET postings = 0",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries CASCADE",
        "UPDATE ledger_postings SET amount = amount * 2",
        "DELETE FROM ledger_postings",
        "TRUNCATE ledger_postings",
        "UPDATE credit_grants SET spec = jsonb_set(spec, '{amount}', '\"500\"')",
        "DELETE FROM credit_grants",
        "UPDATE coupon_redemptions SET redeemed_at = now()",
        "DELETE FROM coupon_redemptions",
        "UPDATE coupons SET spec = jsonb_set(spec, '{percent}', '\"100\"')",
        "UPDATE coupons SET name = 'winter'",
        "DELETE FROM coupons",
    ];
    for attempt in attempts {
        let error = sqlx::query(attempt).execute(&mut owner).await.expect_err(attempt);
        assert_eq!(code(&error), "MR001", "{attempt}: {error}");
    }
    let archived = sqlx::query("UPDATE coupons SET archived_at = now()").execute(&mut owner).await;
    assert_eq!(archived.expect("a coupon may be archived").rows_affected(), 1);
    region.end().await;
}

/// Runs the statements in one transaction; the code with which it is refused, if it is.
async fn outcome(owner: &mut PgConnection, statements: &[&'static str]) -> String {
    let mut transaction = owner.begin().await.expect("begun");
    for statement in statements {
        if let Err(error) = sqlx::query(*statement).execute(&mut *transaction).await {
            return code(&error);
        }
    }
    match transaction.commit().await {
        Ok(()) => "committed".to_owned(),
        Err(error) => code(&error),
    }
}

const ENTRY: &str = "INSERT INTO ledger_entries (tenant, customer_id, currency, seq, key, at, kind, postings)
    SELECT tenant, customer_id, currency, 2, 'x', now(), '{}', 2 FROM ledgers";
const IN: &str = "INSERT INTO ledger_postings (tenant, customer_id, currency, seq, position, account, amount)
    SELECT tenant, customer_id, currency, 2, 0, '{}', 10 FROM ledgers";
const OUT: &str =
    "INSERT INTO ledger_postings (tenant, customer_id, currency, seq, position, account, amount)
    SELECT tenant, customer_id, currency, 2, 1, '{}', -10 FROM ledgers";
const LESS_OUT: &str =
    "INSERT INTO ledger_postings (tenant, customer_id, currency, seq, position, account, amount)
    SELECT tenant, customer_id, currency, 2, 1, '{}', -9.99 FROM ledgers";
const IN_LATER: &str =
    "INSERT INTO ledger_postings (tenant, customer_id, currency, seq, position, account, amount)
    SELECT tenant, customer_id, currency, 1, 2, '{}', 10 FROM ledgers";
const OUT_LATER: &str =
    "INSERT INTO ledger_postings (tenant, customer_id, currency, seq, position, account, amount)
    SELECT tenant, customer_id, currency, 1, 3, '{}', -10 FROM ledgers";
const FORK: &str = "INSERT INTO ledger_entries (tenant, customer_id, currency, seq, key, at, kind, postings)
    SELECT tenant, customer_id, currency, 1, 'x', now(), '{}', 0 FROM ledgers";
const TWICE: &str = "INSERT INTO ledger_entries (tenant, customer_id, currency, seq, key, at, kind, postings)
    SELECT tenant, customer_id, currency, 2, key, now(), '{}', 0 FROM ledger_entries";

#[tokio::test]
async fn an_entry_that_does_not_balance_is_not_committed() {
    let region = region_with_a_ledger().await;
    let mut owner = region.raw_over_all().await;
    for (statements, expected) in [
        (&[ENTRY, IN, LESS_OUT][..], "MR003"),
        (&[ENTRY, IN], "MR003"),
        (&[ENTRY], "MR003"),
        (&[IN, OUT], "23503"),
        (&[IN_LATER, OUT_LATER], "MR003"),
        (&[FORK], "23505"),
        (&[TWICE], "23505"),
        // The same with nothing wrong: so it was what is wrong that was refused.
        (&[ENTRY, IN, OUT], "committed"),
    ] {
        assert_eq!(outcome(&mut owner, statements).await, expected, "{statements:?}");
    }
    region.end().await;
}
