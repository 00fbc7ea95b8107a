//! A period is closed once, whoever closes it and how often.

use std::time::Duration;

use jiff::Timestamp;
use meridian_billing::{invoice::Computation, invoice_state::InvoiceStatus};
use meridian_records::{InvoiceChange, InvoiceStep};
use meridian_worker::{
    wire::{AggregateUsage, ClosePeriod, ClosedPeriod},
    workflows::{AggregateUsageWorkflow, CloseBillingPeriod, GenerateInvoice},
};
use temporalio_client::{
    WorkflowGetResultOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
};

use uuid::Uuid;

use crate::world::{PATIENCE, World, by};

impl World {
    /// Starts the closing of a period, or joins the one that is under way: as the api does.
    pub async fn close(&self, close: &ClosePeriod) -> Result<ClosedPeriod, String> {
        let options = WorkflowStartOptions::new(self.name.clone(), self.scoped(&close.workflow_id()))
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .build();
        let started = self.client.start_workflow(CloseBillingPeriod::run, close.clone(), options).await;
        let handle = started.expect("Temporal starts it");
        let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
        result.await.expect("the workflow ends").map_err(|error| format!("{error:?}"))
    }

    /// The same under the name of ruling C9, and under an id of its own.
    pub async fn generate(&self, close: &ClosePeriod, id: &str) -> Result<ClosedPeriod, String> {
        let options = WorkflowStartOptions::new(self.name.clone(), self.scoped(id)).build();
        let started = self.client.start_workflow(GenerateInvoice::run, close.clone(), options).await;
        let handle = started.expect("Temporal starts it");
        let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
        result.await.expect("the workflow ends").map_err(|error| format!("{error:?}"))
    }

    /// Tests share a Temporal server.
    pub fn scoped(&self, id: &str) -> String {
        format!("{}/{id}", self.name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_period_twice_yields_one_invoice() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(12_000).await;

    let july = world.july();
    let (first, joined) = tokio::join!(world.close(&july), world.close(&july));
    let (first, joined) = (first.expect("closed"), joined.expect("closed"));
    assert_eq!(first, joined);
    assert_eq!((first.total.as_str(), first.currency.as_str()), ("120.00", "USD"));
    assert_eq!(
        (first.state.as_str(), first.number.as_deref(), first.lines),
        ("issued", Some("INV-000001"), 2)
    );

    // A late event changes nothing after the issue, however often the period is closed again.
    world.use_calls(500).await;
    assert_eq!(world.close(&july).await.expect("closed again"), first);
    assert_eq!(world.generate(&july, "by its other name").await.expect("closed again"), first);

    let invoices = world.invoices().await;
    assert_eq!(invoices.len(), 1);
    assert_eq!(invoices[0].state, InvoiceStatus::Issued);
    assert_eq!(invoices[0].lines[1].quantity.to_string(), "12000");
    Computation::verify(&invoices[0].computation).expect("it recomputes to the byte");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_close_the_same_period_in_parallel_yield_one_invoice() {
    let world = World::start().await;
    world.worker(&[]);
    world.worker(&[]);
    world.use_calls(10_001).await;

    let july = world.july();
    let ids: Vec<String> = (0..6).map(|number| format!("run {number}")).collect();
    let (a, b, c, d, e, f) = tokio::join!(
        world.generate(&july, &ids[0]),
        world.generate(&july, &ids[1]),
        world.generate(&july, &ids[2]),
        world.generate(&july, &ids[3]),
        world.generate(&july, &ids[4]),
        world.generate(&july, &ids[5]),
    );
    for closed in [a, b, c, d, e, f] {
        let closed = closed.expect("closed");
        assert_eq!((closed.total.as_str(), closed.number.as_deref()), ("100.01", Some("INV-000001")));
    }
    assert_eq!(world.invoices().await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_counts_late_events_until_it_is_issued() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(10_100).await;
    let draft = ClosePeriod { issue: false, ..world.july() };
    let first = world.close(&draft).await.expect("a draft");
    assert_eq!((first.state.as_str(), first.total.as_str(), first.number), ("draft", "101.00", None));

    world.use_calls(100).await;
    let second = world.close(&world.july()).await.expect("issued");
    assert_eq!((second.state.as_str(), second.total.as_str()), ("issued", "102.00"));
    assert_eq!(second.invoice, first.invoice);
    assert_eq!(world.invoices().await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_invoice_is_closed_again_as_the_next_revision_once_somebody_issues_it_again() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(10_100).await;
    let first = world.close(&world.july()).await.expect("issued");
    let change = async |step| {
        let change = InvoiceChange { step, seen_version: None, at: Timestamp::now(), seed: Uuid::now_v7() };
        world.tenant().change_invoice(&first.invoice, &change, &by()).await.expect("changed")
    };
    change(InvoiceStep::Void { reason: "calls were missing".to_owned() }).await;
    world.use_calls(100).await;
    let failure = world.close(&world.july()).await.expect_err("a void invoice is not issued");
    assert!(failure.contains("InvoiceNotIssuable"), "{failure}");
    assert_eq!(world.invoices().await.len(), 1, "nobody asked for another");

    let void = change(InvoiceStep::Reissue { reason: "with all calls".to_owned() }).await;
    let second = world.close(&world.july()).await.expect("issued");
    assert_eq!(
        (second.state.as_str(), second.total.as_str(), second.number.as_deref()),
        ("issued", "102.00", Some("INV-000002"))
    );
    assert_eq!(world.close(&world.july()).await.expect("kept").invoice, second.invoice);
    let invoices = world.invoices().await;
    assert_eq!((invoices.len(), &invoices[0], invoices[1].revision), (2, &void, 1));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_closed_fails_at_once_and_says_why() {
    let world = World::start().await;
    world.worker(&[]);
    let july = world.july();
    let unknown = ClosePeriod {
        subscription: "sub_00000000000000000000000000000000".parse().expect("an id"),
        ..july.clone()
    };
    let no_boundary = ClosePeriod { period_start_us: july.period_start_us + 1, ..july.clone() };
    let year_2100: jiff::Timestamp = "2100-01-01T00:00:00Z".parse().expect("a time");
    let not_over = ClosePeriod { period_start_us: year_2100.as_microsecond(), ..july };
    for (close, code) in
        [(unknown, "NoSuchSubscription"), (no_boundary, "NoSuchPeriod"), (not_over, "PeriodNotOver")]
    {
        let begun = std::time::Instant::now();
        let failure = world.close(&close).await.expect_err(code);
        assert!(failure.contains(code), "{code}: {failure}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{code} was retried");
    }
    assert!(world.invoices().await.is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_kept_for_people_to_look_at() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(77).await;
    let july = world.july();
    let input = AggregateUsage {
        tenant: july.tenant,
        subscription: july.subscription,
        period_start_us: july.period_start_us,
    };
    let options = WorkflowStartOptions::new(world.name.clone(), world.scoped("aggregate")).build();
    let handle =
        world.client.start_workflow(AggregateUsageWorkflow::run, input, options).await.expect("started");
    let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
    assert_eq!(result.await.expect("it ends").expect("aggregated").meters, 1);

    let mut database = crate::world::raw(&world.name).await;
    sqlx::query("SET meridian.every_tenant = 'on'").execute(&mut database).await.expect("set");
    let total: (String, i64) =
        sqlx::query_as("SELECT trim_scale(quantity)::text, events FROM aggregated_usage")
            .fetch_one(&mut database)
            .await
            .expect("one total");
    assert_eq!(total, ("77".to_owned(), 77));
    world.end().await;
}
