//! From usage to an invoice and back to its events, as a tenant sees it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use meridian_billing::{
    decimal::Quantity,
    invoice::{Computation, LateUsage, PriceUsage},
    price::Usage,
};
use meridian_records::{BilledPeriod, By, InvoiceDraft};
use reqwest::Method;
use serde_json::json;

use crate::region::Region;

/// What the worker does once the period's usage is processed. Returns the draft's id.
pub async fn rate(region: &Region, tenant: &str, subscription: &str, calls: u32) -> String {
    let records = region.tenant(tenant);
    let terms = records.period_terms(&subscription.parse().expect("an id"), None).await.expect("terms");
    let metered = terms.metered().expect("a plan");
    let used = |price| PriceUsage::total(price, Quantity::from_integer(calls.into()), calls.into(), 1);
    let usage =
        metered.iter().map(|price| PriceUsage { unit: Some("call".to_owned()), ..used(price) }).collect();
    let input = terms.invoice_input(usage, Timestamp::now()).expect("an input");
    let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
    records.save_invoice(&draft, &By::new("worker", "test")).await.expect("saved").invoice.id.into_string()
}

#[tokio::test]
async fn twelve_thousand_calls_are_120_00_and_each_line_leads_back_to_its_events() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    region.call("acme", "", 12_000).await;

    let preview = region
        .post("acme", "/v1/invoices/preview", json!({"subscription_id": subscription}))
        .await
        .expect(200);
    assert_eq!((preview["total"].as_str(), preview["status"].as_str()), (Some("120.00"), Some("preview")));
    assert_eq!(preview["period_over"], true);
    // The calls were stored as July ended: before that nobody knew of them.
    for (at, over, total) in [
        ("2026-07-20T00:00:00Z", false, "100.00"),
        ("2026-08-01T00:00:00Z", true, "100.00"),
        ("2026-08-01T00:00:00.000001Z", true, "120.00"),
    ] {
        let asked =
            json!({"subscription_id": subscription, "period_start": "2026-07-01T00:00:00Z", "at": at});
        let then = region.post("acme", "/v1/invoices/preview", asked).await.expect(200);
        assert_eq!((&then["period_over"], &then["total"]), (&json!(over), &json!(total)), "{at}");
        assert_eq!(then["stored_before"], at);
    }

    let id = rate(&region, "acme", &subscription, 12_000).await;
    let draft = region.get("acme", &format!("/v1/invoices/{id}")).await.expect(200);
    assert_eq!((draft["status"].as_str(), draft["number"].as_str()), (Some("draft"), None));
    for (field, text) in [
        ("currency", "USD"),
        ("subtotal", "120.00"),
        ("tax", "0.00"),
        ("total", "120.00"),
        ("period_start", "2026-07-01T00:00:00Z"),
        ("period_end", "2026-08-01T00:00:00Z"),
    ] {
        assert_eq!(draft[field], text, "{field}");
    }
    assert_eq!(draft["lines"], preview_lines_with_ids(&preview, &draft), "the preview said the same");
    let usage = draft["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .find(|line| line["role"] == "usage")
        .expect("a usage line");
    assert_eq!((usage["quantity"].as_str(), usage["amount"].as_str()), (Some("12000"), Some("20.00")));

    let line = usage["id"].as_str().expect("an id");
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = region
            .get("acme", &format!("/v1/invoices/{id}/lines/{line}/events?limit=1000{cursor}"))
            .await
            .expect(200);
        for event in page["data"].as_array().expect("a list") {
            assert_eq!(event["properties"], json!({"path": "/things"}));
            assert!(seen.insert(event["id"].as_str().expect("an id").to_owned()), "{event} twice");
        }
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (12_000, 12));
    let flat = draft["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .find(|line| line["role"] == "flat")
        .expect("a flat line");
    let path = format!("/v1/invoices/{id}/lines/{}/events", flat["id"].as_str().expect("an id"));
    assert_eq!(region.get("acme", &path).await.expect(200)["data"], json!([]));
}

