//! What is issued follows from the terms as they stand at issue: a draft that was computed by others is refused, and computed again.

use jiff::Timestamp;
use meridian_billing::{
    decimal::{Amount, Quantity},
    invoice::{Computation, InvoiceKind, PriceUsage},
    subscription::{BillingAnchor, ChangeSpec, CustomTerms},
};
use meridian_records::{
    CancelAt, ControlError, Invoice, InvoiceChange, InvoiceDraft, InvoiceError, InvoiceStep, NewSubscription,
    PeriodTerms, Subscription, SubscriptionError, TenantRecords,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::region::{Region, by, draft, plan_spec, source, tenant_request};

const AUGUST_2ND: &str = "2026-08-02T00:00:00Z";

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn change(spec: Value) -> ChangeSpec {
    ChangeSpec::from_json(&spec).expect("a change")
}

async fn issue(acme: &TenantRecords, invoice: &Invoice) -> Result<Invoice, InvoiceError> {
    acme.issue_invoice(&invoice.id, instant("2026-10-02T01:00:00Z"), &by()).await
}

async fn step(acme: &TenantRecords, invoice: &Invoice, step: InvoiceStep) -> Result<Invoice, InvoiceError> {
    let change =
        InvoiceChange { step, seen_version: None, at: instant("2026-10-05T00:00:00Z"), seed: Uuid::now_v7() };
    acme.change_invoice(&invoice.id, &change, &by()).await
}

fn void() -> InvoiceStep {
    InvoiceStep::Void { reason: "wrong".to_owned() }
}

fn reissue() -> InvoiceStep {
    InvoiceStep::Reissue { reason: "right".to_owned() }
}

/// Saves the period's invoice for so many calls, counted up to then.
async fn save(
    region: &Region,
    of: &Subscription,
    start: &str,
    calls: i64,
    stored_before: &str,
) -> Result<Invoice, InvoiceError> {
    let terms = region.terms(of, Some(start)).await;
    let saved = region.tenant("acme").save_invoice(&draft(&terms, calls, stored_before), &by()).await?;
    Ok(saved.invoice)
}

async fn next_period(acme: &TenantRecords, of: &Subscription) -> Option<String> {
    let now = acme.subscription(&of.id).await.expect("asked").expect("there");
    now.next_period.map(|next| format!("{}..{}", &next.start.to_string()[..10], &next.end.to_string()[..10]))
}

#[tokio::test]
async fn a_draft_is_not_issued_once_its_subscription_changed() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let (acme, customer) = (region.tenant("acme"), region.add_customer("acme", "big").await);
    let yearly =
        json!({"interval": {"unit": "Year"}, "prices": [{"name": "base", "flat": {"amount": "365"}}]});
    let name = "yearly".parse().expect("a name");
    region.records.put_plan(&name, &source("y", 1), &plan_spec(yearly), &by()).await.expect("plan");

    let changed = region.subscribe_customer("acme", &customer).await;
    let cancelled = region.subscribe_customer("acme", &customer).await;
    let mut stale = Vec::new();
    for subscription in [&changed, &cancelled] {
        stale.push(region.save_july(subscription, 10_000).await);
    }
    let to_yearly = json!({"at": "2026-07-20T00:00:00Z", "planRef": {"name": "yearly"}});
    acme.change_subscription(&changed.id, change(to_yearly), &by()).await.expect("changed");
    let at = CancelAt::Instant(instant("2026-07-16T12:00:00Z"));
    acme.cancel_subscription(&cancelled.id, at, &by()).await.expect("cancelled");
    for invoice in &stale {
        let refused = issue(&acme, invoice).await;
        assert!(matches!(refused, Err(InvoiceError::TermsOutdated)), "{refused:?}");
    }

    // Computed again, for the same cutoff even, the drafts say what holds, and the next period follows.
    let july = "2026-07-01T00:00:00Z";
    for (subscription, total, next) in
        [(&changed, "61.29", Some("2026-07-20..2027-01-01")), (&cancelled, "50", None)]
    {
        let again = save(&region, subscription, july, 10_000, AUGUST_2ND).await.expect("saved");
        let issued = issue(&acme, &again).await.expect("issued");
        assert_eq!(issued.total, total.parse::<Amount>().expect("an amount"));
        assert_eq!(next_period(&acme, subscription).await.as_deref(), next);
    }
    region.end().await;
}

