//! An issued invoice is paid or void, once; a void one is issued again, once; nothing else about it ever changes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meridian_billing::invoice_state::{InvoiceStatus, Refusal};
use meridian_records::{
    Invoice, InvoiceChange, InvoiceError, InvoiceStep, Page, PriceCredit, SaveOutcome, TenantRecords,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::region::{Region, by, draft};

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn pay() -> InvoiceStep {
    InvoiceStep::Pay { reference: Some("transfer 17".to_owned()) }
}

fn void() -> InvoiceStep {
    InvoiceStep::Void { reason: "the plan was wrong".to_owned() }
}

fn reissue() -> InvoiceStep {
    InvoiceStep::Reissue { reason: "with the right plan".to_owned() }
}

fn change(step: InvoiceStep, seen_version: Option<u64>) -> InvoiceChange {
    InvoiceChange { step, seen_version, at: instant("2026-08-09T10:11:12Z"), seed: Uuid::now_v7() }
}

async fn step(acme: &TenantRecords, invoice: &Invoice, step: InvoiceStep) -> Invoice {
    acme.change_invoice(&invoice.id, &change(step, Some(invoice.version)), &by()).await.expect("changed")
}

fn refusal(result: Result<Invoice, InvoiceError>) -> Refusal {
    match result {
        Err(InvoiceError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn every_change_is_made_from_one_state_and_refused_from_the_others() {
    let region = Region::start().await.with_catalogue().await;
    let mut subscriptions = region.subscribe(16, &json!({})).await.into_iter();
    let acme = region.tenant("acme");
    let table: [(&str, &[InvoiceStep], [&str; 3]); 4] = [
        ("issued", &[], ["paid 3", "void 3", "NotVoid"]),
        ("paid", &[pay()], ["Paid", "Paid", "NotVoid"]),
        ("void", &[void()], ["Void", "Void", "void 4 reissued"]),
        ("reissued", &[void(), reissue()], ["Void", "Void", "AlreadyReissued"]),
    ];
    for (name, before, expected) in table {
        for (wanted, expected) in [pay(), void(), reissue()].into_iter().zip(expected) {
            let mut invoice = region.issued(&subscriptions.next().expect("one"), 12_000).await;
            for done in before {
                invoice = step(&acme, &invoice, done.clone()).await;
            }
            let result = acme.change_invoice(&invoice.id, &change(wanted.clone(), None), &by()).await;
            let found = acme.invoice(&invoice.id).await.expect("asked").expect("there");
            let shown = match result {
                Ok(changed) => {
                    assert_eq!(changed, found);
                    let reissued = if changed.reissued { " reissued" } else { "" };
                    format!("{} {}{reissued}", changed.state.as_str(), changed.version)
                }
                refused => {
                    assert_eq!(invoice, found, "a refused change changes nothing");
                    format!("{:?}", refusal(refused))
                }
            };
            assert_eq!(shown, expected, "{name} {wanted:?}");
        }
    }
    let terms = region.terms(&subscriptions.next().expect("one"), None).await;
    let draft =
        acme.save_invoice(&draft(&terms, 1, "2026-08-02T00:00:00Z"), &by()).await.expect("saved").invoice;
    for (wanted, expected) in
        [(pay(), Refusal::NotIssued), (void(), Refusal::NotIssued), (reissue(), Refusal::NotVoid)]
    {
        let result = acme.change_invoice(&draft.id, &change(wanted.clone(), None), &by()).await;
        assert_eq!(refusal(result), expected, "draft {wanted:?}");
    }
    region.end().await;
}

#[tokio::test]
async fn a_change_keeps_what_the_invoice_says_and_tells_when_and_why() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(2, &json!({})).await;
    let acme = region.tenant("acme");
    let issued = region.issued(&subscriptions[0], 12_000).await;
    let stale = acme.change_invoice(&issued.id, &change(pay(), Some(1)), &by()).await;
    assert_eq!(refusal(stale), Refusal::Stale { version: 2, seen: 1 });
    let paid = step(&acme, &issued, pay()).await;
    let expected = Invoice {
        state: InvoiceStatus::Paid,
        version: 3,
        paid_at: Some(instant("2026-08-09T10:11:12Z")),
        payment_reference: Some("transfer 17".to_owned()),
        ..issued.clone()
    };
    assert_eq!(paid, expected);
    let again =
        acme.issue_invoice(&issued.id, instant("2026-10-01T00:00:00Z"), &by()).await.expect("as it is");
    assert_eq!(again, paid, "issuing a paid invoice returns it");

    let issued = region.issued(&subscriptions[1], 12_000).await;
    let voided = step(&acme, &issued, void()).await;
    let expected = Invoice {
        state: InvoiceStatus::Void,
        version: 3,
        voided_at: Some(instant("2026-08-09T10:11:12Z")),
        void_reason: Some("the plan was wrong".to_owned()),
        ..issued.clone()
    };
    assert_eq!(voided, expected);
    let again = acme.issue_invoice(&issued.id, instant("2026-10-01T00:00:00Z"), &by()).await;
    assert_eq!(refusal(again), Refusal::Void);
    let reissued = step(&acme, &voided, reissue()).await;
    assert_eq!(reissued, Invoice { version: 4, reissued: true, ..voided });

    let log = acme.audit_log(&Page::first(100)).await.expect("log").items;
    let of_invoice: Vec<_> = log.iter().filter(|entry| entry.entity == issued.id.as_str()).collect();
    let actions: Vec<_> = of_invoice.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["invoice.create", "invoice.issue", "invoice.void", "invoice.reissue"]);
    assert_eq!(of_invoice[3].detail, json!({"version": 4, "reason": "with the right plan"}));
    region.end().await;
}

#[tokio::test]
async fn a_draft_is_not_issued_before_its_period_is_over() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let terms = region.terms(&subscription, None).await;
    let saved = acme.save_invoice(&draft(&terms, 1, "2026-07-20T00:00:00Z"), &by()).await.expect("saved");
    let early = acme.issue_invoice(&saved.invoice.id, instant("2026-07-31T23:59:59Z"), &by()).await;
    let grace_until = instant("2026-08-01T00:00:00Z");
    assert_eq!(refusal(early), Refusal::InGraceWindow { grace_until });
    region.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_payment_and_a_void_that_race_exactly_one_wins() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(50, &json!({})).await;
    let acme = region.tenant("acme");
    let mut payments = 0;
    for (round, subscription) in subscriptions.iter().enumerate() {
        let issued = region.issued(subscription, 12_000).await;
        // Every other round both say which version they saw.
        let seen = (round % 2 == 0).then_some(issued.version);
        let start = std::sync::Arc::new(tokio::sync::Barrier::new(2));
        let mut steps = [pay(), void()];
        steps.rotate_left(round / 2 % 2);
        let tasks = steps.map(|wanted| {
            let (acme, id, start) = (acme.clone(), issued.id.clone(), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                (wanted.clone(), acme.change_invoice(&id, &change(wanted, seen), &by()).await)
            })
        });
        let (mut won, mut lost) = (Vec::new(), Vec::new());
        for task in tasks {
            match task.await.expect("no panic") {
                (wanted, Ok(invoice)) => won.push((wanted, invoice)),
                (_, refused) => lost.push(refusal(refused)),
            }
        }
        assert_eq!((won.len(), lost.len()), (1, 1), "round {round}: {won:?} {lost:?}");
        let (state, action, informed) = match won[0].0 {
            InvoiceStep::Pay { .. } => (InvoiceStatus::Paid, "invoice.pay", Refusal::Paid),
            InvoiceStep::Void { .. } => (InvoiceStatus::Void, "invoice.void", Refusal::Void),
            InvoiceStep::Reissue { .. } => panic!("nobody asked for it"),
        };
        payments += usize::from(state == InvoiceStatus::Paid);
        let expected = seen.map_or(informed, |seen| Refusal::Stale { version: 3, seen });
        assert_eq!(lost[0], expected, "round {round}");
        let found = acme.invoice(&issued.id).await.expect("asked").expect("there");
        assert_eq!((found.state, found.version), (state, 3), "round {round}");
        assert_eq!(
            (found.paid_at.is_some(), found.voided_at.is_some()),
            (state == InvoiceStatus::Paid, state == InvoiceStatus::Void)
        );
        let log = acme.audit_log(&Page::first(1000)).await.expect("log").items;
        let changes: Vec<_> = log
            .iter()
            .filter(|entry| entry.entity == issued.id.as_str() && entry.detail["version"] == 3)
            .map(|entry| entry.action.as_str())
            .collect();
        assert_eq!(changes, [action], "round {round}");
    }
    println!("{payments} payments and {} voids won", subscriptions.len() - payments);
    region.end().await;
}

