//! What a void invoice spent goes back, on a real Postgres: in here, because only the void of an invoice may ask for it.

use jiff::Timestamp;
use meridian_billing::{decimal::Amount, ids::InvoiceId, money::Currency};
use serde_json::json;

use super::take_back;
use region::{Region, by};

#[allow(dead_code, reason = "made for the tests beside this crate, which use all of it")]
#[path = "../../tests/stores/region.rs"]
mod region;

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

async fn void(region: &Region, invoice: &InvoiceId, at: &str) {
    let scope = crate::Scope::of(region::tenant("acme"));
    let mut transaction = scope.begin(&region.records.pool).await.expect("begun");
    take_back(&mut transaction, scope.tenant(), invoice, instant(at)).await.expect("taken back");
    transaction.commit().await.expect("committed");
}

async fn remaining(region: &Region, customer: &str, currency: Currency, at: &str) -> Vec<Amount> {
    let standing =
        region.tenant("acme").credit_standing(customer, currency, instant(at)).await.expect("asked");
    standing.balances.into_iter().map(|balance| balance.remaining).collect()
}

#[tokio::test]
async fn what_a_void_invoice_spent_goes_back_once_and_to_what_has_not_ended() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let customer = region.add_customer("acme", "big").await;
    let subscription = region.subscribe_customer("acme", &customer).await;
    let draft = region.save_july(&subscription, 0).await;
    let july = "2026-07-01T00:00:00Z";
    let more = json!({"amount": "30", "effectiveAt": july, "expiresAt": "2026-08-03T00:00:00Z"});
    region.grant("acme", &customer.id, "ends", july, more).await;
    region.grant("acme", &customer.id, "stays", july, json!({"amount": "90", "effectiveAt": july})).await;
    let acme = region.tenant("acme");
    acme.issue_invoice(&draft.id, instant("2026-08-02T00:00:00Z"), &by()).await.expect("issued");
    let left = async |at: &str| remaining(&region, &customer.id, draft.currency, at).await;
    let (zero, ninety) = (Amount::ZERO, Amount::from_integer(90));
    assert_eq!(left("2026-08-02T00:00:00Z").await, [zero, Amount::from_integer(20)]);

    void(&region, &draft.id, "2026-08-05T00:00:00.000000999Z").await;
    assert_eq!(
        left("2026-08-05T00:00:00Z").await,
        [zero, ninety],
        "a void does not make credits live longer"
    );
    void(&region, &draft.id, "2026-08-05T00:00:00Z").await;
    assert_eq!(left("2026-08-06T00:00:00Z").await, [zero, ninety]);
    region.end().await;
}

#[tokio::test]
async fn an_invoice_that_spent_nothing_is_void_without_a_trace() {
    let region = Region::start().await.with_catalogue().await;
    region.add_tenant("acme", 'a').await;
    let customer = region.add_customer("acme", "big").await;
    let subscription = region.subscribe_customer("acme", &customer).await;
    let draft = region.save_july(&subscription, 0).await;
    let acme = region.tenant("acme");
    acme.issue_invoice(&draft.id, instant("2026-08-02T00:00:00Z"), &by()).await.expect("issued");
    void(&region, &draft.id, "2026-08-05T00:00:00Z").await;
    let entries = acme.ledger_entries(&customer.id, draft.currency, None, 9).await.expect("asked");
    assert_eq!(entries.items, [], "the customer was never given anything");
    let later = json!({"amount": "90", "effectiveAt": "2026-07-01T00:00:00Z"});
    region.grant("acme", &customer.id, "later", "2026-08-05T00:00:00Z", later).await;
    void(&region, &draft.id, "2026-08-06T00:00:00Z").await;
    let entries = acme.ledger_entries(&customer.id, draft.currency, None, 9).await.expect("asked");
    assert_eq!(entries.items.len(), 1, "the grant alone");
    region.end().await;
}
