//! Subscriptions that change while they run: what is billed, and what cannot change any more.

use jiff::{Timestamp, ToSpan};
use meridian_billing::{
    decimal::Quantity,
    invoice::{Computation, PriceUsage},
    subscription::{BillingAnchor, ChangeSpec, CustomTerms},
};
use meridian_records::{
    CancelAt, Invoice, InvoiceChange, InvoiceDraft, InvoiceError, InvoiceStep, NewCustomer, NewSubscription,
    Page, SaveOutcome, Subscription, SubscriptionError, SubscriptionState, TenantRecords,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::region::{Region, by, meter_spec, plan_spec, source, tenant_request};

/// July 2026 and what follows; plan `starter` is base 100 and calls beyond 10,000 at 0.01, all in arrears.
struct World {
    region: Region,
    acme: TenantRecords,
    customer: String,
}

fn instant(text: &str) -> Timestamp {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    text.parse().expect("an instant")
}

fn change(spec: Value) -> ChangeSpec {
    ChangeSpec::from_json(&spec).expect("a change")
}

impl World {
    async fn start() -> Self {
        let region = Region::start().await.with_catalogue().await;
        region.add_tenant("acme", 'a').await;
        let acme = region.tenant("acme");
        let new = NewCustomer {
            key: "big".parse().expect("a key"),
            name: String::new(),
            time_zone: "UTC".to_owned(),
            metadata: json!({}),
        };
        let customer = acme.create_customer(&new, Uuid::now_v7(), &by()).await.expect("customer").id;
        Self { region, acme, customer }
    }

    async fn plan(&self, name: &str, spec: Value) {
        let name = name.parse().expect("a name");
        let uid = format!("uid-{name}");
        self.region.records.put_plan(&name, &source(&uid, 1), &plan_spec(spec), &by()).await.expect("plan");
    }

    async fn try_subscribe(&self, plan: &str, terms: Value) -> Result<Subscription, SubscriptionError> {
        let new = NewSubscription {
            customer_id: self.customer.clone(),
            plan: plan.parse().expect("a name"),
            starts_at: instant("2026-07-01"),
            ends_at: None,
            anchor: BillingAnchor::Calendar,
            time_zone: None,
            terms: CustomTerms::from_json(&terms).expect("terms"),
        };
        self.acme.create_subscription(&new, Uuid::now_v7(), &by()).await
    }

    async fn subscribe(&self, plan: &str, terms: Value) -> Subscription {
        self.try_subscribe(plan, terms).await.expect("subscribed")
    }

    async fn change(&self, of: &Subscription, spec: Value) -> Result<Subscription, SubscriptionError> {
        self.acme.change_subscription(&of.id, change(spec), &by()).await
    }

    /// The next period's invoice for so many calls of each price, issued.
    async fn bill(&self, of: &Subscription, calls: i64) -> Invoice {
        let terms = self.acme.period_terms(&of.id, None).await.expect("terms");
        let metered = terms.metered().expect("a plan");
        let count = |price| PriceUsage::total(price, Quantity::from_integer(calls), calls as u64, 1);
        let usage = metered.iter().map(count).collect();
        let input = terms.invoice_input(usage, instant("2027-01-01")).expect("an input");
        let computation = Computation::of(input).expect("it computes");
        let draft = InvoiceDraft::of(&computation, &terms);
        let saved = self.acme.save_invoice(&draft, &by()).await.expect("saved");
        self.acme.issue_invoice(&saved.invoice.id, instant("2027-01-01"), &by()).await.expect("issued")
    }

    async fn period(&self, of: &Subscription) -> Option<String> {
        let now = self.acme.subscription(&of.id).await.expect("asked").expect("there");
        now.next_period.map(|next| format!("{}..{}", date(next.start), date(next.end)))
    }
}

fn date(at: Timestamp) -> String {
    at.to_string().trim_end_matches("T00:00:00Z").to_owned()
}

/// "price amount" of each line, and the total.
fn shown(invoice: &Invoice) -> Vec<String> {
    let currency = invoice.currency;
    let line =
        |line: &meridian_records::InvoiceLine| format!("{} {}", line.price, currency.format(line.amount));
    let total = format!("total {}", currency.format(invoice.total));
    invoice.lines.iter().map(line).chain([total]).collect()
}

#[tokio::test]
async fn a_trial_moves_the_first_period_and_what_changes_in_it_holds_at_its_end() {
    let world = World::start().await;
    world.plan("pro", json!({"prices": [{"name": "base", "flat": {"amount": "310"}}]})).await;
    let subscription = world.subscribe("starter", json!({"trial": {"days": 14}})).await;
    assert_eq!(world.period(&subscription).await.as_deref(), Some("2026-07-15..2026-08-01"));
    world
        .change(&subscription, json!({"at": "2026-07-03T00:00:00Z", "planRef": {"name": "pro"}}))
        .await
        .expect("within the trial, though before the next period");
    // 17 of 31 days of 310.
    assert_eq!(shown(&world.bill(&subscription, 0).await), ["base 170.00", "total 170.00"]);
    world.region.end().await;
}

#[tokio::test]
async fn an_upgrade_within_a_period_is_prorated_and_counts_both_plans_meters() {
    let world = World::start().await;
    world
        .plan(
            "pro",
            json!({"prices": [
        {"name": "base", "flat": {"amount": "310"}},
        {"name": "calls", "meterRef": {"name": "api-calls"}, "perUnit": {"amount": "0.02"}}]}),
        )
        .await;
    let subscription = world.subscribe("starter", json!({})).await;
    let changed = world
        .change(&subscription, json!({"at": "2026-07-11T00:00:00Z", "planRef": {"name": "pro"}}))
        .await
        .expect("changed");
    assert_eq!(changed.plans.keys().map(|plan| plan.as_str()).collect::<Vec<_>>(), ["pro"]);
    // 10 of 31 days of 100, 21 of 31 days of 310; 12,000 calls under each plan.
    assert_eq!(
        shown(&world.bill(&subscription, 12_000).await),
        ["base 32.26", "calls 20.00", "base 210.00", "calls 240.00", "total 502.26"]
    );
    assert_eq!(shown(&world.bill(&subscription, 0).await), ["base 310.00", "calls 0.00", "total 310.00"]);
    world.region.end().await;
}

#[tokio::test]
async fn time_that_is_billed_does_not_change_and_what_is_to_come_can_be_taken_back() {
    let world = World::start().await;
    world.plan("pro", json!({"prices": [{"name": "base", "flat": {"amount": "310"}}]})).await;
    let subscription = world.subscribe("starter", json!({})).await;
    world.bill(&subscription, 0).await;
    let to_pro = |at: &str| json!({"at": format!("{at}T00:00:00Z"), "planRef": {"name": "pro"}});
    let billed = world.change(&subscription, to_pro("2026-07-31")).await;
    assert!(
        matches!(billed, Err(SubscriptionError::AlreadyBilled { until }) if until == instant("2026-08-01"))
    );
    let unknown =
        world.change(&subscription, json!({"at": "2026-08-11T00:00:00Z", "planRef": {"name": "gone"}})).await;
    assert!(matches!(unknown, Err(SubscriptionError::NoSuchPlan(plan)) if plan == "gone"));
    let resumed = world.change(&subscription, json!({"at": "2026-08-11T00:00:00Z", "resume": true})).await;
    assert!(matches!(resumed, Err(SubscriptionError::Timeline(_))), "{resumed:?}");
    let seats = json!({"at": "2026-08-11T00:00:00Z", "quantities": [{"price": "seats", "quantity": "3"}]});
    let no_such_price = world.change(&subscription, seats).await;
    assert!(
        matches!(&no_such_price, Err(SubscriptionError::Terms(error)) if error.field == "changes[0].quantities[0].price")
    );

    world.change(&subscription, to_pro("2026-08-11")).await.expect("changed");
    let again =
        world.change(&subscription, to_pro("2026-08-11")).await.expect("the same is no second change");
    assert_eq!(again.terms.changes.len(), 1);
    let withdraw = async |now: &str| {
        world.acme.withdraw_change(&subscription.id, instant("2026-08-11"), instant(now), &by()).await
    };
    assert!(matches!(withdraw("2026-08-11").await, Err(SubscriptionError::ChangeInForce(_))));
    assert_eq!(withdraw("2026-08-10").await.expect("taken back").terms.changes, []);
    assert!(matches!(withdraw("2026-08-10").await, Err(SubscriptionError::NoSuchChange(_))));
    assert_eq!(shown(&world.bill(&subscription, 0).await), ["base 100.00", "calls 0.00", "total 100.00"]);
    world.region.end().await;
}

#[tokio::test]
async fn what_was_charged_in_advance_is_settled_by_the_period_that_changed() {
    let world = World::start().await;
    let ahead = |amount: &str| json!({"prices": [{"name": "base", "flat": {"amount": amount, "billed": "InAdvance"}}]});
    world.plan("small", ahead("31")).await;
    world.plan("large", ahead("310")).await;
    let subscription = world.subscribe("small", json!({})).await;
    assert_eq!(
        shown(&world.bill(&subscription, 0).await),
        ["base 31.00", "base 31.00", "total 62.00"],
        "July and August"
    );
    let at_the_boundary = world
        .acme
        .cancel_subscription(&subscription.id, CancelAt::Instant(instant("2026-08-01")), &by())
        .await;
    assert!(
        matches!(at_the_boundary, Err(SubscriptionError::ChargedAhead { .. })),
        "nothing would give August back"
    );
    world
        .change(&subscription, json!({"at": "2026-08-11T00:00:00Z", "planRef": {"name": "large"}}))
        .await
        .expect("changed");
    // 21 of 31 days of small are given back, as many of large are charged, and all of September.
    assert_eq!(
        shown(&world.bill(&subscription, 0).await),
        ["base -21.00", "base 210.00", "base 310.00", "total 499.00"]
    );
    let cancelled = world
        .acme
        .cancel_subscription(&subscription.id, CancelAt::PeriodEnd(instant("2026-09-10")), &by())
        .await
        .expect("cancelled");
    assert_eq!(
        (cancelled.state, cancelled.ends_at),
        (SubscriptionState::Cancelled, Some(instant("2026-10-01")))
    );
    assert_eq!(shown(&world.bill(&subscription, 0).await), ["total 0.00"], "September was paid");
    let ended = world.acme.subscription(&subscription.id).await.expect("asked").expect("there");
    assert_eq!(ended.state, SubscriptionState::Ended);
    world.region.end().await;
}

#[tokio::test]
async fn a_refund_takes_the_discount_along_that_its_charge_had() {
    let world = World::start().await;
    let ahead = |amount: &str| json!({"prices": [{"name": "base", "flat": {"amount": amount, "billed": "InAdvance"}}]});
    world.plan("small", ahead("31")).await;
    // For the first invoice alone: it is not there any more when August is given back.
    let terms = json!({"coupons": [{"name": "half", "percent": "50"}]});
    let subscription = world.subscribe("small", terms).await;
    assert_eq!(
        shown(&world.bill(&subscription, 0).await),
        ["base 31.00", "base 31.00", "half -31.00", "total 31.00"],
        "July and August"
    );
    world
        .acme
        .cancel_subscription(&subscription.id, CancelAt::Instant(instant("2026-08-11")), &by())
        .await
        .expect("cancelled");
    let last = world.bill(&subscription, 0).await;
    assert_eq!(shown(&last), ["base -21.00", "half 10.50", "total -10.50"]);
    assert_eq!(last.discounts.to_string(), "-10.5");
    world.region.end().await;
}

#[tokio::test]
async fn what_was_charged_in_advance_counts_towards_a_plans_maximum_at_a_threshold_too() {
    let world = World::start().await;
    let capped = json!({"maximum": "50", "prices": [
        {"name": "base", "flat": {"amount": "30", "billed": "InAdvance"}},
        {"name": "calls", "meterRef": {"name": "api-calls"}, "perUnit": {"amount": "0.01"}},
    ]});
    world.plan("capped", capped).await;
    let subscription = world.subscribe("capped", json!({"thresholds": [{"amount": "20"}]})).await;
    assert_eq!(
        shown(&world.bill(&subscription, 0).await),
        ["base 30.00", "calls 0.00", "base 30.00", "total 60.00"]
    );
    let terms = world.acme.period_terms(&subscription.id, None).await.expect("terms");
    let count = |price| PriceUsage::total(price, Quantity::from_integer(4000), 4000, 1);
    let usage = terms.metered().expect("a plan").iter().map(count).collect();
    let input = terms.threshold_input(usage, instant("2026-08-10")).expect("an input");
    let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
    let saved = world.acme.save_invoice(&draft, &by()).await.expect("saved");
    let part =
        world.acme.issue_invoice(&saved.invoice.id, instant("2026-08-10"), &by()).await.expect("issued");
    // 30 were paid for August: 20 are left to the maximum.
    assert_eq!(shown(&part), ["calls 40.00", "capped -20.00", "total 20.00"]);
    assert_eq!(
        shown(&world.bill(&subscription, 4100).await),
        ["calls 1.00", "capped -1.00", "base 30.00", "total 30.00"]
    );
    world.region.end().await;
}

#[tokio::test]
async fn usage_that_reached_a_threshold_is_billed_once_and_the_period_charges_the_rest() {
    let world = World::start().await;
    let terms = json!({"thresholds": [{"amount": "20"}], "coupons": [{"name": "welcome", "amount": "5", "currency": "USD"}]});
    let subscription = world.subscribe("starter", terms).await;
    let threshold = async |calls: i64, until: &str| {
        let terms = world.acme.period_terms(&subscription.id, None).await.expect("terms");
        let metered = terms.metered().expect("a plan");
        let count = |price| PriceUsage::total(price, Quantity::from_integer(calls), calls as u64, 1);
        let input =
            terms.threshold_input(metered.iter().map(count).collect(), instant(until)).expect("an input");
        let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
        let saved = world.acme.save_invoice(&draft, &by()).await.expect("saved");
        world.acme.issue_invoice(&saved.invoice.id, instant(until), &by()).await.expect("issued")
    };
    assert_eq!(
        world.region.records.running_to_bill(instant("2026-07-10"), None, 10).await.expect("found").len(),
        1
    );
    let first = threshold(12_000, "2026-07-10").await;
    assert_eq!(shown(&first), ["calls 20.00", "welcome -5.00", "total 15.00"]);
    assert_eq!((first.part, first.period_end), (1, instant("2026-07-10")));
    assert_eq!(
        world.period(&subscription).await.as_deref(),
        Some("2026-07-01..2026-08-01"),
        "July is not over"
    );
    let terms = world.acme.period_terms(&subscription.id, None).await.expect("terms");
    assert_eq!(terms.billed_on_the_way.to_string(), "20");

    let early = world.change(&subscription, json!({"at": "2026-07-09T00:00:00Z", "pause": true})).await;
    assert!(
        matches!(early, Err(SubscriptionError::AlreadyBilled { until }) if until == instant("2026-07-10"))
    );
    assert_eq!(shown(&threshold(12_500, "2026-07-20").await), ["calls 5.00", "total 5.00"]);
    assert_eq!(
        shown(&world.bill(&subscription, 13_000).await),
        ["base 100.00", "calls 5.00", "total 105.00"]
    );
    assert_eq!(world.period(&subscription).await.as_deref(), Some("2026-08-01..2026-09-01"));
    world.region.end().await;
}

#[tokio::test]
async fn what_the_first_period_pays_in_advance_is_billed_at_its_start_once() {
    let world = World::start().await;
    let prices = |base: &str| {
        json!({"prices": [
            {"name": "base", "flat": {"amount": base, "billed": "InAdvance"}},
            {"name": "set-up", "flat": {"amount": "99", "billed": "OneTime"}},
            {"name": "calls", "meterRef": {"name": "api-calls"}, "perUnit": {"amount": "0.01"}}
        ]})
    };
    world.plan("small", prices("31")).await;
    world.plan("large", prices("62")).await;
    let terms = json!({"firstInvoice": "AtStart", "coupons": [{"name": "welcome", "amount": "10", "currency": "USD"}]});
    let subscription = world.subscribe("small", terms).await;
    let found = async |at: &str| {
        let running = world.region.records.running_to_bill(instant(at), None, 10).await.expect("found");
        running.into_iter().map(|running| running.period.start).collect::<Vec<_>>()
    };
    let draft = async |until: &str| {
        let terms = world.acme.period_terms(&subscription.id, None).await.expect("terms");
        let input = terms.opening_input(instant(until))?;
        Some(InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms))
    };
    let (start, soon) = ("2026-07-01", "2026-07-01T00:05:00Z");
    assert_eq!(found("2026-06-30T23:59:59Z").await, [], "it has not begun");
    assert_eq!(found(start).await, [instant(start)]);
    assert_eq!(draft(start).await, None, "nothing of it is over");
    assert_eq!(draft("2026-08-01").await, None, "its own invoice is due");

    let outdated = draft(soon).await.expect("a draft");
    let saved = world.acme.save_invoice(&outdated, &by()).await.expect("saved");
    assert_eq!(found(soon).await.len(), 1, "a draft is not the invoice");
    let seats = json!({"at": "2026-07-01T00:00:00Z", "quantities": [{"price": "base", "quantity": "2"}]});
    world.change(&subscription, seats).await.expect("nothing is billed yet");
    let refused = world.acme.issue_invoice(&saved.invoice.id, instant(soon), &by()).await;
    assert!(matches!(refused, Err(InvoiceError::TermsOutdated)), "{refused:?}");

    let current = draft(soon).await.expect("a draft");
    let saved = world.acme.save_invoice(&current, &by()).await.expect("saved");
    assert_eq!(saved.outcome, SaveOutcome::Refreshed);
    let again = world.acme.save_invoice(&current, &by()).await.expect("saved");
    assert_eq!((again.outcome, &again.invoice.id), (SaveOutcome::Kept, &saved.invoice.id));
    let first = world.acme.issue_invoice(&saved.invoice.id, instant(soon), &by()).await.expect("issued");
    assert_eq!(shown(&first), ["base 62.00", "set-up 99.00", "welcome -10.00", "total 151.00"]);
    assert_eq!((first.part, first.period_start, first.period_end), (1, instant(start), instant(soon)));
    assert_eq!(found(soon).await, []);
    assert_eq!(draft("2026-07-02").await, None, "it is made");
    let void = InvoiceChange {
        step: InvoiceStep::Void { reason: "a mistake".to_owned() },
        seen_version: None,
        at: instant("2026-07-02"),
        seed: Uuid::now_v7(),
    };
    let void = world.acme.change_invoice(&first.id, &void, &by()).await;
    assert!(matches!(void, Err(InvoiceError::BuiltUpon)), "July's invoice counts on it: {void:?}");

    let early = json!({"at": "2026-07-01T00:00:00Z", "planRef": {"name": "large"}});
    let early = world.change(&subscription, early).await;
    assert!(matches!(early, Err(SubscriptionError::AlreadyBilled { until }) if until == instant(soon)));
    let upgrade = json!({"at": "2026-07-17T00:00:00Z", "planRef": {"name": "large"}});
    world.change(&subscription, upgrade).await.expect("after it");
    // 16 of 31 days of 62 are 32: 30 go back. Of two at 62, 15 days are 60; its own fee; and August. The coupon is given already.
    assert_eq!(
        shown(&world.bill(&subscription, 100).await),
        [
            "base -30.00",
            "calls 1.00",
            "base 60.00",
            "set-up 99.00",
            "calls 1.00",
            "base 124.00",
            "total 255.00"
        ]
    );
    assert_eq!(shown(&world.bill(&subscription, 0).await), ["calls 0.00", "base 124.00", "total 124.00"]);
    world.region.end().await;
}

