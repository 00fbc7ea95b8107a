//! The invoices of many periods in one transaction: what each would be by itself, once, and numbers without gaps.

use jiff::Timestamp;
use meridian_billing::{ids::SubscriptionId, invoice::Computation, invoice_state::InvoiceStatus};
use meridian_records::{
    AuditEntry, Invoice, InvoiceChange, InvoiceDraft, InvoiceError, InvoiceStep, IssuedPeriod, Page,
    SaveOutcome, Subscription, TenantRecords,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    many_terms::statements,
    region::{Region, by, draft},
};

const AUGUST_2ND: &str = "2026-08-02T00:00:00Z";

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// July's drafts, each for another number of calls.
async fn drafts(region: &Region, of: &[Subscription]) -> Vec<InvoiceDraft> {
    let mut drafts = Vec::new();
    for (number, subscription) in of.iter().enumerate() {
        let terms = region.terms(subscription, Some("2026-07-01T00:00:00Z")).await;
        drafts.push(draft(&terms, 10_100 + number as i64, AUGUST_2ND));
    }
    drafts
}

async fn together(acme: &TenantRecords, drafts: &[InvoiceDraft]) -> Vec<Result<IssuedPeriod, InvoiceError>> {
    acme.save_and_issue(drafts, instant("2026-08-03T00:00:00Z"), &by()).await.expect("the store answers")
}

async fn invoices(acme: &TenantRecords) -> Vec<Invoice> {
    acme.invoices(None, &Page::first(200)).await.expect("listed").items
}

/// That the numbers are 1, 2, 3 … without a gap, and how many there are.
fn numbered(invoices: &[Invoice]) -> usize {
    let mut numbers: Vec<&str> = invoices.iter().filter_map(|invoice| invoice.number.as_deref()).collect();
    numbers.sort_unstable();
    let expected: Vec<String> = (1..=numbers.len()).map(|number| format!("INV-{number:06}")).collect();
    assert_eq!(numbers, expected);
    numbers.len()
}

/// An invoice without what every invoice has of its own: ids, its number, and when it was made.
fn comparable(invoice: &Invoice) -> Invoice {
    let mut shown = invoice.clone();
    shown.number = shown.number.map(|_| String::new());
    shown.created_at = Timestamp::UNIX_EPOCH;
    shown.lines.iter_mut().for_each(|line| line.id.clear());
    shown
}

async fn audited(acme: &TenantRecords, of: &Invoice) -> Vec<AuditEntry> {
    let log = acme.audit_log(&Page::first(200)).await.expect("the log").items;
    let own = log.into_iter().filter(|entry| entry.entity == of.id.as_str());
    own.map(|entry| AuditEntry { at: Timestamp::UNIX_EPOCH, entity: String::new(), ..entry }).collect()
}

#[tokio::test]
async fn what_is_issued_together_is_what_each_would_be_by_itself() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(7, &json!({"taxRates": [{"name": "vat", "percent": "19"}]})).await;
    let acme = region.tenant("acme");
    let drafts = drafts(&region, &subscriptions).await;
    for issued in together(&acme, &drafts).await {
        assert_eq!(issued.expect("issued").outcome, SaveOutcome::Created);
    }
    let all = invoices(&acme).await;
    assert_eq!((all.len(), numbered(&all)), (7, 7));
    for (subscription, draft) in subscriptions.iter().zip(&drafts) {
        let invoice = all.iter().find(|invoice| invoice.subscription == subscription.id).expect("issued");
        assert_eq!(invoice.computation, draft.computation);
        Computation::verify(&invoice.computation).expect("it recomputes to the byte");
        let now = acme.subscription(&subscription.id).await.expect("asked").expect("there");
        assert_eq!(now.next_period.expect("August").start, instant("2026-08-01T00:00:00Z"));
    }

    // The same draft, saved and issued by itself in a region of its own, is the same row.
    let other = Region::start().await.with_catalogue().await;
    let twin = other.subscribe(1, &json!({"taxRates": [{"name": "vat", "percent": "19"}]})).await;
    let terms = other.terms(&twin[0], None).await;
    let saved = other.tenant("acme").save_invoice(&draft(&terms, 10_100, AUGUST_2ND), &by()).await;
    let id = saved.expect("saved").invoice.id;
    let at = instant("2026-08-03T00:00:00Z");
    let alone = other.tenant("acme").issue_invoice(&id, at, &by()).await.expect("issued");
    let found = all.iter().find(|invoice| invoice.subscription == subscriptions[0].id).expect("issued");
    let mut expected = comparable(&alone);
    let Invoice { id, customer_id, subscription, plan_id, computation, catalogue_version, .. } =
        found.clone();
    expected = Invoice { id, customer_id, subscription, plan_id, computation, catalogue_version, ..expected };
    for (line, found) in expected.lines.iter_mut().zip(&found.lines) {
        line.meter.clone_from(&found.meter);
    }
    assert_eq!(comparable(found), expected);
    let steps =
        |log: Vec<AuditEntry>| log.into_iter().map(|entry| (entry.action, entry.actor)).collect::<Vec<_>>();
    let (found, alone) = (audited(&acme, found).await, audited(&other.tenant("acme"), &alone).await);
    assert_eq!(steps(found), steps(alone));
    region.end().await;
    other.end().await;
}

