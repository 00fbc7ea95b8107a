//! What belongs to another tenant does not exist, on every endpoint that takes an id. The endpoints come from the API's own
//! description: a new one is tested the day it is made, or this test says that it does not know the id.

use meridian_billing::{
    decimal::Quantity,
    invoice::{Computation, PriceUsage},
};
use meridian_records::{By, InvoiceDraft};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    description::operations,
    region::{Region, answer, plan_spec},
};

/// One of everything, of tenant zeta.
struct Belongings {
    customer: String,
    subscription: String,
    invoice: String,
    line: String,
    run: String,
    coupon: String,
    grant: String,
    plan: String,
}

async fn belongings(region: &Region) -> Belongings {
    let customer = region.customer("zeta", "big").await["id"].as_str().expect("an id").to_owned();
    let subscription = region.subscription("zeta").await;
    let records = region.tenant("zeta");
    let terms = records.period_terms(&subscription.parse().expect("an id"), None).await.expect("terms");
    let metered = terms.metered().expect("a plan");
    let usage =
        metered.iter().map(|price| PriceUsage::total(price, Quantity::from_integer(3), 3, 1)).collect();
    let input =
        terms.invoice_input(usage, "2026-09-01T00:00:00Z".parse().expect("an instant")).expect("an input");
    let draft = InvoiceDraft::of(&Computation::of(input).expect("it computes"), &terms);
    let invoice = records.save_invoice(&draft, &By::new("test", "test")).await.expect("saved").invoice;
    let run =
        region.post("zeta", &format!("/v1/subscriptions/{subscription}/close"), json!({})).await.expect(202);
    let coupon = json!({"name": "spring", "percent": "5"});
    region.post("zeta", "/v1/coupons", coupon).await.expect(201);
    let grant =
        json!({"name": "zetas", "amount": "5", "currency": "USD", "effectiveAt": "2026-07-01T00:00:00Z"});
    let grant = region.post("zeta", &format!("/v1/customers/{customer}/grants"), grant).await.expect(201);
    let mut own = plan_spec();
    own["tenantRef"] = json!({"name": "zeta"});
    region.put("plans/zetas-own", json!({"uid": "p9", "generation": 1, "spec": own})).await.expect(200);
    Belongings {
        plan: "zetas-own".to_owned(),
        coupon: "spring".to_owned(),
        grant: grant["id"].as_str().expect("an id").to_owned(),
        customer,
        subscription,
        line: invoice.lines[1].id.clone(),
        invoice: invoice.id.into_string(),
        run: run["workflow_id"].as_str().expect("an id").replace('/', "%2F"),
    }
}

impl Belongings {
    fn id(&self, parameter: &str) -> &str {
        match parameter {
            "customer_id" => &self.customer,
            "subscription_id" => &self.subscription,
            "invoice_id" => &self.invoice,
            "line_id" => &self.line,
            "workflow_id" => &self.run,
            "coupon_name" => &self.coupon,
            "plan_name" => &self.plan,
            other => panic!("the API has a new kind of id, {other}: give one of tenant zeta to this test"),
        }
    }

    /// The path with zeta's ids in it; None when it has none.
    fn path(&self, template: &str) -> Option<String> {
        let fill = |part: &str| match part.strip_prefix('{') {
            Some(parameter) => self.id(parameter.trim_end_matches('}')).to_owned(),
            None => part.to_owned(),
        };
        template.contains('{').then(|| template.split('/').map(fill).collect::<Vec<_>>().join("/"))
    }
}

/// The body that the description gives as an example.
fn example(document: &Value, operation: &Value) -> Option<Value> {
    let schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?;
    let name = schema.rsplit('/').next()?;
    let example = &document["components"]["schemas"][name]["example"];
    assert!(example.is_object(), "{name} has no example");
    Some(example.clone())
}