#[tokio::test]
async fn an_invoice_at_the_start_that_comes_too_late_is_not_issued() {
    let world = World::start().await;
    world
        .plan("pro", json!({"prices": [{"name": "base", "flat": {"amount": "31", "billed": "InAdvance"}}]}))
        .await;
    let subscription = world.subscribe("pro", json!({"firstInvoice": "AtStart"})).await;
    let terms = world.acme.period_terms(&subscription.id, None).await.expect("terms");
    let input = terms.opening_input(instant("2026-07-31")).expect("an input");
    let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
    let saved = world.acme.save_invoice(&draft, &by()).await.expect("saved");
    // July's own invoice knows of no other that was issued, and charges everything.
    assert_eq!(shown(&world.bill(&subscription, 0).await), ["base 31.00", "base 31.00", "total 62.00"]);
    let late = world.acme.issue_invoice(&saved.invoice.id, instant("2026-08-01"), &by()).await;
    assert!(matches!(late, Err(InvoiceError::TermsOutdated)), "{late:?}");
    assert!(
        world
            .region
            .records
            .running_to_bill(instant("2026-08-02"), None, 10)
            .await
            .expect("found")
            .is_empty(),
        "August is not its first period"
    );
    world.region.end().await;
}

#[tokio::test]
async fn what_credits_paid_of_the_time_that_is_given_back_goes_back_to_them() {
    let world = World::start().await;
    world
        .plan("pro", json!({"prices": [{"name": "base", "flat": {"amount": "31", "billed": "InAdvance"}}]}))
        .await;
    let half = json!({"amount": "31", "effectiveAt": "2026-07-01T00:00:00Z"});
    world.region.grant("acme", &world.customer, "welcome", "2026-07-01T09:00:00Z", half).await;
    let vat = json!({"taxRates": [{"name": "vat", "percent": "10"}]});
    let subscription = world.subscribe("pro", vat).await;
    // July and August: half of each by credits.
    assert_eq!(
        shown(&world.bill(&subscription, 0).await),
        ["base 31.00", "base 31.00", "welcome -31.00", "vat 3.10", "total 34.10"]
    );
    let balances =
        async || crate::credits::balances(&world.acme, &world.customer, "2027-01-02T00:00:00Z").await;
    assert_eq!(balances().await, ["welcome: 31 = 31 + 0 + 0 + 0"]);
    let cancel = json!({"at": "2026-08-16T00:00:00Z", "cancel": "AtOnce"});
    world.change(&subscription, cancel).await.expect("cancelled");
    // 16 of 31 days go back: 8 to the credits, 8 in money with their tax.
    let last = world.bill(&subscription, 0).await;
    assert_eq!(shown(&last), ["base -16.00", "welcome 8.00", "vat -0.80", "total -8.80"]);
    assert_eq!(last.credits.to_string(), "-8");
    assert_eq!(balances().await, ["welcome: 31 = 23 + 0 + 0 + 8"]);
    let void = InvoiceChange {
        step: InvoiceStep::Void { reason: "a mistake".to_owned() },
        seen_version: None,
        at: instant("2027-01-01"),
        seed: Uuid::now_v7(),
    };
    world.acme.change_invoice(&last.id, &void, &by()).await.expect("void");
    assert_eq!(balances().await, ["welcome: 31 = 31 + 0 + 0 + 0"], "taken again");
    world.region.end().await;
}

