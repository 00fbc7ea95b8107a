//! Invoices spend credits when they are issued: once, never more than there is, and all of it or nothing.

use jiff::Timestamp;
use meridian_billing::{
    ENGINE_VERSION,
    decimal::Amount,
    invoice::{Computation, RecomputeError},
    invoice_state::InvoiceStatus,
    ledger::{EntryKind, Overage},
};
use meridian_records::{Invoice, InvoiceChange, InvoiceError, InvoiceStep, TenantRecords};
use serde_json::json;
use uuid::Uuid;

use crate::region::{Region, by};

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn amount(text: &str) -> Amount {
    text.parse().expect("an amount")
}

/// "name: granted = used + expired + rolled over + remaining", for each grant; the law itself is checked.
pub async fn balances(tenant: &TenantRecords, customer: &str, at: &str) -> Vec<String> {
    let currency = "USD".parse().expect("a currency");
    let standing = tenant.credit_standing(customer, currency, instant(at)).await.expect("asked");
    let balances = standing.balances.into_iter().map(|balance| {
        let parts = [balance.used, balance.expired, balance.rolled_over, balance.remaining];
        let sum = Amount::checked_sum(parts).expect("a sum");
        assert_eq!(sum, balance.granted, "{balance:?}");
        let [used, expired, rolled, remaining] = parts;
        format!("{}: {} = {used} + {expired} + {rolled} + {remaining}", balance.grant.name, balance.granted)
    });
    balances.collect()
}

pub async fn keys(tenant: &TenantRecords, customer: &str) -> Vec<String> {
    let currency = "USD".parse().expect("a currency");
    let entries = tenant.ledger_entries(customer, currency, None, 1000).await.expect("asked").items;
    entries.into_iter().map(|entry| entry.key).collect()
}

async fn issue(tenant: &TenantRecords, draft: &Invoice) -> Result<Invoice, InvoiceError> {
    tenant.issue_invoice(&draft.id, instant("2026-08-02T01:00:00Z"), &by()).await
}

/// A customer with 50 of July, to be spent by the end of August.
async fn region_with_a_grant(amount: &str) -> (Region, meridian_records::Customer) {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let customer = region.add_customer("acme", "big").await;
    let more =
        json!({"amount": amount, "effectiveAt": "2026-07-01T00:00:00Z", "expiresAt": "2026-09-01T00:00:00Z"});
    region.grant("acme", &customer.id, "welcome", "2026-07-01T09:00:00Z", more).await;
    (region, customer)
}

#[tokio::test]
async fn a_grant_pays_an_invoice_at_issue_once_and_all_of_it_is_accounted_for() {
    let (region, customer) = region_with_a_grant("50").await;
    let acme = region.tenant("acme");
    let subscription = region.subscribe_customer("acme", &customer).await;
    let draft = region.save_july(&subscription, 12_000).await;
    assert_eq!((draft.credits, draft.total), (Amount::ZERO, amount("120")));

    let issued = issue(&acme, &draft).await.expect("issued");
    assert_eq!((issued.subtotal, issued.credits, issued.total), (amount("120"), amount("50"), amount("70")));
    let lines: Vec<(&str, String)> =
        issued.lines.iter().map(|line| (line.price.as_str(), line.amount.to_string())).collect();
    assert_eq!(
        lines,
        [("base", "100".to_owned()), ("calls", "20".to_owned()), ("welcome", "-50".to_owned())]
    );
    assert_eq!(issued.lines[1].meter, draft.lines[1].meter, "the usage line still says what it counted");
    let proved = Computation::verify(&issued.computation).expect("it computes to the same bytes");
    assert_eq!(proved.invoice.total, issued.total);
    assert_eq!(balances(&acme, &customer.id, "2026-08-02T01:00:00Z").await, ["welcome: 50 = 50 + 0 + 0 + 0"]);
    let entries = keys(&acme, &customer.id).await;
    let expected =
        ["grant/welcome/2026-07-01T00:00:00Z".to_owned(), format!("burn/{}/in-arrears", issued.id)];
    assert_eq!(entries, expected);

    assert_eq!(issue(&acme, &draft).await.expect("issued"), issued, "issuing again changes nothing");
    assert_eq!(keys(&acme, &customer.id).await, expected, "and spends nothing");
    region.end().await;
}