#[tokio::test]
async fn a_preview_shows_what_became_known_of_the_periods_before_as_the_invoice_will() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    region.call("acme", "", 12_000).await;
    let id = rate(&region, "acme", &subscription, 12_000).await;
    region.post("acme", &format!("/v1/invoices/{id}/issue"), json!({})).await.expect(200);
    let before = Timestamp::now();
    region.call_stored_at("acme", "late", 3, before.as_microsecond()).await;
    region.call_stored_at("acme", "", 500, before.as_microsecond() + 1).await;

    let preview = async |start: &str, at: Option<Timestamp>| {
        let asked = json!({"subscription_id": subscription, "period_start": start, "at": at});
        region.post("acme", "/v1/invoices/preview", asked).await.expect(200)
    };
    let lines = |preview: &serde_json::Value| -> Vec<String> {
        let lines = preview["lines"].as_array().expect("lines").iter();
        lines.map(|line| format!("{} {} {}", line["role"], line["quantity"], line["amount"])).collect()
    };
    let july = "2026-07-01T00:00:00Z";
    let august = preview("2026-08-01T00:00:00Z", None).await;
    let (flat, none, late) = (r#""flat" "1" "100.00""#, r#""usage" "0" "0.00""#, r#""usage" "500" "5.00""#);
    assert_eq!(lines(&august), [flat, none, late]);
    assert_eq!((&august["total"], &august["lines"][2]["period_start"]), (&json!("105.00"), &json!(july)));
    // Before it was known; and July's own period, which has all of it.
    assert_eq!(lines(&preview("2026-08-01T00:00:00Z", Some(before)).await), [flat, none]);
    assert_eq!(preview(july, None).await["total"], "125.00");
}

/// The preview's lines with the draft's ids, which a preview cannot have.
fn preview_lines_with_ids(preview: &serde_json::Value, draft: &serde_json::Value) -> serde_json::Value {
    let mut lines = preview["lines"].clone();
    for (line, saved) in
        lines.as_array_mut().expect("lines").iter_mut().zip(draft["lines"].as_array().expect("lines"))
    {
        line["id"] = saved["id"].clone();
    }
    lines
}

#[tokio::test]
async fn issuing_numbers_an_invoice_once_and_moves_to_the_next_period() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let id = rate(&region, "acme", &subscription, 1).await;
    let path = format!("/v1/invoices/{id}/issue");
    let issued = region.post("acme", &path, json!({})).await.expect(200);
    assert_eq!((issued["status"].as_str(), issued["number"].as_str()), (Some("issued"), Some("INV-000001")));
    // No body at all is as good, and nothing changes.
    assert_eq!(region.ask("acme", Method::POST, &path, None).await.expect(200), issued);
    let now = region.get("acme", &format!("/v1/subscriptions/{subscription}")).await.expect(200);
    assert_eq!(now["next_period"]["start"], "2026-08-01T00:00:00Z");
    let list = region.get("acme", &format!("/v1/invoices?subscription_id={subscription}")).await.expect(200);
    assert_eq!(list["data"], json!([issued]));
}

#[tokio::test]
async fn a_line_of_late_usage_leads_back_to_the_late_events_alone() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    region.call("acme", "", 12_000).await;
    let july = rate(&region, "acme", &subscription, 12_000).await;
    region.post("acme", &format!("/v1/invoices/{july}/issue"), json!({})).await.expect(200);
    region.call_stored_at("acme", "", 30, Timestamp::now().as_microsecond()).await;

    // August, as the worker bills it.
    let records = region.tenant("acme");
    let id = subscription.parse().expect("an id");
    let terms = records.period_terms(&id, None).await.expect("terms");
    let told = |billed: &BilledPeriod, calls: i64| {
        let quantity = Quantity::from_integer(calls);
        billed
            .charged
            .iter()
            .map(|told| PriceUsage { usage: Usage::Total(quantity), ..told.clone() })
            .collect()
    };
    let billed = records.billed_periods(&id, terms.subscription.starts_at, terms.period.start).await;
    let billed = billed.expect("July").pop().expect("July");
    let usage = told(&billed, 12_030);
    let late =
        LateUsage::of(billed.invoice.clone(), &billed.input, billed.stored_before, &billed.charged, usage);
    let mut input = terms.invoice_input(told(&billed, 0), Timestamp::now()).expect("an input");
    input.late = vec![late.expect("rated").expect("something new")];
    let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
    let august = records.save_invoice(&draft, &By::new("worker", "test")).await.expect("saved").invoice.id;

    let shown = region.get("acme", &format!("/v1/invoices/{august}")).await.expect(200);
    let of_july = |line: &&serde_json::Value| line["period_start"] == "2026-07-01T00:00:00Z";
    let line = shown["lines"].as_array().expect("lines").iter().find(of_july).expect("a line of July");
    assert_eq!((&line["quantity"], &line["amount"]), (&json!("30"), &json!("0.30")));
    let path = format!("/v1/invoices/{august}/lines/{}/events", line["id"].as_str().expect("an id"));
    let events = region.get("acme", &path).await.expect(200);
    assert_eq!(events["data"].as_array().expect("a list").len(), 30);
}

