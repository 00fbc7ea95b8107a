//! The sweep finds what is due, closes it, and lets the rest be.

use std::time::Duration;

use meridian_worker::{
    schedules,
    wire::{ClosePeriods, Cycle, CycleReport, DueCursor},
    workflows::BillingCycle,
};
use temporalio_client::{UntypedWorkflow, WorkflowGetResultOptions, WorkflowStartOptions};

use crate::world::{PATIENCE, World};

impl World {
    /// Waits for the run over a page of a sweep that begins with this one.
    pub async fn closed_many(&self, first: DueCursor) {
        let id = ClosePeriods { due: vec![first] }.workflow_id();
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
        let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
        result.await.expect("it ends").expect("it succeeds");
    }

    pub async fn sweep(&self, id: &str) -> CycleReport {
        let options = WorkflowStartOptions::new(self.name.clone(), self.scoped(id)).build();
        let handle =
            self.client.start_workflow(BillingCycle::run, Cycle::default(), options).await.expect("started");
        let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
        result.await.expect("the sweep ends").expect("the sweep succeeds")
    }

    pub async fn wait_for_invoices(&self, count: usize) {
        let begun = std::time::Instant::now();
        while self.invoices().await.iter().filter(|invoice| invoice.number.is_some()).count() < count {
            assert!(begun.elapsed() < PATIENCE, "{count} invoices never came");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_closes_each_due_period_once_and_in_order() {
    let world = World::start().await;
    // Whole months since July 2026; each sweep closes the one that is next.
    let july = world.subscription.starts_at;
    let months = month_number(jiff::Timestamp::now()) - month_number(july);
    assert!(months >= 2, "the machine's clock is before September 2026");
    world.worker(&[]);
    world.use_calls(12_000).await;

    assert_eq!(world.sweep("sweep 1").await, CycleReport { started: 1, under_way: 0 });
    world.wait_for_invoices(1).await;
    assert_eq!(world.sweep("sweep 2").await, CycleReport { started: 1, under_way: 0 });
    world.wait_for_invoices(2).await;

    let invoices = world.invoices().await;
    let starts: Vec<String> = invoices.iter().map(|invoice| invoice.period_start.to_string()).collect();
    assert_eq!(starts, ["2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"]);
    let totals: Vec<String> = invoices.iter().map(|invoice| invoice.total.to_string()).collect();
    assert_eq!(totals, ["120", "100"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_that_is_being_closed_is_left_to_it() {
    let world = World::start().await;
    world.silence("kafka/0");
    world.worker(&[]);
    assert_eq!(world.sweep("sweep 1").await, CycleReport { started: 1, under_way: 0 });
    assert_eq!(world.sweep("sweep 2").await, CycleReport { started: 0, under_way: 1 });
    world.let_speak();
    world.wait_for_invoices(1).await;
    assert_eq!(world.invoices().await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_closes_many_periods_together_and_one_that_cannot_be_billed_holds_up_nobody() {
    let world = World::start().await;
    for number in 0..5 {
        world.subscribe(&format!("customer-{number}"), "starter").await;
    }
    let broken = world.subscribe("broken", "starter").await;
    // Somebody moved its start behind our back: no period begins where the row says.
    let mut database = crate::world::raw(&world.name).await;
    sqlx::query("SET meridian.every_tenant = 'on'").execute(&mut database).await.expect("set");
    sqlx::query("UPDATE subscriptions SET starts_at = '2026-07-02Z' WHERE subscription_id = $1")
        .bind(broken.id.as_str())
        .execute(&mut database)
        .await
        .expect("broken");
    world.worker(&[]);
    world.use_calls(12_000).await;
    assert_eq!(world.sweep("sweep 1").await, CycleReport { started: 7, under_way: 0 });
    world.wait_for_invoices(6).await;
    let mut totals: Vec<(String, Option<String>)> = world
        .invoices()
        .await
        .iter()
        .map(|invoice| (invoice.total.to_string(), invoice.number.clone()))
        .collect();
    totals.sort();
    let shown: Vec<&str> = totals.iter().map(|(total, _)| total.as_str()).collect();
    assert_eq!(shown, ["100", "100", "100", "100", "100", "120"]);
    let numbers: std::collections::BTreeSet<_> =
        totals.into_iter().filter_map(|(_, number)| number).collect();
    assert_eq!((numbers.len(), numbers.last().map(String::as_str)), (6, Some("INV-000006")));

    // The one that is left shows its failure under the id that closing it by hand has.
    let alone = meridian_worker::wire::ClosePeriod { subscription: broken.id.clone(), ..world.july() };
    let handle = world.client.get_workflow_handle::<UntypedWorkflow>(alone.workflow_id());
    // It begins once the others are through.
    let ended = async {
        loop {
            match handle.get_result(WorkflowGetResultOptions::default()).await {
                Err(error) if format!("{error:?}").starts_with("NotFound") => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                ended => return ended,
            }
        }
    };
    let result = tokio::time::timeout(PATIENCE, ended);
    let failure = result.await.expect("it ends").expect_err("it cannot be billed");
    assert!(format!("{failure:?}").contains("NoSuchPeriod"), "{failure:?}");
    assert_eq!(world.invoices().await.len(), 6);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_and_somebody_who_closes_the_same_period_make_one_invoice() {
    let world = World::start().await;
    world.silence("kafka/0");
    world.worker(&[]);
    world.worker(&[]);
    world.use_calls(12_000).await;
    let july = world.july();
    let (closed, ()) = tokio::join!(world.close(&july), async {
        assert_eq!(world.sweep("sweep 1").await, CycleReport { started: 1, under_way: 0 });
        world.let_speak();
    });
    let closed = closed.expect("closed");
    assert_eq!((closed.total.as_str(), closed.number.as_deref()), ("120.00", Some("INV-000001")));
    // The sweep's own run is through, too.
    let due = DueCursor { period: world.subscription.next_period.expect("July"), ..world.due_august() };
    world.closed_many(due).await;
    let invoices = world.invoices().await;
    assert_eq!(invoices.iter().map(|invoice| &invoice.id).collect::<Vec<_>>(), [&closed.invoice]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_grace_of_late_events_nothing_is_due() {
    let world = World::start().await;
    world.worker(&[("MERIDIAN_CLOSE_GRACE_SECONDS", "3600")]);
    // The subscription was made a moment ago with a start in the past: it has its grace too.
    assert_eq!(world.sweep("sweep 1").await, CycleReport::default());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_made_once_and_brought_up_to_date() {
    let world = World::start().await;
    world.worker(&[("MERIDIAN_SWEEP_SECONDS", "7200")]);
    scheduled(&world, &schedules::sweep_id(&world.name), 7200).await;
    world.worker(&[("MERIDIAN_SWEEP_SECONDS", "3600")]);
    scheduled(&world, &schedules::sweep_id(&world.name), 3600).await;
    let monthly = world.client.get_schedule_handle(schedules::monthly_id(&world.name));
    let next = monthly.describe(Default::default()).await.expect("it exists").future_action_times();
    let next = jiff::Timestamp::try_from(next[0]).expect("a time").to_zoned(jiff::tz::TimeZone::UTC);
    assert_eq!((next.day(), next.hour(), next.minute()), (1, 0, 5));
    world.end().await;
}

/// Waits until the schedule runs that often.
async fn scheduled(world: &World, id: &str, every_seconds: i64) {
    let begun = std::time::Instant::now();
    loop {
        if let Ok(description) = world.client.get_schedule_handle(id).describe(Default::default()).await {
            let times: Vec<jiff::Timestamp> = description
                .future_action_times()
                .into_iter()
                .map(|time| jiff::Timestamp::try_from(time).expect("a time"))
                .collect();
            if times.windows(2).all(|pair| pair[1].as_second() - pair[0].as_second() == every_seconds)
                && times.len() > 1
            {
                return;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "{id} never ran every {every_seconds} s");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn month_number(at: jiff::Timestamp) -> i32 {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    i32::from(at.year()) * 12 + i32::from(at.month())
}
