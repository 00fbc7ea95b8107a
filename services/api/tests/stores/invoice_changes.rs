//! What becomes of an issued invoice, as a tenant sees it: paid, void, issued again, credited.

use jiff::Timestamp;
use meridian_billing::{
    decimal::Quantity,
    invoice::{Computation, PriceUsage},
};
use meridian_records::{By, InvoiceDraft};
use reqwest::Method;
use serde_json::{Value, json};

use crate::region::{Answer, Region, answer, key_of};

/// What the worker does with July. Returns the path of the newest invoice.
async fn rate_july(region: &Region, subscription: &str, calls: u32) -> String {
    let records = region.tenant("acme");
    let july = "2026-07-01T00:00:00Z".parse().expect("an instant");
    let terms = records.period_terms(&subscription.parse().expect("an id"), Some(july)).await.expect("terms");
    let metered = terms.metered().expect("a plan");
    let used = |price| PriceUsage::total(price, Quantity::from_integer(calls.into()), calls.into(), 1);
    let input = terms.invoice_input(metered.iter().map(used).collect(), Timestamp::now()).expect("an input");
    let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
    let saved = records.save_invoice(&draft, &By::new("worker", "test")).await.expect("saved");
    format!("/v1/invoices/{}", saved.invoice.id)
}

async fn issue(region: &Region, invoice: &str) -> Value {
    region.post("acme", &format!("{invoice}/issue"), json!({})).await.expect(200)
}

/// A region with an issued invoice of July: 100 and 20.
async fn issued() -> (Region, String, String) {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let invoice = rate_july(&region, &subscription, 12_000).await;
    issue(&region, &invoice).await;
    (region, subscription, invoice)
}

async fn with_key(region: &Region, path: &str, key: &str, body: &Value) -> Answer {
    let request = region.rest_request(Method::POST, path).bearer_auth(key_of("acme"));
    answer(request.header("Idempotency-Key", key).json(body)).await
}

#[tokio::test]
async fn an_invoice_is_paid_once_and_by_the_version_that_was_seen() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let invoice = rate_july(&region, &subscription, 12_000).await;
    let pay = format!("{invoice}/pay");
    region.post("acme", &pay, json!({})).await.problem(409, "invoice_not_issued");
    let issued = issue(&region, &invoice).await;
    assert_eq!(
        (&issued["version"], &issued["revision"], &issued["reissued"], &issued["paid_at"]),
        (&json!(2), &json!(0), &json!(false), &json!(null))
    );
    assert_eq!(issued["part"], 0, "of the whole period");
    let stale = region.post("acme", &pay, json!({"version": 1})).await.problem(409, "invoice_changed");
    assert_eq!(stale["field"], "version");
    for reference in ["", " ", "a\u{0}", &"x".repeat(257)] {
        let refused = region.post("acme", &pay, json!({"reference": reference})).await;
        assert_eq!(refused.problem(422, "invalid")["field"], "reference");
    }

    let body = json!({"version": 2, "reference": "transfer 17"});
    let paid = with_key(&region, &pay, "k1", &body).await.expect(200);
    assert_eq!(
        (&paid["status"], &paid["version"], &paid["payment_reference"]),
        (&json!("paid"), &json!(3), &json!("transfer 17"))
    );
    assert!(paid["paid_at"].is_string());
    assert_eq!(region.get("acme", &invoice).await.expect(200), paid);
    // The invoice was paid, and the process died before it could note the answer.
    region.forget_answer("k1").await;
    assert_eq!(with_key(&region, &pay, "k1", &body).await.expect(200), paid);

    region.post("acme", &pay, json!({})).await.problem(409, "invoice_paid");
    let why = json!({"reason": "wrong"});
    region.post("acme", &format!("{invoice}/void"), why.clone()).await.problem(409, "invoice_paid");
    region.post("acme", &format!("{invoice}/reissue"), why).await.problem(409, "invoice_not_void");
    assert_eq!(issue(&region, &invoice).await, paid, "issuing it again changes nothing");
}

