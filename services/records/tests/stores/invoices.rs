//! One invoice for a period, numbers without gaps, and nothing changes after issue.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meridian_billing::{decimal::Amount, invoice::Computation, invoice_state::InvoiceStatus};
use meridian_records::{InvoiceError, Page, SaveOutcome};
use serde_json::json;
use sqlx::PgConnection;

use crate::region::{Region, by, draft};

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

#[tokio::test]
async fn the_sample_is_120_00_and_recomputes_to_the_byte() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let terms = region.terms(&subscription, None).await;
    assert_eq!(terms.period.start, instant("2026-07-01T00:00:00Z"));
    assert_eq!(terms.period.end, instant("2026-08-01T00:00:00Z"));
    let saved = region
        .tenant("acme")
        .save_invoice(&draft(&terms, 12_000, "2026-08-02T00:00:00Z"), &by())
        .await
        .expect("saved");
    let invoice = region.tenant("acme").invoice(&saved.invoice.id).await.expect("asked").expect("there");
    assert_eq!(invoice.currency.format(invoice.total), "120.00");
    assert_eq!(invoice.lines.iter().map(|line| line.amount.to_string()).collect::<Vec<_>>(), ["100", "20"]);
    assert_eq!(invoice.lines[1].meter.as_ref().map(|meter| meter.name.as_str()), Some("api-calls"));
    Computation::verify(&invoice.computation).expect("what Postgres gave back computes to the same bytes");
    region.end().await;
}

#[tokio::test]
async fn parallel_saves_of_one_period_make_one_invoice() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let draft = draft(&region.terms(&subscription, None).await, 12_000, "2026-08-02T00:00:00Z");
    let saves = (0..16).map(|_| {
        let (tenant, draft) = (region.tenant("acme"), draft.clone());
        tokio::spawn(async move { tenant.save_invoice(&draft, &by()).await.expect("saved") })
    });
    let saved = futures::future::join_all(saves).await;
    let saved: Vec<_> = saved.into_iter().map(|task| task.expect("no panic")).collect();
    let ids: BTreeSet<_> = saved.iter().map(|saved| saved.invoice.id.clone()).collect();
    assert_eq!(ids.len(), 1);
    let created = saved.iter().filter(|saved| saved.outcome == SaveOutcome::Created).count();
    let kept = saved.iter().filter(|saved| saved.outcome == SaveOutcome::Kept).count();
    assert_eq!((created, kept), (1, 15));
    assert!(saved.iter().all(|saved| saved.invoice.lines.len() == 2), "nobody sees half an invoice");
    region.end().await;
}

#[tokio::test]
async fn a_draft_gives_way_to_a_later_cutoff_and_never_to_an_earlier_one() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let terms = region.terms(&subscription, None).await;
    let acme = region.tenant("acme");
    let first =
        acme.save_invoice(&draft(&terms, 11_000, "2026-08-02T00:00:00Z"), &by()).await.expect("saved");
    let later =
        acme.save_invoice(&draft(&terms, 12_000, "2026-08-03T00:00:00Z"), &by()).await.expect("saved");
    assert_eq!((later.outcome, &later.invoice.id), (SaveOutcome::Refreshed, &first.invoice.id));
    assert_eq!(later.invoice.total.to_string(), "120");
    let earlier = acme.save_invoice(&draft(&terms, 5, "2026-08-02T12:00:00Z"), &by()).await.expect("saved");
    assert_eq!((earlier.outcome, earlier.invoice), (SaveOutcome::Kept, later.invoice.clone()));
    acme.issue_invoice(&later.invoice.id, instant("2026-08-04T00:00:00Z"), &by()).await.expect("issued");
    let after_issue =
        acme.save_invoice(&draft(&terms, 99_000, "2026-09-03T00:00:00Z"), &by()).await.expect("saved");
    assert_eq!(after_issue.outcome, SaveOutcome::Kept);
    assert_eq!(after_issue.invoice.total.to_string(), "120");
    region.end().await;
}