#[tokio::test]
async fn a_request_that_is_tried_again_finds_its_change_made() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let issued = region.issued(&subscription, 12_000).await;
    let first = change(pay(), Some(issued.version));
    let paid = acme.change_invoice(&issued.id, &first, &by()).await.expect("paid");
    assert_eq!(acme.change_invoice(&issued.id, &first, &by()).await.expect("found"), paid);
    let other = InvoiceChange { seed: Uuid::now_v7(), seen_version: None, ..first };
    assert_eq!(refusal(acme.change_invoice(&issued.id, &other, &by()).await), Refusal::Paid);
    region.end().await;
}

#[tokio::test]
async fn a_void_invoice_that_is_issued_again_is_computed_as_the_next_revision() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let terms = region.terms(&subscription, None).await;
    let first = region.issued(&subscription, 12_000).await;
    let next_period = acme.subscription(&subscription.id).await.expect("asked").expect("there").next_period;
    let voided = step(&acme, &first, void()).await;
    let kept = acme.save_invoice(&draft(&terms, 13_000, "2026-08-05T00:00:00Z"), &by()).await.expect("saved");
    assert_eq!((kept.outcome, &kept.invoice), (SaveOutcome::Kept, &voided), "nobody issued it again");
    let reissued = step(&acme, &voided, reissue()).await;
    let terms = region.terms(&subscription, Some("2026-07-01T00:00:00Z")).await;

    let second_draft = draft(&terms, 13_000, "2026-08-05T00:00:00Z");
    let saves = (0..16).map(|_| {
        let (acme, draft) = (acme.clone(), second_draft.clone());
        tokio::spawn(async move { acme.save_invoice(&draft, &by()).await.expect("saved") })
    });
    let saved: Vec<_> =
        futures::future::join_all(saves).await.into_iter().map(|task| task.expect("no panic")).collect();
    let ids: BTreeSet<_> = saved.iter().map(|saved| saved.invoice.id.clone()).collect();
    let created = saved.iter().filter(|saved| saved.outcome == SaveOutcome::Created).count();
    assert_eq!((ids.len(), created), (1, 1), "many at once make one draft");
    let second = &saved[0].invoice;
    assert_eq!((second.revision, second.state, second.version), (1, InvoiceStatus::Draft, 1));
    assert_eq!(second.number, None);

    let second =
        acme.issue_invoice(&second.id, instant("2026-08-06T00:00:00Z"), &by()).await.expect("issued");
    assert_eq!((second.number.as_deref(), second.total.to_string().as_str()), (Some("INV-000002"), "130"));
    let old = acme.invoice(&first.id).await.expect("asked").expect("there");
    assert_eq!(
        (old.number.as_deref(), &old),
        (Some("INV-000001"), &reissued),
        "the old one keeps its number"
    );
    let newest = acme.invoice_of_period(&subscription.id, terms.period.start).await.expect("asked");
    assert_eq!(newest.as_ref(), Some(&second));
    let later =
        acme.save_invoice(&draft(&terms, 14_000, "2026-08-07T00:00:00Z"), &by()).await.expect("saved");
    assert_eq!((later.outcome, &later.invoice), (SaveOutcome::Kept, &second));

    let second_void = step(&acme, &second, void()).await;
    step(&acme, &second_void, reissue()).await;
    let terms = region.terms(&subscription, Some("2026-07-01T00:00:00Z")).await;
    let third =
        acme.save_invoice(&draft(&terms, 15_000, "2026-08-08T00:00:00Z"), &by()).await.expect("saved");
    let third =
        acme.issue_invoice(&third.invoice.id, instant("2026-08-09T00:00:00Z"), &by()).await.expect("issued");
    assert_eq!((third.revision, third.number.as_deref()), (2, Some("INV-000003")), "no gap and no reuse");
    let now = acme.subscription(&subscription.id).await.expect("asked").expect("there").next_period;
    assert_eq!(now, next_period, "billing goes on where it was");
    region.end().await;
}