#[tokio::test]
async fn of_many_drafts_only_the_one_by_other_terms_is_refused() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(3, &json!({})).await;
    let acme = region.tenant("acme");
    let mut drafts = Vec::new();
    for subscription in &subscriptions {
        drafts.push(draft(&region.terms(subscription, None).await, 10_000, AUGUST_2ND));
    }
    let seats = json!({"at": "2026-07-10T00:00:00Z", "quantities": [{"price": "base", "quantity": "2"}]});
    acme.change_subscription(&subscriptions[1].id, change(seats), &by()).await.expect("changed");
    let issued = acme.save_and_issue(&drafts, instant(AUGUST_2ND), &by()).await.expect("answered");
    let shown: Vec<String> = issued
        .iter()
        .map(|issued| match issued {
            Ok(issued) => format!("{:?}", issued.outcome),
            Err(error) => format!("{error:?}"),
        })
        .collect();
    assert_eq!(shown, ["Created", "TermsOutdated", "Created"]);
    region.end().await;
}

/// An invoice at a threshold, for usage until then.
fn part(terms: &PeriodTerms, calls: i64, stored_before: &str) -> InvoiceDraft {
    let metered = terms.metered().expect("a plan");
    let count = |price| PriceUsage::total(price, Quantity::from_integer(calls), calls as u64, 1);
    let usage = metered.iter().map(count).collect();
    let input = terms.threshold_input(usage, instant(stored_before)).expect("an input");
    assert_eq!(input.kind, InvoiceKind::Progressive);
    InvoiceDraft::of(&Computation::of(input).expect("it computes"), terms)
}

#[tokio::test]
async fn a_part_and_its_periods_own_invoice_never_charge_the_same_usage() {
    let region = Region::start().await.with_catalogue().await;
    let thresholds = json!({"thresholds": [{"amount": "50"}]});
    let subscriptions = region.subscribe(2, &thresholds).await;
    let acme = region.tenant("acme");
    let at_threshold = "2026-07-20T00:00:00Z";

    // The whole period is computed while a part is, too: who is issued first decides.
    for (subscription, part_first) in subscriptions.iter().zip([true, false]) {
        let terms = region.terms(subscription, None).await;
        let whole =
            acme.save_invoice(&draft(&terms, 16_000, AUGUST_2ND), &by()).await.expect("saved").invoice;
        let part =
            acme.save_invoice(&part(&terms, 15_000, at_threshold), &by()).await.expect("saved").invoice;
        let (first, second) = if part_first { (&part, &whole) } else { (&whole, &part) };
        issue(&acme, first).await.expect("issued");
        let refused = issue(&acme, second).await;
        assert!(matches!(refused, Err(InvoiceError::TermsOutdated)), "{refused:?}");
    }
    // The period that was second is computed again, and charges what the part did not.
    let terms = region.terms(&subscriptions[0], None).await;
    let again = acme.save_invoice(&draft(&terms, 16_000, AUGUST_2ND), &by()).await.expect("saved").invoice;
    let issued = issue(&acme, &again).await.expect("issued");
    assert_eq!(issued.total.to_string(), "110", "base, and 1,000 calls that the part did not see");
    region.end().await;
}

/// A plan that charges 10 in advance.
async fn in_advance(region: &Region) -> Subscription {
    region.add_tenant("acme", 'a').await;
    let prices = json!({"prices": [{"name": "base", "flat": {"amount": "10", "billed": "InAdvance"}}]});
    let name = "ahead".parse().expect("a name");
    region.records.put_plan(&name, &source("a", 1), &plan_spec(prices), &by()).await.expect("plan");
    let customer = region.add_customer("acme", "big").await;
    let new = NewSubscription {
        customer_id: customer.id,
        plan: name,
        starts_at: instant("2026-07-01T00:00:00Z"),
        ends_at: None,
        anchor: BillingAnchor::Calendar,
        time_zone: None,
        terms: CustomTerms::default(),
    };
    region.tenant("acme").create_subscription(&new, Uuid::now_v7(), &by()).await.expect("subscribed")
}