#[tokio::test]
async fn an_issued_invoice_and_its_lines_refuse_every_change() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let saved = acme
        .save_invoice(&draft(&region.terms(&subscription, None).await, 12_000, "2026-08-02T00:00:00Z"), &by())
        .await
        .expect("saved");
    let issued =
        acme.issue_invoice(&saved.invoice.id, instant("2026-08-02T01:00:00Z"), &by()).await.expect("issued");
    assert_eq!(issued.state, InvoiceStatus::Issued);
    // As the owner of the tables, with every row in sight: only the triggers are left to refuse.
    let mut owner = region.raw_over_all().await;
    let attempts = [
        "UPDATE invoices SET total = 1, subtotal = 1",
        "UPDATE invoices SET state = 'draft', number = NULL, sequence = NULL, issued_at = NULL",
        "UPDATE invoices SET computation = ''",
        "DELETE FROM invoices",
        "UPDATE invoice_line_items SET amount = 1",
        "DELETE FROM invoice_line_items",
        "INSERT INTO invoice_line_items (line_id, invoice_id, tenant, position, price, quantity, amount, period_start, period_end)
         SELECT 'line_x', invoice_id, tenant, 9, 'extra', 1, 1, period_start, period_end FROM invoices",
        "TRUNCATE invoice_line_items",
        "TRUNCATE invoices CASCADE",
        "DELETE FROM audit_logs",
        "UPDATE audit_logs SET actor = 'somebody else'",
        "TRUNCATE audit_logs",
        "UPDATE plan_versions SET spec = '{}'",
        "DELETE FROM plan_metrics",
    ];
    for attempt in attempts {
        let error = sqlx::query(attempt).execute(&mut owner).await.expect_err(attempt);
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        assert_eq!(code, "MR001", "{attempt}: {error}");
    }
    let again =
        acme.issue_invoice(&saved.invoice.id, instant("2026-10-01T00:00:00Z"), &by()).await.expect("issued");
    assert_eq!(again, issued, "issuing again changes nothing");
    region.end().await;
}

/// What a statement of somebody with psql is refused for.
async fn refused(connection: &mut PgConnection, statement: &str) -> String {
    let statement = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()));
    let error = statement.execute(connection).await.expect_err("refused");
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

/// A line for each invoice under this condition.
fn lines_where(condition: &str) -> String {
    format!(
        "INSERT INTO invoice_line_items (line_id, invoice_id, tenant, position, price, quantity, amount, period_start, period_end)
         SELECT 'line_' || invoice_id, invoice_id, tenant, 9, 'extra', 1, 0, period_start, period_end FROM invoices WHERE {condition}"
    )
}

#[tokio::test]
async fn lines_are_those_of_drafts_of_their_tenant_and_of_meters_that_are_there() {
    const NO_SUCH_ROW: &str = "23503";
    let region = Region::start().await.with_catalogue().await;
    for (tenant, digit) in [("acme", 'a'), ("globex", 'b')] {
        let subscription = region.add_tenant(tenant, digit).await;
        let draft = draft(&region.terms(&subscription, None).await, 12_000, "2026-08-02T00:00:00Z");
        let saved = region.tenant(tenant).save_invoice(&draft, &by()).await.expect("saved").invoice;
        if tenant == "globex" {
            let at = instant("2026-08-02T01:00:00Z");
            region.tenant(tenant).issue_invoice(&saved.id, at, &by()).await.expect("issued");
        }
    }
    let mut owner = region.raw_over_all().await;
    // One of them is issued: the draft's line is refused with it.
    assert_eq!(refused(&mut owner, &lines_where("true")).await, "MR001");
    let of_another_tenant =
        lines_where("tenant = 'acme'").replace("invoice_id, tenant, 9", "invoice_id, 'globex', 9");
    assert_eq!(refused(&mut owner, &of_another_tenant).await, "MR001");
    let of_no_invoice =
        lines_where("tenant = 'acme'").replace("|| invoice_id, invoice_id,", "|| invoice_id, 'inv_none',");
    assert_eq!(refused(&mut owner, &of_no_invoice).await, "MR001");
    let of_no_meter = "UPDATE invoice_line_items SET metric_id = 'mtr_none' WHERE tenant = 'acme'";
    assert_eq!(refused(&mut owner, of_no_meter).await, "MR001");
    let of_no_meter = lines_where("tenant = 'acme'")
        .replace("position, price", "position, metric_id, price")
        .replace("9, 'extra'", "9, 'mtr_none', 'extra'");
    assert_eq!(refused(&mut owner, &of_no_meter).await, NO_SUCH_ROW);
    // Nothing leaves lines without their invoice.
    assert_eq!(refused(&mut owner, "DELETE FROM invoices WHERE tenant = 'acme'").await, NO_SUCH_ROW);
    assert_eq!(
        refused(&mut owner, "UPDATE invoices SET invoice_id = 'inv_x' WHERE tenant = 'acme'").await,
        "MR001"
    );
    // A total that the lines do not add up to is not issued, whoever says so.
    sqlx::query(sqlx::AssertSqlSafe(lines_where("tenant = 'acme'").replace("1, 0,", "1, 1,")))
        .execute(&mut owner)
        .await
        .expect("a line of a draft");
    let issue = "UPDATE invoices SET state = 'issued', number = 'X', sequence = 99, issued_at = now() WHERE tenant = 'acme'";
    assert_eq!(refused(&mut owner, issue).await, "MR002");
    region.end().await;
}