#[tokio::test]
async fn invoices_that_are_issued_at_once_never_spend_more_than_the_grant_has() {
    let (region, customer) = region_with_a_grant("250").await;
    let mut drafts = Vec::new();
    for _ in 0..4 {
        let subscription = region.subscribe_customer("acme", &customer).await;
        drafts.push(region.save_july(&subscription, 12_000).await);
    }
    let issues = drafts.iter().map(|draft| {
        let (acme, draft) = (region.tenant("acme"), draft.clone());
        tokio::spawn(async move { issue(&acme, &draft).await.expect("issued") })
    });
    let issued: Vec<Invoice> =
        futures::future::join_all(issues).await.into_iter().map(|task| task.expect("no panic")).collect();
    let mut credits: Vec<String> = issued.iter().map(|invoice| invoice.credits.to_string()).collect();
    credits.sort();
    assert_eq!(credits, ["0", "10", "120", "120"], "480 were asked for, 250 were there");
    for invoice in &issued {
        Computation::verify(&invoice.computation).expect("it computes to the same bytes");
    }
    let acme = region.tenant("acme");
    assert_eq!(
        balances(&acme, &customer.id, "2026-08-02T01:00:00Z").await,
        ["welcome: 250 = 250 + 0 + 0 + 0"]
    );
    assert_eq!(keys(&acme, &customer.id).await.len(), 5, "one grant, four invoices");
    region.end().await;
}

#[tokio::test]
async fn a_crash_before_the_commit_leaves_neither_an_entry_nor_a_number() {
    let (region, customer) = region_with_a_grant("50").await;
    let acme = region.tenant("acme");
    let subscription = region.subscribe_customer("acme", &customer).await;
    let draft = region.save_july(&subscription, 12_000).await;
    // The issue comes as far as its last lock, the subscription's, with credits spent and the number taken.
    let mut holder = region.raw_over_all().await;
    for statement in ["BEGIN", "SELECT 1 FROM subscriptions FOR UPDATE"] {
        sqlx::query(statement).execute(&mut holder).await.expect(statement);
    }
    let (tenant, of) = (acme.clone(), draft.clone());
    let issuing = tokio::spawn(async move { issue(&tenant, &of).await });
    let waits =
        "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))";
    let mut looks = 0;
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut holder).await.expect("asked") {
        looks += 1;
        assert!(looks < 5_000 && !issuing.is_finished(), "it never came to its last lock");
        tokio::task::yield_now().await;
    }
    issuing.abort();
    assert!(issuing.await.expect_err("it died").is_cancelled());
    sqlx::query("ROLLBACK").execute(&mut holder).await.expect("released");

    let after = acme.invoice(&draft.id).await.expect("asked").expect("there");
    assert_eq!(after, draft);
    assert_eq!(keys(&acme, &customer.id).await.len(), 1, "the grant alone");
    let issued = issue(&acme, &draft).await.expect("issued");
    assert_eq!((issued.number.as_deref(), issued.credits), (Some("INV-000001"), amount("50")));
    region.end().await;
}

#[tokio::test]
async fn a_preview_says_what_the_issue_then_spends_and_stores_nothing() {
    let (region, customer) = region_with_a_grant("50").await;
    let acme = region.tenant("acme");
    let subscription = region.subscribe_customer("acme", &customer).await;
    let draft = region.save_july(&subscription, 12_000).await;
    let input = Computation::verify(&draft.computation).expect("proved").input;
    let previewed =
        acme.credits_for(&customer.id, draft.currency, &input, Overage::Charge).await.expect("asked");
    assert_eq!(keys(&acme, &customer.id).await.len(), 1, "the grant alone");
    let issued = issue(&acme, &draft).await.expect("issued");
    let spent = Computation::verify(&issued.computation).expect("proved").input.adjustments.credits;
    assert_eq!(spent, previewed);
    assert!(spent.is_some_and(|burned| burned.burns[0].amount == amount("50")));
    let euros =
        acme.credits_for(&customer.id, "EUR".parse().expect("a currency"), &input, Overage::Charge).await;
    assert_eq!(euros.expect("asked"), None, "nothing was given in euros");
    region.end().await;
}