#[tokio::test]
async fn what_was_charged_in_advance_is_charged_once_whatever_is_made_void() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = in_advance(&region).await;
    let acme = region.tenant("acme");
    let bill = async |start: &str, stored_before: &str| {
        let saved = save(&region, &subscription, start, 0, stored_before).await.expect("saved");
        issue(&acme, &saved).await.expect("issued")
    };
    let (july, august) = ("2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z");
    let total = |invoice: &Invoice| invoice.total.to_string();

    // July's invoice charges July and August. August's counts on it, and keeps it from becoming void.
    let first = bill(july, AUGUST_2ND).await;
    assert_eq!(total(&first), "20");
    let second = bill(august, "2026-09-02T00:00:00Z").await;
    assert_eq!(total(&second), "10", "September alone");
    let refused = step(&acme, &first, void()).await;
    assert!(matches!(refused, Err(InvoiceError::ChargedAhead)), "{refused:?}");

    // From the last one back they may; a void July leaves August to charge for itself.
    step(&acme, &second, void()).await.expect("void");
    step(&acme, &first, void()).await.expect("void");
    step(&acme, &second, reissue()).await.expect("reissued");
    assert_eq!(total(&bill(august, "2026-09-02T00:00:00Z").await), "20", "August and September");
    // July comes back, and charges nothing that August has charged.
    step(&acme, &first, reissue()).await.expect("reissued");
    assert_eq!(total(&bill(july, AUGUST_2ND).await), "10");
    region.end().await;
}

#[tokio::test]
async fn a_void_invoice_makes_drafts_that_counted_on_it_outdated() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = in_advance(&region).await;
    let acme = region.tenant("acme");
    let july = save(&region, &subscription, "2026-07-01T00:00:00Z", 0, AUGUST_2ND).await.expect("saved");
    let july = issue(&acme, &july).await.expect("issued");
    let august = "2026-08-01T00:00:00Z";
    let counted_on = save(&region, &subscription, august, 0, "2026-09-02T00:00:00Z").await.expect("saved");
    step(&acme, &july, void()).await.expect("void");
    let refused = issue(&acme, &counted_on).await;
    assert!(matches!(refused, Err(InvoiceError::TermsOutdated)), "{refused:?}");
    region.end().await;
}

#[tokio::test]
async fn what_a_void_invoice_spent_is_spent_by_the_one_that_takes_its_place() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let (acme, customer) = (region.tenant("acme"), region.add_customer("acme", "big").await);
    // It ends with the period, long before the invoice becomes void.
    let more =
        json!({"amount": "50", "effectiveAt": "2026-07-01T00:00:00Z", "expiresAt": "2026-08-01T00:00:00Z"});
    region.grant("acme", &customer.id, "july", "2026-07-01T00:00:00Z", more).await;
    let subscription = region.subscribe_customer("acme", &customer).await;
    let july = "2026-07-01T00:00:00Z";
    let mut invoice = issue(&acme, &region.save_july(&subscription, 12_000).await).await.expect("issued");
    for revision in 1..=2 {
        let paid = (invoice.credits.to_string(), invoice.total.to_string());
        assert_eq!(paid, ("50".to_owned(), "70".to_owned()), "revision {}", invoice.revision);
        let input = Computation::verify(&invoice.computation).expect("proved").input;
        let overage = Default::default();
        let previewed =
            acme.credits_for(&customer.id, invoice.currency, &input, overage).await.expect("asked");
        assert_eq!(previewed.expect("a ledger").burns[0].amount.to_string(), "50");
        step(&acme, &invoice, void()).await.expect("void");
        step(&acme, &invoice, reissue()).await.expect("reissued");
        let again = save(&region, &subscription, july, 12_000, AUGUST_2ND).await.expect("saved");
        assert_eq!(again.revision, revision);
        invoice = issue(&acme, &again).await.expect("issued");
    }
    region.end().await;
}

#[tokio::test]
async fn a_period_that_is_to_be_billed_again_is_due_until_it_is() {
    let region = Region::start().await.with_catalogue().await;
    let subscriptions = region.subscribe(2, &json!({})).await;
    let acme = region.tenant("acme");
    let mut issued = Vec::new();
    for subscription in &subscriptions {
        issued.push(region.issued(subscription, 10_000).await);
    }
    step(&acme, &issued[0], void()).await.expect("void");
    let due = async || {
        let found = region
            .records
            .due_periods(instant("2026-08-20T00:00:00Z"), std::time::Duration::ZERO, None, 10)
            .await
            .expect("asked");
        let of = |id| found.iter().filter(move |due| due.subscription == id);
        of(subscriptions[0].id.clone()).chain(of(subscriptions[1].id.clone())).count()
    };
    assert_eq!(due().await, 0, "void, and nobody asked for another");
    step(&acme, &issued[0], reissue()).await.expect("reissued");
    assert_eq!(due().await, 1);
    let draft = save(&region, &subscriptions[0], "2026-07-01T00:00:00Z", 10_000, AUGUST_2ND).await;
    assert_eq!(due().await, 1, "a draft is not the end of it");
    issue(&acme, &draft.expect("saved")).await.expect("issued");
    assert_eq!(due().await, 0);
    region.end().await;
}