#[tokio::test]
async fn a_line_that_comes_while_its_invoice_is_issued_is_refused() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let draft = draft(&region.terms(&subscription, None).await, 12_000, "2026-08-02T00:00:00Z");
    region.tenant("acme").save_invoice(&draft, &by()).await.expect("saved");
    let mut issuing = region.raw_over_all().await;
    let issue = "UPDATE invoices SET state = 'issued', number = 'X', sequence = 99, issued_at = now()";
    for statement in ["BEGIN", issue] {
        sqlx::query(statement).execute(&mut issuing).await.expect("not committed yet");
    }
    let mut adding = region.raw_over_all().await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut adding).await.expect("a pid");
    let added = tokio::spawn(async move { refused(&mut adding, &lines_where("true")).await });
    let waits = "SELECT cardinality(pg_blocking_pids($1)) > 0";
    let mut watching = region.raw().await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !sqlx::query_scalar::<_, bool>(waits).bind(pid).fetch_one(&mut watching).await.expect("asked") {
        assert!(!added.is_finished(), "it did not wait for who issues");
        assert!(std::time::Instant::now() < deadline, "it never came to the invoice");
    }
    sqlx::query("COMMIT").execute(&mut issuing).await.expect("issued");
    assert_eq!(added.await.expect("no panic"), "MR001");
    region.end().await;
}

#[tokio::test]
async fn numbers_have_no_gap_when_many_issue_at_once_and_some_fail() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(24, &json!({})).await;
    let acme = region.tenant("acme");
    let mut ids = Vec::new();
    for subscription in &subscriptions {
        let draft = draft(&region.terms(subscription, None).await, 12_000, "2026-08-02T00:00:00Z");
        ids.push(acme.save_invoice(&draft, &by()).await.expect("saved").invoice.id);
    }
    // Every fourth invoice is broken behind our back: its issue takes a number, fails at the last check, and gives it back.
    let mut owner = region.raw_over_all().await;
    for id in ids.iter().step_by(4) {
        sqlx::query(
            "UPDATE invoice_line_items SET amount = amount + 1 WHERE invoice_id = $1 AND position = 0",
        )
        .bind(id.as_str())
        .execute(&mut owner)
        .await
        .expect("broken");
    }
    let issues = ids.iter().map(|id| {
        let (tenant, id) = (region.tenant("acme"), id.clone());
        tokio::spawn(async move { tenant.issue_invoice(&id, instant("2026-08-02T01:00:00Z"), &by()).await })
    });
    let results: Vec<_> =
        futures::future::join_all(issues).await.into_iter().map(|task| task.expect("no panic")).collect();
    let mut numbers: Vec<String> = results
        .iter()
        .filter_map(|result| result.as_ref().ok())
        .map(|invoice| invoice.number.clone().expect("a number"))
        .collect();
    numbers.sort();
    assert_eq!(numbers, (1..=18).map(|number| format!("INV-{number:06}")).collect::<Vec<_>>());
    let corrupt = results.iter().filter(|result| matches!(result, Err(InvoiceError::Corrupt(_)))).count();
    assert_eq!(corrupt, 6, "{results:?}");
    region.end().await;
}

#[tokio::test]
async fn lines_that_do_not_add_up_are_refused_before_anything_is_saved() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let mut draft = draft(&region.terms(&subscription, None).await, 12_000, "2026-08-02T00:00:00Z");
    draft.lines[0].amount = "99.99".parse::<Amount>().expect("an amount");
    let error = region.tenant("acme").save_invoice(&draft, &by()).await.expect_err("refused");
    assert_eq!(error.to_string(), "the lines add up to 119.99, the total says 120");
    assert_eq!(region.tenant("acme").invoices(None, &Page::first(5)).await.expect("list").items, []);
    region.end().await;
}

#[tokio::test]
async fn every_step_of_an_invoice_is_in_the_audit_log_with_who_and_why() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let terms = region.terms(&subscription, None).await;
    let saved = acme.save_invoice(&draft(&terms, 1, "2026-08-02T00:00:00Z"), &by()).await.expect("saved");
    acme.save_invoice(&draft(&terms, 2, "2026-08-03T00:00:00Z"), &by()).await.expect("saved");
    acme.issue_invoice(&saved.invoice.id, instant("2026-08-04T00:00:00Z"), &by()).await.expect("issued");
    let log = acme.audit_log(&Page::first(100)).await.expect("log").items;
    let of_invoice: Vec<_> = log.iter().filter(|entry| entry.entity == saved.invoice.id.as_str()).collect();
    assert_eq!(
        of_invoice.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(),
        ["invoice.create", "invoice.refresh", "invoice.issue"]
    );
    assert!(
        of_invoice.iter().all(|entry| entry.actor == "test" && entry.reason == "because the test says so")
    );
    region.end().await;
}
