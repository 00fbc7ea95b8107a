//! Usage that becomes known after the invoice of its period is charged with the next one, once.

use jiff::Timestamp;
use meridian_billing::{catalogue::PlanSpec, invoice::Computation};
use meridian_records::{Invoice, InvoiceChange, InvoiceError, InvoiceStep, Source};
use meridian_worker::wire::{ClosePeriod, CycleReport};
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, by};

const AUGUST: &str = "2026-08-01T00:00:00Z";
const SEPTEMBER: &str = "2026-09-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

impl World {
    fn month(&self, start: &str) -> ClosePeriod {
        ClosePeriod { period_start_us: at(start).as_microsecond(), ..self.july() }
    }

    async fn invoice_of(&self, start: &str) -> Invoice {
        let invoices = self.invoices().await;
        let of = invoices.into_iter().filter(|invoice| invoice.period_start == at(start));
        of.max_by_key(|invoice| invoice.revision).expect("an invoice")
    }

    async fn step(&self, invoice: &Invoice, step: InvoiceStep) -> Result<Invoice, InvoiceError> {
        let change = InvoiceChange { step, seen_version: None, at: Timestamp::now(), seed: Uuid::now_v7() };
        self.tenant().change_invoice(&invoice.id, &change, &by()).await
    }
}

fn void() -> InvoiceStep {
    InvoiceStep::Void { reason: "wrong".to_owned() }
}

/// Lines as "role quantity amount month", and that they lead back to the meter that counted them.
fn lines(invoice: &Invoice) -> Vec<String> {
    let lines = invoice.lines.iter().map(|line| {
        let role = line.detail["role"].as_str().expect("a role");
        if role == "usage" {
            assert_eq!(line.meter.as_ref().map(|meter| meter.name.as_str()), Some("api-calls"));
        }
        let month = &line.period_start.to_string()[..7];
        format!("{role} {} {} {month}", line.quantity, line.amount)
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_known_after_an_invoice_is_charged_with_the_next_one_and_only_once() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(12_000).await;
    assert_eq!(world.close(&world.july()).await.expect("closed").total, "120.00");

    // Late for July; and August's own, of which none is charged.
    world.use_calls(500).await;
    world.use_calls_of("", at("2026-08-10T00:00:00Z"), 9_000).await;
    assert_eq!(world.close(&world.month(AUGUST)).await.expect("closed").total, "105.00");
    let august = world.invoice_of(AUGUST).await;
    assert_eq!(lines(&august), ["flat 1 100 2026-08", "usage 9000 0 2026-08", "usage 500 5 2026-07"]);
    Computation::verify(&august.computation).expect("it recomputes to the byte");
    assert_eq!(world.close(&world.month(AUGUST)).await.expect("closed again").total, "105.00");

    // Later still for July, and for August: 9,000 and 1,100 are 100 beyond what is included.
    world.use_calls(50).await;
    world.use_calls_of("", at("2026-08-11T00:00:00Z"), 1_100).await;
    assert_eq!(world.close(&world.month(SEPTEMBER)).await.expect("closed").total, "101.50");
    let september = world.invoice_of(SEPTEMBER).await;
    let expected =
        ["flat 1 100 2026-09", "usage 0 0 2026-09", "usage 50 0.5 2026-07", "usage 1100 1 2026-08"];
    assert_eq!(lines(&september), expected);

    // What is counted on stays; the last one may go, and comes back the same.
    for start in ["2026-07-01T00:00:00Z", AUGUST] {
        let refused = world.step(&world.invoice_of(start).await, void()).await;
        assert!(matches!(refused, Err(InvoiceError::LateUsageBilled)), "{start}: {refused:?}");
    }
    let voided = world.step(&september, void()).await.expect("void");
    world
        .step(&voided, InvoiceStep::Reissue { reason: "right".to_owned() })
        .await
        .expect("to be issued again");
    assert_eq!(world.close(&world.month(SEPTEMBER)).await.expect("closed").total, "101.50");
    let again = world.invoice_of(SEPTEMBER).await;
    assert_eq!((again.revision, lines(&again)), (september.revision + 1, lines(&september)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_charges_late_usage_of_one_and_closes_the_others_together() {
    let world = World::start().await;
    for number in 0..3 {
        world.subscribe(&format!("customer-{number}"), "starter").await;
    }
    world.worker(&[]);
    world.use_calls(12_000).await;
    assert_eq!(world.sweep("july").await, CycleReport { started: 4, under_way: 0 });
    world.wait_for_invoices(4).await;
    world.use_calls_of("customer-1", at("2026-07-20T00:00:00Z"), 10_200).await;
    assert_eq!(world.sweep("august").await, CycleReport { started: 4, under_way: 0 });
    world.wait_for_invoices(8).await;
    let mut august: Vec<(String, String)> = world
        .invoices()
        .await
        .iter()
        .filter(|invoice| invoice.period_start == at(AUGUST))
        .map(|invoice| (invoice.customer.to_string(), invoice.total.to_string()))
        .collect();
    august.sort();
    let shown: Vec<(&str, &str)> = august.iter().map(|(who, total)| (who.as_str(), total.as_str())).collect();
    assert_eq!(shown, [("", "100"), ("customer-0", "100"), ("customer-1", "102"), ("customer-2", "100")]);
    world.end().await;
}

/// The plan counts another way by now, or not at all: a billed period's late usage is counted as the period was.
#[tokio::test(flavor = "multi_thread")]
async fn late_usage_is_counted_by_the_prices_of_its_own_period_though_the_plan_has_none_of_them_any_more() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(12_000).await;
    assert_eq!(world.close(&world.july()).await.expect("closed").total, "120.00");
    let flat_alone = PlanSpec::from_json(&json!({
        "regionRef": {"name": "test"}, "currency": "USD", "interval": {"unit": "Month", "count": 1},
        "prices": [{"name": "base", "flat": {"amount": "100"}}],
    }));
    let (name, source) = ("starter".parse().expect("a name"), Source { uid: "p".to_owned(), generation: 2 });
    world
        .records
        .put_plan(&name, &source, &flat_alone.expect("a plan"), &by())
        .await
        .expect("the next version");
    world.use_calls(500).await;
    assert_eq!(world.close(&world.month(AUGUST)).await.expect("closed").total, "105.00");
    let august = world.invoice_of(AUGUST).await;
    assert_eq!(lines(&august), ["flat 1 100 2026-08", "usage 500 5 2026-07"]);
    world.end().await;
}

/// The draft of August was computed, and July's invoice is made void before August's is issued.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_on_top_of_what_is_void_is_not_issued_and_is_computed_anew() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(12_000).await;
    world.close(&world.july()).await.expect("closed");
    world.use_calls(500).await;
    let draft = ClosePeriod { issue: false, ..world.month(AUGUST) };
    assert_eq!(world.close(&draft).await.expect("a draft").total, "105.00");
    let august = world.invoice_of(AUGUST).await;

    let july = world.invoice_of("2026-07-01T00:00:00Z").await;
    let voided = world.step(&july, void()).await.expect("nothing valid counts on it");
    let refused = world.tenant().issue_invoice(&august.id, Timestamp::now(), &by()).await;
    assert!(matches!(refused, Err(InvoiceError::LateUsageOutdated)), "{refused:?}");

    world
        .step(&voided, InvoiceStep::Reissue { reason: "right".to_owned() })
        .await
        .expect("to be issued again");
    assert_eq!(world.close(&world.july()).await.expect("closed").total, "125.00");
    assert_eq!(world.close(&world.month(AUGUST)).await.expect("closed").total, "100.00");
    world.end().await;
}