#[tokio::test]
async fn credits_pay_for_the_time_in_which_they_held() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let customer = region.add_customer("acme", "big").await;
    let now = "2026-07-01T00:00:00Z";
    let ends_with_july = json!({"amount": "30", "effectiveAt": now, "expiresAt": "2026-08-01T00:00:00Z"});
    region.grant("acme", &customer.id, "july", now, ends_with_july).await;
    let august = json!({"amount": "40", "effectiveAt": "2026-08-01T00:00:00Z"});
    region.grant("acme", &customer.id, "august", now, august).await;
    // The sweep of the night comes before the invoice, and takes what is left of July.
    let swept =
        region.records.advance_ledgers(instant("2026-08-01T02:00:00Z"), None, 9).await.expect("swept");
    assert_eq!(swept.advanced.iter().map(|ledger| ledger.entries).sum::<usize>(), 2);
    assert_eq!(
        balances(&acme, &customer.id, "2026-08-01T02:00:00Z").await,
        ["august: 40 = 0 + 0 + 0 + 40", "july: 30 = 0 + 30 + 0 + 0"]
    );
    let subscription = region.subscribe_customer("acme", &customer).await;
    let issued = issue(&acme, &region.save_july(&subscription, 0).await).await.expect("issued");
    assert_eq!(
        issued.credits,
        amount("30"),
        "July's grant pays July, though it is August, and August's does not"
    );
    assert_eq!(
        balances(&acme, &customer.id, "2026-08-02T02:00:00Z").await,
        ["august: 40 = 0 + 0 + 0 + 40", "july: 30 = 30 + 0 + 0 + 0"]
    );
    region.end().await;
}

/// Each debt as "price: amount".
async fn debts(tenant: &TenantRecords, customer: &str, at: &str) -> Vec<String> {
    let currency = "USD".parse().expect("a currency");
    let standing = tenant.credit_standing(customer, currency, instant(at)).await.expect("asked");
    standing.debts.into_iter().map(|debt| format!("{}: {}", debt.price, debt.amount)).collect()
}

#[tokio::test]
async fn what_credits_do_not_cover_is_carried_until_they_come_and_a_void_gives_both_back() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.subscribe(1, &json!({"overage": "Carry"})).await.remove(0);
    let (acme, customer) = (region.tenant("acme"), subscription.customer_id.clone());
    let begin = "2026-07-01T00:00:00Z";
    region.grant("acme", &customer, "welcome", begin, json!({"amount": "50", "effectiveAt": begin})).await;
    let issued = region.issued(&subscription, 12_000).await;
    assert_eq!((issued.subtotal, issued.credits, issued.total), (amount("120"), amount("120"), Amount::ZERO));
    Computation::verify(&issued.computation).expect("it computes to the same bytes");
    let after = "2026-08-04T00:00:00Z";
    assert_eq!(balances(&acme, &customer, after).await, ["welcome: 50 = 50 + 0 + 0 + 0"]);
    assert_eq!(debts(&acme, &customer, after).await, ["base: 50", "calls: 20"]);

    let more = "2026-08-05T00:00:00Z";
    region.grant("acme", &customer, "more", more, json!({"amount": "100", "effectiveAt": more})).await;
    assert_eq!(debts(&acme, &customer, more).await, [] as [String; 0], "the next credits pay them first");
    assert_eq!(
        balances(&acme, &customer, more).await,
        ["more: 100 = 70 + 0 + 0 + 30", "welcome: 50 = 50 + 0 + 0 + 0"]
    );

    let voided = "2026-08-06T00:00:00Z";
    let change = InvoiceChange {
        step: InvoiceStep::Void { reason: "the plan was wrong".to_owned() },
        seen_version: None,
        at: instant(voided),
        seed: Uuid::now_v7(),
    };
    acme.change_invoice(&issued.id, &change, &by()).await.expect("void");
    assert_eq!(debts(&acme, &customer, voided).await, [] as [String; 0]);
    assert_eq!(
        balances(&acme, &customer, voided).await,
        ["more: 100 = 0 + 0 + 0 + 100", "welcome: 50 = 0 + 0 + 0 + 50"]
    );
    region.end().await;
}