#[tokio::test]
async fn pauses_cost_nothing_and_add_ons_are_billed_beside_the_plan() {
    let world = World::start().await;
    let storage = meter_spec(json!({"eventType": "storage", "aggregation": "Sum", "valueProperty": "bytes"}));
    world
        .region
        .records
        .put_meter(&"storage".parse().expect("a name"), &source("m2", 1), &storage, &by())
        .await
        .expect("meter");
    world
        .plan(
            "backup",
            json!({"prices": [
        {"name": "backup", "flat": {"amount": "10"}},
        {"name": "stored", "meterRef": {"name": "storage"}, "perUnit": {"amount": "1"}}]}),
        )
        .await;
    let terms = json!({"addOns": [{"planRef": {"name": "backup"}, "quantity": "2"}], "changes": [
        {"at": "2026-07-11T00:00:00Z", "pause": true}, {"at": "2026-07-21T00:00:00Z", "resume": true},
        {"at": "2026-08-01T00:00:00Z", "addOns": []}]});
    let subscription = world.subscribe("starter", terms).await;
    // 10 of 31 days twice… without the pause: 21 days of 100 and of twice 10.
    let july = world.bill(&subscription, 0).await;
    assert_eq!(shown(&july).last().map(String::as_str), Some("total 81.29"));
    assert!(shown(&july).contains(&"stored 0.00".to_owned()), "{:?}", shown(&july));
    assert_eq!(shown(&world.bill(&subscription, 0).await), ["base 100.00", "calls 0.00", "total 100.00"]);
    world.region.end().await;
}

