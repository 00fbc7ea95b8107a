//! The second wall: row-level security holds for the very role that owns the tables.

use meridian_billing::coupon::CouponSpec;
use meridian_records::{
    CancelAt, CouponError, CreditError, CreditNoteError, InvoiceChange, InvoiceError, InvoiceStep, Page,
    PriceCredit, connect,
};
use serde_json::json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::region::{Region, by, options, variable};

/// Every table that holds a tenant's rows. A new one must be named here and in the policies, or the last test fails.
const TENANT_TABLES: [&str; 25] = [
    "organizations",
    "memberships",
    "projects",
    "api_keys",
    "customers",
    "subscriptions",
    "aggregated_usage",
    "invoice_sequences",
    "invoices",
    "invoice_line_items",
    "credit_note_sequences",
    "credit_notes",
    "idempotency_keys",
    "audit_logs",
    "metrics",
    "metric_versions",
    "plans",
    "plan_versions",
    "plan_metrics",
    "coupons",
    "coupon_redemptions",
    "ledgers",
    "credit_grants",
    "ledger_entries",
    "ledger_postings",
];

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(query).fetch_one(connection).await.expect("count")
}

/// A cent of the base fee.
fn credit() -> PriceCredit {
    PriceCredit {
        plan: None,
        price: "base".parse().expect("a name"),
        amount: "0.01".parse().expect("an amount"),
    }
}

async fn region_with_two_billed_tenants() -> Region {
    let region = Region::start().await.with_catalogue().await;
    for (name, digit) in [("acme", 'a'), ("zeta", 'b')] {
        let subscription = region.add_tenant(name, digit).await;
        let more = json!({"amount": "7", "effectiveAt": "2026-07-01T00:00:00Z"});
        region.grant(name, &subscription.customer_id, "welcome", "2026-07-01T00:00:00Z", more).await;
        let coupon = CouponSpec::from_json(&json!({"name": "spring", "percent": "10"})).expect("a coupon");
        region.tenant(name).create_coupon(&coupon, Uuid::now_v7(), &by()).await.expect("coupon");
        let now = subscription.created_at;
        region
            .tenant(name)
            .redeem_coupon(&subscription.id, &coupon.name, now, &by())
            .await
            .expect("redeemed");
        let invoice = region.issued(&subscription, 3).await;
        region
            .tenant(name)
            .create_credit_note(&invoice.id, &[credit()], "an outage", Uuid::now_v7(), &by())
            .await
            .expect("written");
        region.tenant(name).claim_idempotency_key("k", "h").await.expect("claimed");
    }
    region
}

#[tokio::test]
async fn a_query_without_a_scope_sees_nothing() {
    let region = region_with_two_billed_tenants().await;
    let mut open = region.raw_over_all().await;
    let mut closed = region.raw().await;
    for table in TENANT_TABLES {
        if !["memberships", "aggregated_usage"].contains(&table) {
            assert!(count(&mut open, table).await > 0, "{table} must hold rows, or this test proves nothing");
        }
        assert_eq!(count(&mut closed, table).await, 0, "{table} shows rows to a query without a scope");
    }
    region.end().await;
}

#[tokio::test]
async fn a_scope_sees_its_own_rows_and_the_shared_catalogue_only() {
    let region = region_with_two_billed_tenants().await;
    let mut acme = region.raw().await;
    sqlx::query("SET meridian.tenant = 'acme'").execute(&mut acme).await.expect("set");
    for table in TENANT_TABLES {
        let query = sqlx::AssertSqlSafe(format!("SELECT DISTINCT tenant FROM {table}"));
        for row in sqlx::query(query).fetch_all(&mut acme).await.expect("rows") {
            let tenant: Option<String> = row.get("tenant");
            let shared = tenant.is_none() && table.starts_with(['m', 'p']);
            assert!(shared || tenant.as_deref() == Some("acme"), "{table} shows {tenant:?} to acme");
        }
    }
    assert_eq!(count(&mut acme, "plans").await, 1, "the shared plan is visible");
    region.end().await;
}

#[tokio::test]
async fn a_scope_cannot_write_another_tenants_rows_or_the_catalogue() {
    let region = region_with_two_billed_tenants().await;
    let mut acme = region.raw().await;
    sqlx::query("SET meridian.tenant = 'acme'").execute(&mut acme).await.expect("set");
    let refused = [
        "INSERT INTO customers (customer_id, tenant, key, managed_by) VALUES ('cus_x', 'zeta', 'x', 'api')",
        "INSERT INTO credit_notes SELECT 'cn_x', 'zeta', invoice_id, 9, 'CN-9', currency, total, note, reason FROM credit_notes",
        "INSERT INTO audit_logs (tenant, actor, action, entity, reason) VALUES ('zeta', 'a', 'b', 'c', 'd')",
        "INSERT INTO plans (plan_id, name, version, managed_by) VALUES ('plan_x', 'x', 1, 'api')",
        "UPDATE customers SET tenant = 'zeta'",
        "UPDATE ledgers SET tenant = 'zeta'",
        "INSERT INTO ledger_entries (tenant, customer_id, currency, seq, key, at, kind, postings)
         VALUES ('zeta', 'cus_x', 'USD', 9, 'x', now(), '{}', 0)",
    ];
    for statement in refused {
        let error = sqlx::query(statement).execute(&mut acme).await.expect_err(statement).to_string();
        assert!(error.contains("row-level security"), "{statement}: {error}");
    }
    let unseen = [
        "UPDATE organizations SET display_name = 'x' WHERE tenant = 'zeta'",
        "UPDATE plans SET archived_at = now()",
    ];
    for statement in unseen {
        let done = sqlx::query(statement).execute(&mut acme).await.expect(statement);
        assert_eq!(done.rows_affected(), 0, "{statement}");
    }
    region.end().await;
}