#[tokio::test]
async fn nothing_changes_within_a_period_that_was_issued_ahead() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.subscribe(1, &json!({})).await.remove(0);
    let acme = region.tenant("acme");
    let august = save(&region, &subscription, "2026-08-01T00:00:00Z", 0, "2026-09-02T00:00:00Z").await;
    issue(&acme, &august.expect("saved")).await.expect("issued, before July");
    let seats = json!({"at": "2026-08-10T00:00:00Z", "quantities": [{"price": "base", "quantity": "2"}]});
    let refused = acme.change_subscription(&subscription.id, change(seats), &by()).await;
    assert!(matches!(refused, Err(SubscriptionError::AlreadyBilled { .. })), "{refused:?}");
    let at = CancelAt::Instant(instant("2026-08-15T00:00:00Z"));
    let refused = acme.cancel_subscription(&subscription.id, at, &by()).await;
    assert!(matches!(refused, Err(SubscriptionError::AlreadyBilled { .. })), "{refused:?}");
    region.end().await;
}

#[tokio::test]
async fn an_end_with_a_period_that_was_issued_ahead_leaves_nothing_charged_and_not_served() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = in_advance(&region).await;
    let acme = region.tenant("acme");
    let august = save(&region, &subscription, "2026-08-01T00:00:00Z", 0, "2026-09-02T00:00:00Z").await;
    issue(&acme, &august.expect("saved")).await.expect("issued, with September in advance");
    let at = CancelAt::Instant(instant("2026-09-01T00:00:00Z"));
    let refused = acme.cancel_subscription(&subscription.id, at, &by()).await;
    assert!(matches!(refused, Err(SubscriptionError::ChargedAhead { .. })), "{refused:?}");
    region.end().await;
}

#[tokio::test]
async fn the_platforms_own_plan_changes_after_what_was_issued_ahead() {
    let region = Region::start().await.with_catalogue().await;
    let own = region.add_tenant("acme", 'a').await;
    let acme = region.tenant("acme");
    let name = "other".parse().expect("a name");
    let dearer = json!({"prices": [{"name": "base", "flat": {"amount": "200"}}]});
    region.records.put_plan(&name, &source("o", 1), &plan_spec(dearer), &by()).await.expect("plan");
    let august = save(&region, &own, "2026-08-01T00:00:00Z", 0, "2026-09-02T00:00:00Z").await;
    issue(&acme, &august.expect("saved")).await.expect("issued, before July");
    let more = json!({"planRef": {"name": "other"}, "billingStart": "2026-07-01T00:00:00Z"});
    let request = tenant_request("acme", 2, more, &[("default", 'a')]);
    region.records.put_tenant(&request, &by()).await.expect("changed");
    for (start, total) in [("2026-07-01T00:00:00Z", "100"), ("2026-09-01T00:00:00Z", "200")] {
        let bill = save(&region, &own, start, 0, "2026-10-02T00:00:00Z").await.expect("saved");
        assert_eq!(issue(&acme, &bill).await.expect("issued").total.to_string(), total, "{start}");
    }
    region.end().await;
}

#[tokio::test]
async fn whoever_changes_a_subscription_makes_its_drafts_outdated() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.subscribe(1, &json!({})).await.remove(0);
    let july = region.save_july(&subscription, 10_000).await;
    let mut raw = region.raw_over_all().await;
    let statement = "UPDATE subscriptions SET updated_at = now()";
    sqlx::query(statement).execute(&mut raw).await.expect("nothing that is billed by");
    assert_eq!(region.terms(&subscription, None).await.subscription.terms_version, 0);
    let statement = "UPDATE subscriptions SET ends_at = '2026-09-01'";
    sqlx::query(statement).execute(&mut raw).await.expect("an older program, or somebody with psql");
    let refused = issue(&region.tenant("acme"), &july).await;
    assert!(matches!(refused, Err(InvoiceError::TermsOutdated)), "{refused:?}");
    region.end().await;
}

#[tokio::test]
async fn the_last_of_several_changes_at_one_instant_holds_and_the_same_again_is_one() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.subscribe(1, &json!({})).await.remove(0);
    let acme = region.tenant("acme");
    for (seats, changes) in [(5, 1), (7, 2), (5, 3), (5, 3)] {
        let quantities = json!([{"price": "base", "quantity": seats.to_string()}]);
        let asked = change(json!({"at": "2026-07-10T00:00:00Z", "quantities": quantities}));
        let changed = acme.change_subscription(&subscription.id, asked, &by()).await.expect("changed");
        assert_eq!(changed.terms.changes.len(), changes, "{seats}");
    }
    let segments = region.terms(&subscription, None).await.segments;
    assert_eq!(segments[1].terms.quantities.values().next().map(ToString::to_string).as_deref(), Some("5"));
    region.end().await;
}