#[tokio::test]
async fn issuing_again_changes_nothing_and_says_which_invoice_it_was() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(5, &json!({})).await;
    let acme = region.tenant("acme");
    let drafts = drafts(&region, &subscriptions).await;
    let first: Vec<_> =
        together(&acme, &drafts).await.into_iter().map(|issued| issued.expect("issued")).collect();
    let before = invoices(&acme).await;
    for (again, first) in together(&acme, &drafts).await.into_iter().zip(first) {
        let kept = IssuedPeriod { outcome: SaveOutcome::Kept, ..first };
        assert_eq!(again.expect("found"), kept);
    }
    assert_eq!(invoices(&acme).await, before);
    region.end().await;
}

#[tokio::test]
async fn what_is_not_plain_goes_by_itself_and_holds_up_no_other() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(9, &json!({})).await;
    let acme = region.tenant("acme");
    let mut drafts = drafts(&region, &subscriptions).await;
    let change = async |invoice: &Invoice, step| {
        let change =
            InvoiceChange { step, seen_version: None, at: instant(AUGUST_2ND), seed: Uuid::now_v7() };
        acme.change_invoice(&invoice.id, &change, &by()).await.expect("changed")
    };
    // 0 and 1 are plain. 2 has a draft that saw less. 3 is void; 4 is void and asked for again.
    let early = draft(&region.terms(&subscriptions[2], None).await, 5, "2026-08-01T12:00:00Z");
    acme.save_invoice(&early, &by()).await.expect("a draft");
    for number in [3, 4] {
        let issued = region.issued(&subscriptions[number], 10_000).await;
        change(&issued, InvoiceStep::Void { reason: "wrong".to_owned() }).await;
        if number == 4 {
            change(&issued, InvoiceStep::Reissue { reason: "right".to_owned() }).await;
            drafts[4] = draft(
                &region.terms(&subscriptions[4], Some("2026-07-01T00:00:00Z")).await,
                10_104,
                AUGUST_2ND,
            );
        }
    }
    // The customer of 5 has credits. 6 was issued out of order: August is there. 7 does not add up. 8 is refused by the database.
    let more = json!({"amount": "30", "effectiveAt": "2026-07-01T00:00:00Z"});
    region.grant("acme", &subscriptions[5].customer_id, "welcome", "2026-07-01T00:00:00Z", more).await;
    let august = region.terms(&subscriptions[6], Some("2026-08-01T00:00:00Z")).await;
    let august = acme.save_invoice(&draft(&august, 1, "2026-09-02T00:00:00Z"), &by()).await.expect("saved");
    acme.issue_invoice(&august.invoice.id, instant("2026-09-03T00:00:00Z"), &by()).await.expect("issued");
    drafts[7].lines.pop();
    drafts[8].plan_version = 77;
    // And one of a subscription that does not exist.
    let nobody: SubscriptionId = "sub_00000000000000000000000000000000".parse().expect("an id");
    drafts.push(InvoiceDraft { subscription: nobody, ..drafts[0].clone() });

    let issued = together(&acme, &drafts).await;
    let shown: Vec<String> = issued
        .iter()
        .map(|issued| match issued {
            Ok(issued) => format!("{:?}", issued.outcome),
            Err(error) => format!("{error:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned(),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Created",
            "Created",
            "Refreshed",
            "Refused",
            "Created",
            "Created",
            "Created",
            "LinesDoNotAddUp",
            "Store",
            "NoSuchSubscription"
        ]
    );
    let all = invoices(&acme).await;
    let newest = |number: usize| {
        let own = all.iter().filter(|invoice| invoice.subscription == subscriptions[number].id);
        own.max_by_key(|invoice| (invoice.period_start < instant("2026-08-01T00:00:00Z"), invoice.revision))
    };
    assert_eq!(newest(2).expect("July").total.to_string(), "101.02");
    assert_eq!(newest(3).expect("July").state, InvoiceStatus::Void);
    assert_eq!(
        (newest(4).expect("July").revision, newest(4).expect("July").state),
        (1, InvoiceStatus::Issued)
    );
    assert_eq!(newest(5).expect("July").credits.to_string(), "30");
    let now = acme.subscription(&subscriptions[6].id).await.expect("asked").expect("there");
    assert_eq!(now.next_period.expect("September").start, instant("2026-09-01T00:00:00Z"));
    assert!(newest(7).is_none() && newest(8).is_none());
    numbered(&all);
    region.end().await;
}