#[tokio::test]
async fn a_void_invoice_is_no_reason_to_bill_its_period_again() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    // August is issued before July, so that July's issue looks at August, which is void by then.
    let august = region.terms(&subscription, Some("2026-08-01T00:00:00Z")).await;
    let saved = acme.save_invoice(&draft(&august, 1, "2026-09-02T00:00:00Z"), &by()).await.expect("saved");
    let issued =
        acme.issue_invoice(&saved.invoice.id, instant("2026-09-03T00:00:00Z"), &by()).await.expect("issued");
    step(&acme, &issued, void()).await;
    region.issued(&subscription, 1).await;
    let now = acme.subscription(&subscription.id).await.expect("asked").expect("there");
    assert_eq!(now.next_period.expect("a period").start, instant("2026-09-01T00:00:00Z"));
    region.end().await;
}

#[tokio::test]
async fn an_invoice_with_a_credit_note_is_not_void_any_more() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let issued = region.issued(&subscription, 12_000).await;
    let credit = PriceCredit {
        plan: None,
        price: "base".parse().expect("a name"),
        amount: "3".parse().expect("an amount"),
    };
    acme.create_credit_note(&issued.id, &[credit], "an outage", Uuid::now_v7(), &by())
        .await
        .expect("written");
    let refused = acme.change_invoice(&issued.id, &change(void(), None), &by()).await;
    assert!(matches!(refused, Err(InvoiceError::Credited)), "{refused:?}");
    assert_eq!(step(&acme, &issued, pay()).await.state, InvoiceStatus::Paid);
    region.end().await;
}

