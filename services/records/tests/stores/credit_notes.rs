//! Credit notes: never more than was asked for, taxes to the cent, numbers without gaps, and nothing changes afterwards.

use meridian_billing::{credit_note, decimal::Amount, invoice_state::Refusal};
use meridian_records::{
    CreditNote, CreditNoteError, Invoice, InvoiceChange, InvoiceStep, Page, PriceCredit, TenantRecords,
};
use serde_json::json;
use uuid::Uuid;

use crate::region::{Region, by, draft};

fn amount(text: &str) -> Amount {
    text.parse().expect("an amount")
}

fn credit(price: &str, of: &str) -> PriceCredit {
    PriceCredit { plan: None, price: price.parse().expect("a name"), amount: amount(of) }
}

async fn write(
    acme: &TenantRecords,
    invoice: &Invoice,
    requests: &[PriceCredit],
) -> Result<CreditNote, CreditNoteError> {
    acme.create_credit_note(&invoice.id, requests, "an outage", Uuid::now_v7(), &by()).await
}

async fn change(acme: &TenantRecords, invoice: &Invoice, step: InvoiceStep) -> Invoice {
    let change = InvoiceChange { step, seen_version: None, at: invoice.created_at, seed: Uuid::now_v7() };
    acme.change_invoice(&invoice.id, &change, &by()).await.expect("changed")
}

#[tokio::test]
async fn partial_notes_give_back_each_line_and_its_taxes_to_the_cent_and_then_nothing() {
    let region = Region::start().await.with_catalogue().await;
    // (100 + 23.45) less 20 %, and 19 % on top: 80 and 18.76, and 18.76 of tax.
    let terms = json!({
        "coupons": [{"name": "launch", "percent": "20", "duration": "Forever"}],
        "taxRates": [{"name": "vat", "percent": "19"}],
    });
    let subscription = region.subscribe(1, &terms).await.remove(0);
    let acme = region.tenant("acme");
    let invoice = region.issued(&subscription, 12_345).await;
    assert_eq!((invoice.tax, invoice.total), (amount("18.76"), amount("117.52")));
    let mut totals = Vec::new();
    for (number, (price, of)) in [
        ("calls", "6.25"),
        ("base", "26.67"),
        ("calls", "6.25"),
        ("base", "26.67"),
        ("calls", "6.26"),
        ("base", "26.66"),
    ]
    .into_iter()
    .enumerate()
    {
        let note = write(&acme, &invoice, &[credit(price, of)]).await.expect("written");
        assert_eq!(note.number, format!("CN-{:06}", number + 1));
        assert_eq!((note.amount, note.lines[0].plan.as_str()), (amount(of), "starter"));
        let tax = note.taxes[0].amount;
        assert_eq!(note.amount.checked_add(tax), Ok(note.total));
        totals.push(note.total);
    }
    assert_eq!(Amount::checked_sum(totals), Ok(invoice.total), "all of it went back, to the cent");
    for price in ["base", "calls"] {
        let error = write(&acme, &invoice, &[credit(price, "0.01")]).await.expect_err("refused");
        assert_eq!(error.to_string(), "line 0: 0.01 is more than the 0 that are left of it");
    }
    let listed = acme.credit_notes(&invoice.id, &Page::first(4)).await.expect("asked").expect("there");
    let next = Page { after: listed.next.clone(), limit: 4 };
    let rest = acme.credit_notes(&invoice.id, &next).await.expect("asked").expect("there");
    let numbers: Vec<_> = listed.items.iter().chain(&rest.items).map(|note| note.number.as_str()).collect();
    assert_eq!(numbers, (1..=6).map(|number| format!("CN-{number:06}")).collect::<Vec<_>>());
    assert_eq!(rest.next, None);
    region.end().await;
}

#[tokio::test]
async fn of_two_notes_at_once_over_a_whole_line_one_is_written() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(10, &json!({})).await;
    let acme = region.tenant("acme");
    for subscription in &subscriptions {
        let invoice = region.issued(subscription, 12_000).await;
        let tasks = [(); 2].map(|()| {
            let (acme, invoice) = (acme.clone(), invoice.clone());
            tokio::spawn(async move { write(&acme, &invoice, &[credit("calls", "20")]).await })
        });
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.expect("no panic"));
        }
        let written = results.iter().filter(|result| result.is_ok()).count();
        let refused = results.iter().filter(|result| {
            matches!(result, Err(CreditNoteError::Rule(credit_note::CreditNoteError::TooMuch { line: 0, amount: _, left })) if left.is_zero())
        });
        assert_eq!((written, refused.count()), (1, 1), "{results:?}");
        let notes = acme.credit_notes(&invoice.id, &Page::first(9)).await.expect("asked").expect("there");
        assert_eq!(notes.items.len(), 1);
    }
    region.end().await;
}