#[tokio::test]
async fn a_draft_that_cannot_be_computed_again_spends_nothing() {
    let (region, customer) = region_with_a_grant("50").await;
    let acme = region.tenant("acme");
    let subscription = region.subscribe_customer("acme", &customer).await;
    let draft = region.save_july(&subscription, 12_000).await;
    let mut owner = region.raw_over_all().await;
    let mut set = async |change: &'static str| {
        sqlx::query(change).execute(&mut owner).await.expect("changed behind our back");
    };
    set("UPDATE invoices SET engine_version = engine_version - 1").await;
    let older = issue(&acme, &draft).await.expect_err("refused");
    assert!(
        matches!(older, InvoiceError::OtherEngine { draft } if draft == i64::from(ENGINE_VERSION) - 1),
        "{older}"
    );
    assert!(older.to_string().ends_with("close its period again"), "{older}");
    set("UPDATE invoices SET engine_version = engine_version + 1, computation = replace(computation, '12000', '12001')").await;
    let unproven = issue(&acme, &draft).await.expect_err("refused");
    assert!(matches!(unproven, InvoiceError::Unproven(RecomputeError::Differs { .. })), "{unproven}");
    assert_eq!(keys(&acme, &customer.id).await.len(), 1, "the grant alone");
    let after = acme.invoice(&draft.id).await.expect("asked").expect("there");
    assert_eq!((after.state, after.number), (InvoiceStatus::Draft, None));
    region.end().await;
}

#[tokio::test]
async fn a_customer_without_grants_is_billed_as_before() {
    let (region, _) = region_with_a_grant("50").await;
    let acme = region.tenant("acme");
    let other = region.add_customer("acme", "small").await;
    let subscription = region.subscribe_customer("acme", &other).await;
    let draft = region.save_july(&subscription, 12_000).await;
    let issued = issue(&acme, &draft).await.expect("issued");
    assert_eq!((&issued.computation, &issued.lines), (&draft.computation, &draft.lines));
    let mut owner = region.raw_over_all().await;
    let ledgers: i64 = sqlx::query_scalar("SELECT count(*) FROM ledgers WHERE customer_id = $1")
        .bind(&other.id)
        .fetch_one(&mut owner)
        .await
        .expect("asked");
    assert_eq!(ledgers, 0);
    region.end().await;
}

#[tokio::test]
async fn an_invoice_paid_whole_by_credits_is_issued_with_a_total_of_zero() {
    let (region, customer) = region_with_a_grant("500").await;
    let acme = region.tenant("acme");
    let subscription = region.subscribe_customer("acme", &customer).await;
    let issued = issue(&acme, &region.save_july(&subscription, 12_000).await).await.expect("issued");
    assert_eq!((issued.credits, issued.total), (amount("120"), Amount::ZERO));
    assert_eq!(
        balances(&acme, &customer.id, "2026-08-31T23:59:59Z").await,
        ["welcome: 500 = 120 + 0 + 0 + 380"]
    );
    assert_eq!(
        balances(&acme, &customer.id, "2026-09-01T00:00:00Z").await,
        ["welcome: 500 = 120 + 380 + 0 + 0"],
        "as of any instant, though no sweep was here"
    );
    let currency = "USD".parse().expect("a currency");
    let entries = acme.ledger_entries(&customer.id, currency, Some(1), 1).await.expect("asked");
    assert_eq!((entries.items.len(), entries.next), (1, None));
    assert!(
        matches!(&entries.items[0].kind, EntryKind::Burn { request, .. } if request.invoice == issued.id)
    );
    region.end().await;
}
