//! What is billed while its period runs, once: usage that reaches a threshold, and what is paid in advance at the start.

use jiff::Timestamp;
use meridian_billing::{
    catalogue::PlanSpec,
    subscription::{BillingAnchor, CustomTerms},
};
use meridian_records::{NewCustomer, NewSubscription, Source, Subscription};
use meridian_worker::{
    wire::{Cycle, CycleReport},
    workflows::BillThresholds,
};
use serde_json::{Value, json};
use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use uuid::Uuid;

use crate::world::{PATIENCE, World, by};

impl World {
    /// A customer with such terms, from the start of the running month on.
    async fn running(&self, plan: &str, terms: Value) -> Subscription {
        let new = NewCustomer {
            key: "big".parse().expect("a key"),
            name: String::new(),
            time_zone: "UTC".to_owned(),
            metadata: json!({}),
        };
        let customer = self.tenant().create_customer(&new, Uuid::now_v7(), &by()).await.expect("customer");
        let today = Timestamp::now().to_string();
        let new = NewSubscription {
            customer_id: customer.id,
            plan: plan.parse().expect("a name"),
            starts_at: format!("{}-01T00:00:00Z", &today[..7]).parse().expect("an instant"),
            ends_at: None,
            anchor: BillingAnchor::Calendar,
            time_zone: None,
            terms: CustomTerms::from_json(&terms).expect("terms"),
        };
        self.tenant().create_subscription(&new, Uuid::now_v7(), &by()).await.expect("subscribed")
    }

    async fn bill_thresholds(&self, id: &str) -> CycleReport {
        let options = WorkflowStartOptions::new(self.name.clone(), self.scoped(id)).build();
        let handle = self
            .client
            .start_workflow(BillThresholds::run, Cycle::default(), options)
            .await
            .expect("started");
        let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
        result.await.expect("the sweep ends").expect("the sweep succeeds")
    }

    /// Total and part of each invoice of the subscription.
    async fn billed(&self, of: &Subscription) -> Vec<(String, i32)> {
        let mut invoices = self.invoices().await;
        invoices.retain(|invoice| invoice.subscription == of.id && invoice.number.is_some());
        invoices.iter().map(|invoice| (invoice.total.to_string(), invoice.part)).collect()
    }

    async fn wait_for_parts(&self, of: &Subscription, count: usize) {
        let begun = std::time::Instant::now();
        while self.billed(of).await.len() < count {
            assert!(begun.elapsed() < PATIENCE, "{count} invoices never came");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_billed_when_it_reaches_a_threshold_and_not_again() {
    let world = World::start().await;
    world.worker(&[]);
    let every_20 = json!({"thresholds": [{"amount": "20", "recurring": true}]});
    let subscription = world.running("starter", every_20).await;
    let start = subscription.next_period.expect("a period").start;
    world.use_calls_of("big", start, 11_999).await;
    let one = CycleReport { started: 1, under_way: 0 };
    assert_eq!(world.bill_thresholds("thresholds 1").await, one);
    // 19.99 is not 20; nothing tells when the child is done but the next sweep finding nothing under way.
    while world.bill_thresholds(&format!("wait {}", Uuid::now_v7())).await.under_way > 0 {}
    assert_eq!(world.billed(&subscription).await, []);

    world.use_calls_of("big", start, 501).await;
    world.bill_thresholds("thresholds 2").await;
    world.wait_for_parts(&subscription, 1).await;
    assert_eq!(world.billed(&subscription).await, [("25".to_owned(), 1)]);
    world.bill_thresholds("thresholds 3").await;
    while world.bill_thresholds(&format!("wait {}", Uuid::now_v7())).await.under_way > 0 {}
    assert_eq!(world.billed(&subscription).await.len(), 1, "25 of 40");

    world.use_calls_of("big", start, 1_600).await;
    world.bill_thresholds("thresholds 4").await;
    world.wait_for_parts(&subscription, 2).await;
    assert_eq!(world.billed(&subscription).await, [("25".to_owned(), 1), ("16".to_owned(), 2)]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_begins_with_an_invoice_has_one_however_often_a_worker_dies_over_it() {
    let world = World::start().await;
    let prepaid = PlanSpec::from_json(&json!({
        "regionRef": {"name": "test"}, "currency": "USD", "interval": {"unit": "Month", "count": 1},
        "prices": [
            {"name": "base", "flat": {"amount": "50", "billed": "InAdvance"}},
            {"name": "calls", "meterRef": {"name": "api-calls"}, "perUnit": {"amount": "0.01"}},
        ],
    }));
    let source = Source { uid: "prepaid".to_owned(), generation: 1 };
    let name = "prepaid".parse().expect("a name");
    world.records.put_plan(&name, &source, &prepaid.expect("a plan"), &by()).await.expect("the plan");
    let terms = json!({"firstInvoice": "AtStart", "thresholds": [{"amount": "20"}]});
    let subscription = world.running("prepaid", terms).await;
    let start = subscription.next_period.expect("a period").start;
    world.use_calls_of("big", start, 2_500).await;

    let dying = world.worker(&[("MERIDIAN_CRASH_AT", "bill-threshold/saved")]);
    let (_, died) = tokio::join!(world.bill_thresholds("openings 1"), async {
        let died = world.ended(dying).await;
        world.worker(&[]);
        died
    });
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&died), Some(libc::SIGABRT));
    world.wait_for_parts(&subscription, 1).await;
    assert_eq!(world.billed(&subscription).await, [("50".to_owned(), 1)]);
    // From then on it is about usage.
    while world.bill_thresholds(&format!("wait {}", Uuid::now_v7())).await.under_way > 0 {}
    world.wait_for_parts(&subscription, 2).await;
    assert_eq!(world.billed(&subscription).await, [("50".to_owned(), 1), ("25".to_owned(), 2)]);
    world.bill_thresholds("openings 2").await;
    while world.bill_thresholds(&format!("wait {}", Uuid::now_v7())).await.under_way > 0 {}
    assert_eq!(world.billed(&subscription).await.len(), 2);
    world.end().await;
}