#[tokio::test]
async fn terms_of_which_no_invoice_can_be_made_are_refused_with_their_field() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let (acme, customer) = (region.tenant("acme"), region.add_customer("acme", "big").await);
    let euros = json!({"currency": "EUR", "prices": [{"name": "fee", "flat": {"amount": "1"}}]});
    let name = "euros".parse().expect("a name");
    region.records.put_plan(&name, &source("e", 1), &plan_spec(euros), &by()).await.expect("plan");
    let subscribe = async |starts_at: &str, terms: Value| {
        let new = NewSubscription {
            customer_id: customer.id.clone(),
            plan: "starter".parse().expect("a name"),
            starts_at: instant(starts_at),
            ends_at: None,
            anchor: BillingAnchor::Calendar,
            time_zone: None,
            terms: CustomTerms::from_json(&terms).expect("terms"),
        };
        acme.create_subscription(&new, Uuid::now_v7(), &by()).await
    };
    let july = "2026-07-01T00:00:00Z";
    let many = "99999999999999999999";
    for (terms, field) in [
        (
            json!({"changes": [{"at": "2026-07-09T00:00:00Z", "planRef": {"name": "euros"}}]}),
            "changes[0].planRef",
        ),
        (json!({"addOns": [{"planRef": {"name": "euros"}}]}), "addOns"),
        (
            json!({"changes": [{"at": "2026-07-09T00:00:00Z", "addOns": [{"planRef": {"name": "euros"}}]}]}),
            "changes[0].addOns",
        ),
        (json!({"coupons": [{"name": "c", "amount": "5", "currency": "EUR"}]}), "coupons[0].currency"),
        (json!({"quantities": [{"price": "base", "quantity": many}]}), "quantities[0].quantity"),
        (
            json!({"changes": [{"at": "2026-07-09T00:00:00Z", "quantities": [{"price": "base", "quantity": many}]}]}),
            "changes[0].quantities[0].quantity",
        ),
        (json!({"overrides": [{"price": "calls", "description": "a\u{0}b"}]}), "overrides[0].description"),
        (json!({"changes": [{"at": "9998-01-01T00:00:00Z", "pause": true}]}), "changes[0].at"),
        (json!({"addOns": [{"planRef": {"name": "starter"}}]}), "addOns"),
    ] {
        match subscribe(july, terms.clone()).await {
            Err(SubscriptionError::Terms(error)) => assert_eq!(error.field, field, "{terms}"),
            other => panic!("{terms}: {other:?}"),
        }
    }
    for starts_at in ["-005000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2200-01-01T00:00:01Z"] {
        let refused = subscribe(starts_at, json!({})).await;
        assert!(
            matches!(refused, Err(SubscriptionError::OutOfRange { field: "starts_at", .. })),
            "{refused:?}"
        );
    }
    let made = subscribe(july, json!({})).await.expect("made");
    let at = CancelAt::PeriodEnd(instant("9998-01-01T00:00:00Z"));
    let refused = acme.cancel_subscription(&made.id, at, &by()).await;
    assert!(matches!(refused, Err(SubscriptionError::OutOfRange { field: "at", .. })), "{refused:?}");
    let nowhere = acme.period_terms(&made.id, Some(instant("9998-01-01T00:00:00Z"))).await;
    assert!(matches!(nowhere, Err(SubscriptionError::NoSuchPeriod(_))), "{nowhere:?}");
    region.end().await;
}

#[tokio::test]
async fn a_plan_that_is_made_again_under_its_name_keeps_its_periods_and_its_currency() {
    let region = Region::start().await.with_catalogue().await;
    let name = "starter".parse().expect("a name");
    region.records.archive_plan(&name, &by()).await.expect("archived");
    for (spec, field) in
        [(json!({"interval": {"unit": "Year"}}), "interval"), (json!({"currency": "EUR"}), "currency")]
    {
        let refused = region.records.put_plan(&name, &source("p2", 1), &plan_spec(spec), &by()).await;
        assert!(
            matches!(&refused, Err(ControlError::Immutable { field: of }) if *of == field),
            "{refused:?}"
        );
    }
    let same = region.records.put_plan(&name, &source("p2", 1), &plan_spec(json!({})), &by()).await;
    assert!(same.expect("made again").changed);
    region.end().await;
}