#[tokio::test]
async fn a_void_invoice_is_billed_again_by_a_run_of_its_period() {
    let (region, subscription, invoice) = issued().await;
    let (void, reissue) = (format!("{invoice}/void"), format!("{invoice}/reissue"));
    let why = json!({"reason": "the plan was wrong"});
    region.post("acme", &reissue, why.clone()).await.problem(409, "invoice_not_void");
    for path in [&void, &reissue] {
        region.post("acme", path, json!({})).await.problem(422, "malformed_body");
        for reason in ["", "  ", "a\u{7}", &"x".repeat(1025)] {
            let refused = region.post("acme", path, json!({"reason": reason})).await;
            assert_eq!(refused.problem(422, "invalid")["field"], "reason");
        }
    }
    let voided = region.post("acme", &void, why.clone()).await.expect(200);
    assert_eq!(
        (&voided["status"], &voided["number"], &voided["void_reason"]),
        (&json!("void"), &json!("INV-000001"), &json!("the plan was wrong"))
    );
    assert!(voided["voided_at"].is_string());
    region.post("acme", &void, why.clone()).await.problem(409, "invoice_void");
    region.post("acme", &format!("{invoice}/pay"), json!({})).await.problem(409, "invoice_void");
    region.post("acme", &format!("{invoice}/issue"), json!({})).await.problem(409, "invoice_void");

    let run = region.post("acme", &reissue, why.clone()).await.expect(202);
    assert_eq!(run["workflow_id"], format!("close/acme/{subscription}/1782864000000000"));
    assert_eq!(run["period"], json!({"start": "2026-07-01T00:00:00Z", "end": "2026-08-01T00:00:00Z"}));
    let reissued = region.get("acme", &invoice).await.expect(200);
    assert_eq!((&reissued["reissued"], &reissued["version"]), (&json!(true), &json!(4)));
    // Its replacement is not there: asking again is how a run that failed is started again.
    assert_eq!(region.post("acme", &reissue, why.clone()).await.expect(202), run);
    region.terminate(run["workflow_id"].as_str().expect("an id")).await;
    assert_eq!(region.post("acme", &reissue, why.clone()).await.expect(202), run);
    let path = run["billing_run"].as_str().expect("a path");
    assert_eq!(region.get("acme", path).await.expect(200)["status"], "running");
    assert_eq!(region.get("acme", &invoice).await.expect(200), reissued, "which changes nothing more");

    let second = rate_july(&region, &subscription, 13_000).await;
    assert_ne!(second, invoice);
    region.post("acme", &reissue, why).await.problem(409, "invoice_already_reissued");
    let issued = issue(&region, &second).await;
    assert_eq!(
        (&issued["number"], &issued["revision"], &issued["total"]),
        (&json!("INV-000002"), &json!(1), &json!("130.00"))
    );
    let shown = region.get("acme", path).await.expect(200);
    assert_eq!((&shown["invoice_id"], &shown["invoice_status"]), (&issued["id"], &json!("issued")));
    let list = region.get("acme", "/v1/invoices").await.expect(200);
    assert_eq!(list["data"], json!([reissued, issued]));
    region.terminate(run["workflow_id"].as_str().expect("an id")).await;
}

#[tokio::test]
async fn a_credit_note_gives_back_no_more_than_is_left() {
    let (region, _, invoice) = issued().await;
    let path = format!("{invoice}/credit-notes");
    let credit = |price: &str, amount: &str| json!({"reason": "an outage", "lines": [{"price": price, "amount": amount}]});
    assert_eq!(region.get("acme", &path).await.expect(200), json!({"data": [], "next_cursor": null}));
    for (body, status, code, field) in [
        (json!({"reason": "x", "lines": []}), 422, "invalid", "lines"),
        (json!({"reason": "", "lines": []}), 422, "invalid", "reason"),
        (credit("seats", "5.00"), 422, "invalid", "lines[0].price"),
        (credit("No Price", "5.00"), 422, "invalid", "lines[0].price"),
        (credit("calls", "five"), 422, "invalid", "lines[0].amount"),
        (credit("calls", "-5"), 422, "invalid", "lines[0].amount"),
        (credit("calls", "0.005"), 422, "invalid", "lines[0].amount"),
        (credit("calls", "20.01"), 409, "credit_too_much", "lines[0].amount"),
        (
            json!({"reason": "x", "lines": [{"price": "base", "amount": "1"}, {"price": "calls", "amount": "21"}]}),
            409,
            "credit_too_much",
            "lines[1].amount",
        ),
        (
            json!({"reason": "x", "lines": [{"plan": "other", "price": "calls", "amount": "1"}]}),
            422,
            "invalid",
            "lines[0].price",
        ),
    ] {
        let problem = region.post("acme", &path, body.clone()).await.problem(status, code);
        assert_eq!(problem["field"], field, "{body}");
    }
    region
        .post("acme", &path, json!({"reason": "x", "lines": [{"price": "calls", "amount": 5}]}))
        .await
        .problem(422, "malformed_body");

    let note = with_key(&region, &path, "k1", &credit("calls", "5.00")).await.expect(201);
    let line = json!({"plan": "starter", "price": "calls", "amount": "5.00", "taxes": []});
    assert_eq!(
        (&note["number"], &note["lines"], &note["total"], &note["reason"]),
        (&json!("CN-000001"), &json!([line]), &json!("5.00"), &json!("an outage"))
    );
    region.forget_answer("k1").await;
    assert_eq!(with_key(&region, &path, "k1", &credit("calls", "5.00")).await.expect(201), note);
    region.post("acme", &path, credit("calls", "15.01")).await.problem(409, "credit_too_much");
    let second = region.post("acme", &path, credit("calls", "15")).await.expect(201);
    assert_eq!(second["number"], "CN-000002");
    let page = region.get("acme", &format!("{path}?limit=1")).await.expect(200);
    assert_eq!(page["data"], json!([note]));
    let cursor = page["next_cursor"].as_str().expect("a second page");
    let page = region.get("acme", &format!("{path}?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!(page, json!({"data": [second], "next_cursor": null}));
    let void = region.post("acme", &format!("{invoice}/void"), json!({"reason": "all of it"})).await;
    void.problem(409, "invoice_credited");
}

#[tokio::test]
async fn a_draft_and_a_void_invoice_have_no_credit_notes() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let invoice = rate_july(&region, &subscription, 12_000).await;
    let path = format!("{invoice}/credit-notes");
    let credit = json!({"reason": "an outage", "lines": [{"price": "calls", "amount": "5.00"}]});
    region.post("acme", &path, credit.clone()).await.problem(409, "invoice_not_issued");
    issue(&region, &invoice).await;
    region.post("acme", &format!("{invoice}/void"), json!({"reason": "wrong"})).await.expect(200);
    region.post("acme", &path, credit).await.problem(409, "invoice_void");
}