#[tokio::test]
async fn the_same_seed_again_finds_the_first_note() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let invoice = region.issued(&subscription, 12_000).await;
    let seed = Uuid::now_v7();
    let requests = [credit("calls", "20"), credit("base", "7")];
    let first =
        acme.create_credit_note(&invoice.id, &requests, "an outage", seed, &by()).await.expect("written");
    assert_eq!((first.total, first.reason.as_str()), (amount("27"), "an outage"));
    let again =
        acme.create_credit_note(&invoice.id, &requests, "an outage", seed, &by()).await.expect("found");
    assert_eq!(again, first);
    let second = write(&acme, &invoice, &[credit("base", "1")]).await.expect("written");
    assert_eq!(second.number, "CN-000002", "the repeated request took no number");
    let log = acme.audit_log(&Page::first(100)).await.expect("log").items;
    let written: Vec<_> = log.iter().filter(|entry| entry.action == "credit_note.create").collect();
    assert_eq!(written.len(), 2);
    let expected =
        json!({"invoice": invoice.id, "number": "CN-000001", "total": "27", "reason": "an outage"});
    assert_eq!((&written[0].entity, &written[0].detail), (&first.id, &expected));
    region.end().await;
}

#[tokio::test]
async fn what_cannot_be_credited_is_refused_and_takes_no_number() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(3, &json!({})).await;
    let acme = region.tenant("acme");
    let terms = region.terms(&subscriptions[0], None).await;
    let draft = draft(&terms, 12_000, "2026-08-02T00:00:00Z");
    let draft = acme.save_invoice(&draft, &by()).await.expect("saved").invoice;
    let refused = write(&acme, &draft, &[credit("base", "1")]).await;
    assert!(matches!(refused, Err(CreditNoteError::Refused(Refusal::NotIssued))), "{refused:?}");
    let void = region.issued(&subscriptions[1], 12_000).await;
    change(&acme, &void, InvoiceStep::Void { reason: "wrong".to_owned() }).await;
    let refused = write(&acme, &void, &[credit("base", "1")]).await;
    assert!(matches!(refused, Err(CreditNoteError::Refused(Refusal::Void))), "{refused:?}");

    let paid = region.issued(&subscriptions[2], 12_000).await;
    change(&acme, &paid, InvoiceStep::Pay { reference: None }).await;
    let of_plan =
        |plan: &str| PriceCredit { plan: Some(plan.parse().expect("a name")), ..credit("calls", "1") };
    for (requests, expected) in [
        (vec![], "the note names no line"),
        (
            vec![credit("base", "1"), credit("seats", "1")],
            "line 1: the invoice charges nothing for price seats",
        ),
        (vec![of_plan("other")], "line 0: the invoice charges nothing for price calls"),
        (
            vec![credit("calls", "1"), credit("base", "0")],
            "line 1: 0 is no amount to give back: it must be more than 0",
        ),
        (vec![credit("calls", "0.001")], "line 0: 0.001 has parts of minor units"),
        (vec![credit("base", "1"), credit("base", "1")], "line 1 is named twice"),
        (
            vec![credit("base", "1"), credit("calls", "20.01")],
            "line 1: 20.01 is more than the 20 that are left of it",
        ),
    ] {
        let error = write(&acme, &paid, &requests).await.expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
    let note = write(&acme, &paid, &[of_plan("starter")]).await.expect("a paid invoice has notes");
    assert_eq!(note.number, "CN-000001");
    region.end().await;
}

#[tokio::test]
async fn nobody_with_psql_changes_a_credit_note() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let invoice = region.issued(&subscription, 12_000).await;
    let note = write(&acme, &invoice, &[credit("calls", "5")]).await.expect("written");
    let mut owner = region.raw_over_all().await;
    for attempt in [
        "UPDATE credit_notes SET total = 1",
        "UPDATE credit_notes SET note = '{}'",
        "UPDATE credit_notes SET reason = 'another'",
        "DELETE FROM credit_notes",
        "TRUNCATE credit_notes",
        "TRUNCATE invoices CASCADE",
    ] {
        let error = sqlx::query(attempt).execute(&mut owner).await.expect_err(attempt);
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        assert_eq!(code, "MR001", "{attempt}: {error}");
    }
    let found = acme.credit_notes(&invoice.id, &Page::first(9)).await.expect("asked").expect("there");
    assert_eq!(found.items, [note]);
    region.end().await;
}