#[tokio::test]
async fn ids_of_another_tenant_are_not_found() {
    let region = region_with_two_billed_tenants().await;
    let (acme, zeta) = (region.tenant("acme"), region.tenant("zeta"));
    let theirs = zeta.invoices(None, &Page::first(9)).await.expect("list").items.remove(0);
    assert!(acme.invoice(&theirs.id).await.expect("asked").is_none());
    assert!(acme.subscription(&theirs.subscription).await.expect("asked").is_none());
    assert!(acme.customer(&theirs.customer_id).await.expect("asked").is_none());
    assert!(acme.issue_invoice(&theirs.id, theirs.created_at, &by()).await.is_err());
    let step = InvoiceStep::Pay { reference: None };
    let pay = InvoiceChange { step, seen_version: None, at: theirs.created_at, seed: Uuid::now_v7() };
    let paid = acme.change_invoice(&theirs.id, &pay, &by()).await;
    assert!(matches!(paid, Err(InvoiceError::NotFound)), "{paid:?}");
    let noted = acme.create_credit_note(&theirs.id, &[credit()], "theirs", Uuid::now_v7(), &by()).await;
    assert!(matches!(noted, Err(CreditNoteError::NotFound)), "{noted:?}");
    assert_eq!(acme.credit_notes(&theirs.id, &Page::first(9)).await.expect("asked"), None);
    assert!(acme.period_terms(&theirs.subscription, None).await.is_err());
    assert!(
        acme.cancel_subscription(&theirs.subscription, CancelAt::Instant(theirs.created_at), &by())
            .await
            .is_err()
    );
    assert!(acme.archive_customer(&theirs.customer_id, &by()).await.is_err());
    let currency = theirs.currency;
    let standing =
        acme.credit_standing(&theirs.customer_id, currency, theirs.created_at).await.expect("asked");
    assert_eq!((standing.balances, standing.debts), (Vec::new(), Vec::new()));
    assert_eq!(acme.ledger_entries(&theirs.customer_id, currency, None, 9).await.expect("asked").items, []);
    assert_eq!(acme.grants(&theirs.customer_id, &Page::first(9)).await.expect("asked").items, []);
    assert_eq!(acme.redeemed_coupons(&theirs.subscription).await.expect("asked"), []);
    let grant = &zeta.grants(&theirs.customer_id, &Page::first(9)).await.expect("asked").items[0];
    let given =
        acme.create_grant(&theirs.customer_id, &grant.spec, theirs.created_at, Uuid::now_v7(), &by()).await;
    assert!(matches!(given, Err(CreditError::NoSuchCustomer)), "{given:?}");
    let spring = "spring".parse().expect("a name");
    let redeemed = acme.redeem_coupon(&theirs.subscription, &spring, theirs.created_at, &by()).await;
    assert!(matches!(redeemed, Err(CouponError::NoSuchSubscription)), "{redeemed:?}");
    assert_eq!(acme.invoices(None, &Page::first(9)).await.expect("list").items.len(), 1);
    region.end().await;
}

#[tokio::test]
async fn a_role_above_the_policies_is_refused() {
    let region = Region::start().await;
    let mut superuser = options(&region.schema);
    superuser.user = "postgres".to_owned();
    superuser.password = std::env::var("MERIDIAN_POSTGRES_SUPERUSER_PASSWORD")
        .unwrap_or_else(|_| variable("MERIDIAN_POSTGRES_PASSWORD"));
    superuser.acquire_timeout = std::time::Duration::from_secs(2);
    let records = connect(&superuser).expect("options");
    let error = records.migrate(crate::region::VERSION).await.expect_err("refused");
    assert!(format!("{:?}", anyhow_chain(&error)).contains("row-level security would not hold"), "{error:?}");
    assert!(records.catalogue_version().await.is_err(), "no query runs as a superuser either");
    region.end().await;
}

fn anyhow_chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

#[tokio::test]
async fn every_table_with_a_tenant_column_is_behind_the_wall() {
    let region = Region::start().await;
    let mut connection = region.raw().await;
    let rows = sqlx::query(
        "SELECT c.relname::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS walled FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant'
         WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace($1) ORDER BY 1",
    )
    .bind(&region.schema)
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    let mut names: Vec<String> = rows.iter().map(|row| row.get("name")).collect();
    let mut expected: Vec<String> = TENANT_TABLES.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    for row in &rows {
        assert!(row.get::<bool, _>("walled"), "{} has no forced policy", row.get::<String, _>("name"));
    }
    region.end().await;
}