#[tokio::test]
async fn two_periods_of_one_subscription_are_issued_one_after_the_other() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(2, &json!({})).await;
    let acme = region.tenant("acme");
    let mut drafts = drafts(&region, &subscriptions).await;
    let august = region.terms(&subscriptions[0], Some("2026-08-01T00:00:00Z")).await;
    drafts.push(draft(&august, 3, AUGUST_2ND));
    let at = instant("2026-09-03T00:00:00Z");
    let issued = acme.save_and_issue(&drafts, at, &by()).await.expect("the store answers");
    assert!(issued.iter().all(Result::is_ok), "{issued:?}");
    let now = acme.subscription(&subscriptions[0].id).await.expect("asked").expect("there");
    assert_eq!(now.next_period.expect("September").start, instant("2026-09-01T00:00:00Z"));
    assert_eq!(numbered(&invoices(&acme).await), 3);
    region.end().await;
}

#[tokio::test]
async fn an_invoice_of_nothing_is_skipped_where_the_subscription_says_so() {
    let region = Region::start().await.with_catalogue().await;
    let free = json!({"zeroInvoices": "Skip", "coupons": [{"name": "free", "percent": "100"}]});
    let mut of = region.subscribe(2, &free).await;
    let customer = region.add_customer("acme", "payer").await;
    of.push(region.subscribe_customer("acme", &customer).await);
    let acme = region.tenant("acme");
    let mut drafts = drafts(&region, &of).await;
    // Without a line that asks for anything, or gives anything back.
    for draft in &mut drafts[..2] {
        draft.lines.clear();
        assert!(draft.total.is_zero());
    }
    let issued = together(&acme, &drafts).await;
    assert!(issued.iter().all(Result::is_ok), "{issued:?}");
    let all = invoices(&acme).await;
    let states: Vec<InvoiceStatus> = of
        .iter()
        .filter_map(|of| all.iter().find(|invoice| invoice.subscription == of.id))
        .map(|invoice| invoice.state)
        .collect();
    assert_eq!(states, [InvoiceStatus::Skipped, InvoiceStatus::Skipped, InvoiceStatus::Issued]);
    assert_eq!(numbered(&all), 1);
    region.end().await;
}

#[tokio::test]
async fn two_workers_that_issue_the_same_periods_at_once_make_one_invoice_of_each() {
    const ROUNDS: usize = 50;
    const SIZE: usize = 3;
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(ROUNDS * SIZE, &json!({})).await;
    let drafts = drafts(&region, &subscriptions).await;
    for (round, drafts) in drafts.chunks(SIZE).enumerate() {
        // The second one has them in another order.
        let reversed: Vec<InvoiceDraft> = drafts.iter().rev().cloned().collect();
        let workers = [drafts.to_vec(), reversed].map(|drafts| {
            let acme = region.tenant("acme");
            tokio::spawn(async move { together(&acme, &drafts).await })
        });
        let [first, second] = futures::future::join_all(workers).await.try_into().expect("two");
        let first: Vec<_> = first.expect("no panic").into_iter().map(|one| one.expect("issued")).collect();
        let second: Vec<_> = second.expect("no panic").into_iter().map(|one| one.expect("issued")).collect();
        for (one, other) in first.iter().zip(second.iter().rev()) {
            assert_eq!(one.invoice, other.invoice, "round {round}");
            let created = [one, other].iter().filter(|one| one.outcome == SaveOutcome::Created).count();
            assert_eq!(created, 1, "round {round}");
        }
    }
    let acme = region.tenant("acme");
    let all = invoices(&acme).await;
    assert_eq!((all.len(), numbered(&all)), (ROUNDS * SIZE, ROUNDS * SIZE));
    for subscription in &subscriptions {
        let now = acme.subscription(&subscription.id).await.expect("asked").expect("there");
        assert_eq!(now.next_period.expect("August").start, instant("2026-08-01T00:00:00Z"));
    }
    region.end().await;
}

#[tokio::test]
async fn many_invoices_cost_no_more_statements_than_one() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(14, &json!({})).await;
    let acme = region.tenant("acme");
    let drafts = drafts(&region, &subscriptions).await;
    let (one, for_one) = statements(together(&acme, &drafts[..1])).await;
    let (all, for_all) = statements(together(&acme, &drafts[1..])).await;
    assert!(one.iter().chain(&all).all(Result::is_ok));
    assert!(for_one >= 10, "{for_one} statements were counted: the driver no longer says what it sends");
    assert_eq!(for_one, for_all);
    region.end().await;
}