#[tokio::test]
async fn an_invoice_proves_itself_by_being_computed_again() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let subscription = region.subscription("acme").await;
    let id = rate(&region, "acme", &subscription, 12_000).await;
    let proof = region.post("acme", &format!("/v1/invoices/{id}/recompute"), json!({})).await.expect(200);
    assert_eq!((&proof["identical"], &proof["problem"]), (&json!(true), &json!(null)));
    let stored: serde_json::Value =
        serde_json::from_str(proof["computation"].as_str().expect("a text")).expect("JSON");
    assert_eq!(stored["invoice"]["total"], "120");
}

#[tokio::test]
async fn a_subscription_has_seats_prices_coupons_and_taxes_of_its_own() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let customer = region.customer("acme", "big").await;
    region.call("acme", "big", 12_000).await;
    let subscribe = |terms: serde_json::Value| json!({"customer_id": customer["id"], "plan": "starter", "starts_at": "2026-07-01T00:00:00Z", "terms": terms});
    for (terms, field) in [
        (json!({"quantities": [{"price": "calls", "quantity": "3"}]}), "terms.quantities[0].price"),
        (json!({"overrides": [{"price": "nothing", "included": "5"}]}), "terms.overrides[0].price"),
        (json!({"taxRates": [{"name": "vat", "percent": "-1"}]}), "terms.taxRates[0].percent"),
        (json!({"coupons": [{"name": "none"}]}), "terms.coupons[0]"),
    ] {
        let refused =
            region.post("acme", "/v1/subscriptions", subscribe(terms)).await.problem(422, "invalid");
        assert!(refused["field"].as_str().is_some_and(|found| found.starts_with(field)), "{refused}");
    }
    // 3 × 100, 12,000 less 11,000 included at 0.01, then 20 % off, then 19 % on top.
    let terms = json!({
        "quantities": [{"price": "base", "quantity": "3"}],
        "overrides": [{"price": "calls", "included": "11000"}],
        "coupons": [{"name": "launch", "percent": "20", "duration": "Forever"}],
        "taxRates": [{"name": "vat", "percent": "19"}],
    });
    let made = region.post("acme", "/v1/subscriptions", subscribe(terms)).await.expect(201);
    assert_eq!(made["terms"]["quantities"][0]["quantity"], "3");
    let asked = json!({"subscription_id": made["id"]});
    let preview = region.post("acme", "/v1/invoices/preview", asked).await.expect(200);
    let amounts: Vec<_> = ["subtotal", "discounts", "credits", "tax", "total"]
        .map(|field| preview[field].as_str().expect("text").to_owned())
        .into();
    assert_eq!(amounts, ["310.00", "62.00", "0.00", "47.12", "295.12"]);
}

#[tokio::test]
async fn a_period_that_begins_late_pays_a_part_of_what_is_flat() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let customer = region.customer("acme", "late").await;
    let subscribe =
        json!({"customer_id": customer["id"], "plan": "starter", "starts_at": "2026-07-17T00:00:00Z"});
    let made = region.post("acme", "/v1/subscriptions", subscribe).await.expect(201);
    let preview =
        region.post("acme", "/v1/invoices/preview", json!({"subscription_id": made["id"]})).await.expect(200);
    // 15 of 31 days of 100.
    assert_eq!((&preview["lines"][0]["role"], &preview["total"]), (&json!("proration"), &json!("48.39")));
}