#[tokio::test]
async fn an_id_of_another_tenant_is_not_found_on_any_endpoint() {
    let region = Region::start().await.with_catalogue(&["acme", "zeta"]).await;
    let theirs = belongings(&region).await;
    let document = answer(region.rest_request(Method::GET, "/openapi.json")).await.expect(200);
    let with_ids: Vec<(Method, String, Option<Value>)> = operations(&document)
        .into_iter()
        .filter_map(|(method, template, operation)| {
            Some((method, theirs.path(&template)?, example(&document, &operation)))
        })
        .collect();
    assert!(with_ids.len() >= 10, "{} endpoints take an id", with_ids.len());
    for (method, path, body) in &with_ids {
        region.ask("acme", method.clone(), path, body.clone()).await.problem(404, "not_found");
    }
    // Nothing came of it, and the owner is served by the same requests: so it was the tenant that made the difference. What
    // takes something away comes last.
    let (takes_away, serves): (Vec<_>, Vec<_>) =
        with_ids.iter().partition(|(method, ..)| *method == Method::DELETE);
    for (method, path, body) in serves.into_iter().chain(takes_away) {
        let answer = region.ask("zeta", method.clone(), path, body.clone()).await;
        assert!(
            !["404", "401"].contains(&answer.status.as_str()),
            "{method} {path}: {} {}",
            answer.status,
            answer.body
        );
    }
    println!("{} endpoints with ids", with_ids.len());
}

#[tokio::test]
async fn an_id_of_another_tenant_in_a_filter_or_body_is_not_found_either() {
    let region = Region::start().await.with_catalogue(&["acme", "zeta"]).await;
    let theirs = belongings(&region).await;
    let document = answer(region.rest_request(Method::GET, "/openapi.json")).await.expect(200);
    let mut filters = 0;
    for (method, path, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            if parameter["in"] == "query" && name.ends_with("_id") {
                let filtered = format!("{path}?{name}={}", theirs.id(name));
                region.ask("acme", method.clone(), &filtered, None).await.problem(404, "not_found");
                region.ask("zeta", method.clone(), &filtered, None).await.expect(200);
                filters += 1;
            }
        }
    }
    assert_eq!(filters, 2);
    let subscribe = json!({"customer_id": theirs.customer, "plan": "starter"});
    region.post("acme", "/v1/subscriptions", subscribe).await.problem(404, "not_found");
    let preview = json!({"subscription_id": theirs.subscription});
    region.post("acme", "/v1/invoices/preview", preview).await.problem(404, "not_found");
    let own = region.subscription("acme").await;
    let redeem = json!({"coupon": theirs.coupon});
    region.post("acme", &format!("/v1/subscriptions/{own}/coupons"), redeem).await.problem(422, "invalid");
    let usage = "/v1/usage?meter=api-calls&customer=big&start=2026-07-01T00:00:00Z&end=2026-08-01T00:00:00Z";
    region.get("acme", usage).await.problem(404, "not_found");
    region.get("zeta", usage).await.expect(200);
    let proof = usage.replace("/v1/usage", "/v1/usage/proof");
    region.get("acme", &proof).await.problem(404, "not_found");
    region.get("zeta", &proof).await.expect(200);
}

#[tokio::test]
async fn lists_hold_nothing_of_another_tenant() {
    let region = Region::start().await.with_catalogue(&["acme", "zeta"]).await;
    let theirs = belongings(&region).await;
    region.call("zeta", "", 5).await;
    for path in ["/v1/customers", "/v1/subscriptions", "/v1/invoices", "/v1/quarantine", "/v1/coupons"] {
        let text = region.get("acme", path).await.expect(200).to_string();
        for id in [
            &theirs.customer,
            &theirs.subscription,
            &theirs.invoice,
            &theirs.line,
            &theirs.coupon,
            &theirs.grant,
        ] {
            assert!(!text.contains(id.as_str()), "{path} shows {id}");
        }
    }
    let range = "meter=api-calls&start=2026-07-01T00:00:00Z&end=2026-08-01T00:00:00Z";
    assert_eq!(region.get("acme", &format!("/v1/usage?{range}")).await.expect(200)["quantity"], "0");
    assert_eq!(region.get("zeta", &format!("/v1/usage?{range}")).await.expect(200)["quantity"], "5");
}
