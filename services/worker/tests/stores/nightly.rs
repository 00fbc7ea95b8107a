//! What runs every night: invoices are computed again, and time does to credit ledgers what is due.

use meridian_billing::ledger::GrantSpec;
use meridian_worker::{
    wire::{AdvanceLedgersInput, AdvancedLedgers, VerifiedInvoices, VerifyInvoicesInput},
    workflows::{AdvanceLedgers, VerifyInvoices},
};
use serde_json::json;
use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use uuid::Uuid;

use crate::world::{PATIENCE, World, by, raw};

impl World {
    async fn verify(&self, id: &str) -> VerifiedInvoices {
        let options = WorkflowStartOptions::new(self.name.clone(), self.scoped(id)).build();
        let input = VerifyInvoicesInput::default();
        let handle = self.client.start_workflow(VerifyInvoices::run, input, options).await.expect("started");
        let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
        result.await.expect("the check ends").expect("the check succeeds")
    }

    async fn advance_ledgers(&self, id: &str) -> AdvancedLedgers {
        let options = WorkflowStartOptions::new(self.name.clone(), self.scoped(id)).build();
        let input = AdvanceLedgersInput::default();
        let handle = self.client.start_workflow(AdvanceLedgers::run, input, options).await.expect("started");
        let result = tokio::time::timeout(PATIENCE, handle.get_result(WorkflowGetResultOptions::default()));
        result.await.expect("the sweep ends").expect("the sweep succeeds")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_somebody_changed_in_the_database_is_found_and_named() {
    let world = World::start().await;
    world.worker(&[]);
    world.use_calls(12_000).await;
    let july = world.july();
    let closed = world.close(&july).await.expect("closed");
    let sound = VerifiedInvoices { identical: 1, ..VerifiedInvoices::default() };
    assert_eq!(world.verify("verify 1").await, sound);

    // The triggers stand in the way of everybody but the tables' owner.
    let mut owner = raw(&world.name).await;
    for statement in [
        "SET meridian.every_tenant = 'on'",
        "ALTER TABLE invoices DISABLE TRIGGER USER",
        "UPDATE invoices SET computation = replace(computation, '\"12000\"', '\"11000\"')",
    ] {
        sqlx::query(statement).execute(&mut owner).await.expect(statement);
    }
    let differing =
        VerifiedInvoices { differing: 1, examples: vec![closed.invoice], ..VerifiedInvoices::default() };
    assert_eq!(world.verify("verify 2").await, differing);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_that_ended_show_it_in_their_ledger_the_next_morning() {
    let world = World::start().await;
    world.worker(&[]);
    let customer = world.subscription.customer_id.clone();
    let spec = json!({
        "name": "welcome", "amount": "50", "currency": "USD",
        "effectiveAt": "2026-07-01T00:00:00Z", "expiresAt": "2026-07-02T00:00:00Z",
    });
    let spec = GrantSpec::from_json(&spec).expect("a grant");
    let given_at = "2026-07-01T00:00:00Z".parse().expect("an instant");
    world.tenant().create_grant(&customer, &spec, given_at, Uuid::now_v7(), &by()).await.expect("given");
    let ended = AdvancedLedgers { ledgers: 1, entries: 1, failed: 0 };
    assert_eq!(world.advance_ledgers("ledgers 1").await, ended);
    assert_eq!(world.advance_ledgers("ledgers 2").await, AdvancedLedgers::default(), "once is enough");
    let currency = "USD".parse().expect("a currency");
    let entries = world.tenant().ledger_entries(&customer, currency, None, 10).await.expect("asked").items;
    assert_eq!(entries.last().map(|entry| entry.at.to_string()).as_deref(), Some("2026-07-02T00:00:00Z"));
    world.end().await;
}