/// Each statement, as the owner of the tables with every row in sight, must be refused by a trigger.
async fn refused_by_triggers(owner: &mut PgConnection, statements: &[&'static str]) {
    for statement in statements {
        let error = sqlx::query(*statement).execute(&mut *owner).await.expect_err(statement);
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        assert_eq!(code, "MR001", "{statement}: {error}");
    }
}

/// What must not work on any invoice that is no draft.
const ON_ANY: [&str; 13] = [
    "UPDATE invoices SET total = 1, subtotal = 1",
    "UPDATE invoices SET total = 1, subtotal = 1, version = version + 1",
    "UPDATE invoices SET version = version + 1",
    "UPDATE invoices SET version = 1",
    "UPDATE invoices SET number = 'INV-000009'",
    "UPDATE invoices SET computation = '', version = version + 1",
    "UPDATE invoices SET updated_at = now() + interval '1 second'",
    "UPDATE invoices SET state = 'draft', number = NULL, sequence = NULL, issued_at = NULL, version = version + 1",
    "DELETE FROM invoices",
    "UPDATE invoice_line_items SET amount = 1",
    "DELETE FROM invoice_line_items",
    "INSERT INTO invoice_line_items (line_id, invoice_id, tenant, position, price, quantity, amount, period_start, period_end)
     SELECT 'line_x', invoice_id, tenant, 9, 'extra', 1, 1, period_start, period_end FROM invoices",
    "TRUNCATE invoices CASCADE",
];

#[tokio::test]
async fn nobody_with_psql_changes_an_issued_paid_or_void_invoice() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let mut owner = region.raw_over_all().await;
    let saved = acme
        .save_invoice(&draft(&region.terms(&subscription, None).await, 12_000, "2026-08-02T00:00:00Z"), &by())
        .await
        .expect("saved");
    let on_drafts = [
        "UPDATE invoices SET state = 'paid', paid_at = now(), issued_at = now(), number = 'INV-1', sequence = 1, version = version + 1",
        "UPDATE invoices SET state = 'void', voided_at = now(), void_reason = 'x', issued_at = now(), number = 'INV-1', sequence = 1, version = version + 1",
    ];
    refused_by_triggers(&mut owner, &on_drafts).await;

    let issued =
        acme.issue_invoice(&saved.invoice.id, instant("2026-08-03T00:00:00Z"), &by()).await.expect("issued");
    refused_by_triggers(&mut owner, &ON_ANY).await;
    let on_issued = [
        "UPDATE invoices SET state = 'paid', paid_at = now()",
        "UPDATE invoices SET state = 'paid', paid_at = now(), version = version + 2",
        "UPDATE invoices SET state = 'paid', paid_at = now(), version = version + 1, number = 'INV-000009'",
        "UPDATE invoices SET state = 'paid', paid_at = now(), version = version + 1, total = total + 1, subtotal = subtotal + 1",
        "UPDATE invoices SET state = 'paid', paid_at = now(), version = version + 1, reissued = true",
        "UPDATE invoices SET state = 'void', voided_at = now(), void_reason = 'x', version = version + 1, reissued = true",
        "UPDATE invoices SET state = 'void', voided_at = now(), void_reason = 'x', version = version + 1, paid_at = now()",
    ];
    refused_by_triggers(&mut owner, &on_issued).await;
    assert_eq!(acme.invoice(&issued.id).await.expect("asked"), Some(issued.clone()));

    let voided = step(&acme, &issued, void()).await;
    refused_by_triggers(&mut owner, &ON_ANY).await;
    let on_void = [
        "UPDATE invoices SET state = 'issued', voided_at = NULL, void_reason = NULL, version = version + 1",
        "UPDATE invoices SET state = 'paid', voided_at = NULL, void_reason = NULL, paid_at = now(), version = version + 1",
        "UPDATE invoices SET void_reason = 'another', version = version + 1",
        "UPDATE invoices SET reissued = true",
        "UPDATE invoices SET reissued = true, void_reason = 'another', version = version + 1",
    ];
    refused_by_triggers(&mut owner, &on_void).await;
    assert_eq!(acme.invoice(&issued.id).await.expect("asked"), Some(voided.clone()));

    let reissued = step(&acme, &voided, reissue()).await;
    refused_by_triggers(&mut owner, &ON_ANY).await;
    refused_by_triggers(&mut owner, &on_void).await;
    refused_by_triggers(&mut owner, &["UPDATE invoices SET reissued = false, version = version + 1"]).await;
    assert_eq!(acme.invoice(&issued.id).await.expect("asked"), Some(reissued));
    region.end().await;
}

#[tokio::test]
async fn nobody_with_psql_changes_a_paid_invoice() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let issued = region.issued(&subscription, 12_000).await;
    let paid = step(&acme, &issued, pay()).await;
    let mut owner = region.raw_over_all().await;
    refused_by_triggers(&mut owner, &ON_ANY).await;
    let on_paid = [
        "UPDATE invoices SET state = 'issued', paid_at = NULL, payment_reference = NULL, version = version + 1",
        "UPDATE invoices SET state = 'void', paid_at = NULL, payment_reference = NULL, voided_at = now(), void_reason = 'x', version = version + 1",
        "UPDATE invoices SET paid_at = now(), version = version + 1",
        "UPDATE invoices SET payment_reference = 'another', version = version + 1",
    ];
    refused_by_triggers(&mut owner, &on_paid).await;
    assert_eq!(acme.invoice(&issued.id).await.expect("asked"), Some(paid));
    region.end().await;
}