#[tokio::test]
async fn a_subscription_that_ends_in_its_trial_is_never_made_and_wrong_terms_name_their_field() {
    let world = World::start().await;
    let nothing = world
        .try_subscribe(
            "starter",
            json!({"trial": {"days": 14}, "changes": [{"at": "2026-07-02T00:00:00Z", "cancel": "AtOnce"}]}),
        )
        .await;
    assert!(matches!(nothing, Err(SubscriptionError::NothingToBill)), "{nothing:?}");
    let early = world
        .try_subscribe("starter", json!({"changes": [{"at": "2026-06-30T00:00:00Z", "pause": true}]}))
        .await;
    assert!(
        matches!(&early, Err(SubscriptionError::Terms(error)) if error.field == "changes[0].at"),
        "{early:?}"
    );
    world.region.end().await;
}

#[tokio::test]
async fn the_platforms_own_plan_changes_with_the_next_period_and_its_zone_with_a_new_subscription() {
    let world = World::start().await;
    world.plan("pro", json!({"prices": [{"name": "base", "flat": {"amount": "310"}}]})).await;
    let own = async || {
        let listed = world.acme.subscriptions(None, &Page::first(10)).await.expect("listed").items;
        listed
            .into_iter()
            .filter(|subscription| subscription.customer.as_str().is_empty())
            .collect::<Vec<_>>()
    };
    let first = own().await.remove(0);
    let july = world.bill(&first, 0).await;
    let put = async |generation, plan: &str, zone: &str| {
        let more =
            json!({"planRef": {"name": plan}, "billingStart": "2026-07-01T00:00:00Z", "timeZone": zone});
        let request = tenant_request("acme", generation, more, &[("default", 'a')]);
        world.region.records.put_tenant(&request, &by()).await.expect("tenant");
    };
    put(2, "pro", "UTC").await;
    let again = world.acme.period_terms(&first.id, Some(july.period_start)).await.expect("terms");
    assert_eq!(
        again.plan.name.as_str(),
        "starter",
        "July is still explained by the plan that it was billed by"
    );
    put(3, "starter", "UTC").await;
    put(4, "pro", "UTC").await;
    assert_eq!(own().await[0].terms.changes.len(), 1, "what never held is forgotten");
    assert_eq!(shown(&world.bill(&first, 0).await), ["base 310.00", "total 310.00"]);

    put(5, "pro", "Asia/Tokyo").await;
    let both = own().await;
    assert_eq!(both.len(), 2);
    assert_eq!((both[0].state, both[0].ends_at), (SubscriptionState::Ended, Some(instant("2026-09-01"))));
    let next = both[1].next_period.expect("a period");
    assert_eq!(next.start, instant("2026-09-01"), "nothing is billed twice and nothing is left out");
    assert_eq!(next.end, instant("2026-10-01") - 9.hours());
    world.region.end().await;
}
