//! Credits by the API: given, seen in previews, spent at issue, accounted for.

use serde_json::json;

use crate::{invoices::rate, region::Region};

#[tokio::test]
async fn credits_are_given_previewed_spent_at_issue_and_accounted_for() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let own = region.get("acme", "/v1/customers").await.expect(200)["data"][0]["id"].clone();
    let customer = format!("/v1/customers/{}", own.as_str().expect("an id"));
    let spec = json!({
        "name": "welcome", "amount": "50", "currency": "USD", "effectiveAt": "2026-07-01T00:00:00Z",
        "prices": ["base"],
    });
    let given = region.post("acme", &format!("{customer}/grants"), spec.clone()).await.expect(201);
    assert_eq!((&given["name"], &given["currency"]), (&json!("welcome"), &json!("USD")));
    assert_eq!((&given["spec"]["prices"], &given["spec"]["amount"]), (&json!(["base"]), &json!("50")));
    region.post("acme", &format!("{customer}/grants"), spec).await.problem(409, "name_taken");
    let list = region.get("acme", &format!("{customer}/grants")).await.expect(200);
    assert_eq!(list["data"], json!([given]));

    region.call("acme", "", 12_000).await;
    let preview = json!({"subscription_id": subscription});
    let preview = region.post("acme", "/v1/invoices/preview", preview).await.expect(200);
    assert_eq!((&preview["credits"], &preview["total"]), (&json!("50.00"), &json!("70.00")));

    let draft = rate(&region, "acme", &subscription, 12_000).await;
    let issue = format!("/v1/invoices/{draft}/issue");
    let issued = region.post("acme", &issue, json!({})).await.expect(200);
    assert_eq!((&issued["credits"], &issued["total"]), (&json!("50.00"), &json!("70.00")));
    assert_eq!(region.post("acme", &issue, json!({})).await.expect(200), issued);
    let july = json!({"subscription_id": subscription, "period_start": "2026-07-01T00:00:00Z"});
    let once_more = region.post("acme", "/v1/invoices/preview", july).await.expect(200);
    let said = (&once_more["credits"], &once_more["total"]);
    assert_eq!(said, (&json!("50.00"), &json!("70.00")), "what it spent is its own to spend");
    let again = region.post("acme", &format!("/v1/invoices/{draft}/recompute"), json!({})).await.expect(200);
    assert_eq!(again["identical"], true, "{again}");

    let ledger = region.get("acme", &format!("{customer}/ledger?currency=USD&limit=1")).await.expect(200);
    assert_eq!((&ledger["data"][0]["kind"], &ledger["next_cursor"]), (&json!("grant"), &json!("1")));
    let rest = region.get("acme", &format!("{customer}/ledger?currency=USD&cursor=1")).await.expect(200);
    assert_eq!((&rest["data"][0]["kind"], &rest["next_cursor"]), (&json!("burn"), &json!(null)));
    let of_grant = json!({"name": "welcome", "effective_at": "2026-07-01T00:00:00Z"});
    assert_eq!(
        rest["data"][0]["postings"],
        json!([
            {"account": "available", "grant": of_grant, "invoice_id": null, "price": null, "amount": "-50.00"},
            {"account": "consumed", "grant": of_grant, "invoice_id": null, "price": null, "amount": "50.00"},
        ])
    );
    let standing = async |at: &str| {
        region.get("acme", &format!("{customer}/balances?currency=USD{at}")).await.expect(200)["balances"]
            .clone()
    };
    let balance = |used: &str, remaining: &str| {
        json!([{
            "grant": of_grant, "granted": "50.00", "used": used, "expired": "0.00", "rolled_over": "0.00",
            "remaining": remaining,
        }])
    };
    assert_eq!(standing("").await, balance("50.00", "0.00"));
    assert_eq!(standing("&at=2026-07-15T00:00:00Z").await, balance("0.00", "50.00"), "July was not over");
    assert_eq!(standing("&at=2026-06-30T00:00:00Z").await, json!([]), "before it was given");
}

#[tokio::test]
async fn a_draft_of_an_older_engine_is_to_be_closed_again() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let own = region.get("acme", "/v1/customers").await.expect(200)["data"][0]["id"].clone();
    let spec = json!({"name": "g", "amount": "5", "currency": "USD", "effectiveAt": "2026-07-01T00:00:00Z"});
    let grants = format!("/v1/customers/{}/grants", own.as_str().expect("an id"));
    region.post("acme", &grants, spec).await.expect(201);
    let draft = rate(&region, "acme", &subscription, 3).await;
    region.behind_our_back("UPDATE invoices SET engine_version = engine_version - 1").await;
    let refused = region.post("acme", &format!("/v1/invoices/{draft}/issue"), json!({})).await;
    refused.problem(409, "draft_outdated");
}