#[tokio::test]
async fn usage_is_told_as_a_total_and_by_window() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    region.customer("acme", "big").await;
    region.call("acme", "big", 62).await;
    region.call("acme", "", 9).await;
    let range = "/v1/usage?meter=api-calls&start=2026-07-01T00:00:00Z&end=2026-08-01T00:00:00Z";
    let days = region.get("acme", &format!("{range}&customer=big&window=day")).await.expect(200);
    assert_eq!((days["quantity"].as_str(), days["unit"].as_str()), (Some("62"), Some("call")));
    let points = days["points"].as_array().expect("points");
    assert_eq!(points.len(), 31);
    assert!(points.iter().all(|point| point["quantity"] == "2"), "{points:?}");
    assert_eq!(region.get("acme", range).await.expect(200)["quantity"], "9");
}

#[tokio::test]
async fn usage_is_proven_from_what_was_sent() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    region.customer("acme", "big").await;
    region.call("acme", "big", 62).await;
    let range = "start=2026-07-03T00:00:00Z&end=2026-07-05T12:00:00Z";
    let proven = format!("/v1/usage/proof?meter=api-calls&customer=big&{range}");
    let proof = region.get("acme", &proven).await.expect(200);
    let figure = json!({"quantity": "5", "events": 5});
    assert_eq!(
        (&proof["from_rollups"], &proof["from_raw"], &proof["equal"]),
        (&figure, &figure, &json!(true))
    );
    // A meter that counts the same events and was made after them.
    let late = json!({"uid": "m9", "generation": 1, "spec": {
        "regionRef": {"name": "test"}, "eventType": "api.call", "aggregation": "UniqueCount", "valueProperty": "path"}});
    region.put("meters/late", late).await.expect(200);
    let late =
        region.get("acme", &format!("/v1/usage/proof?meter=late&customer=big&{range}")).await.expect(200);
    assert_eq!(late["from_rollups"], json!({"quantity": "0", "events": 0}));
    assert_eq!(late["from_raw"], json!({"quantity": "1", "events": 5}));
    assert_eq!(
        (&late["equal"], &late["unusable_events"], &late["altered_events"]),
        (&json!(false), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn lists_come_in_pages_that_hold_everything_once() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    for number in 0..7 {
        region.customer("acme", &format!("customer-{number}")).await;
    }
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = region.get("acme", &format!("/v1/customers?limit=3{cursor}")).await.expect(200);
        keys.extend(
            page["data"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|customer| customer["key"].as_str().expect("a key").to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<String> =
        std::iter::once(String::new()).chain((0..7).map(|number| format!("customer-{number}"))).collect();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn a_customer_lives_from_creation_to_archive() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let made = region.customer("acme", "big").await;
    let path = format!("/v1/customers/{}", made["id"].as_str().expect("an id"));
    let changed = region
        .ask("acme", Method::PATCH, &path, Some(json!({"time_zone": "Asia/Tokyo", "metadata": {"crm": 7}})))
        .await
        .expect(200);
    assert_eq!(
        (&changed["name"], &changed["time_zone"], &changed["metadata"]),
        (&made["name"], &json!("Asia/Tokyo"), &json!({"crm": 7}))
    );
    let subscribe = json!({"customer_id": made["id"], "plan": "starter", "starts_at": "2026-07-15T10:00:00Z", "anchor": "start"});
    let subscription = region.post("acme", "/v1/subscriptions", subscribe).await.expect(201);
    assert_eq!(subscription["time_zone"], "Asia/Tokyo");
    assert_eq!(
        subscription["next_period"],
        json!({"start": "2026-07-15T10:00:00Z", "end": "2026-08-15T10:00:00Z"})
    );
    region.ask("acme", Method::DELETE, &path, None).await.problem(409, "subscribed");
    let end =
        format!("/v1/subscriptions/{}?at=2026-07-20T00:00:00Z", subscription["id"].as_str().expect("an id"));
    let cancelled = region.ask("acme", Method::DELETE, &end, None).await.expect(200);
    assert_eq!(
        (&cancelled["status"], &cancelled["next_period"]["end"]),
        (&json!("cancelled"), &json!("2026-07-20T00:00:00Z"))
    );
    let archived = region.ask("acme", Method::DELETE, &path, None).await.expect(200);
    assert!(archived["archived_at"].is_string());
    assert_eq!(region.get("acme", &path).await.expect(200), archived);
    region.ask("acme", Method::PATCH, &path, Some(json!({"name": "x"}))).await.problem(409, "archived");
}
