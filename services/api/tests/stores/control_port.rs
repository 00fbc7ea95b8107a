//! The operator's side: twice is once, a bad spec names its field, what is not there yet may be said again.

use reqwest::Method;
use serde_json::{Value, json};

use crate::region::{CONTROL_TOKEN, Region, answer, hash_of, key_of, meter_spec, plan_spec, tenant_body};
use meridian_api::config::Limits;

async fn listing(region: &Region) -> Value {
    let request = region.control_request(Method::GET, "/control/v1/catalogue").bearer_auth(CONTROL_TOKEN);
    answer(request).await.expect(200)
}

#[tokio::test]
async fn putting_twice_writes_nothing_the_second_time() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let version = region.records.catalogue_version().await.expect("a version");
    let meter = json!({"uid": "m1", "generation": 1, "spec": meter_spec()});
    let plan = json!({"uid": "p1", "generation": 1, "spec": plan_spec()});
    for (path, body) in
        [("meters/api-calls", meter), ("plans/starter", plan), ("tenants/acme", tenant_body("acme"))]
    {
        let again = region.put(path, body).await.expect(200);
        let name = path.split('/').nth(1).expect("a name");
        assert_eq!(again, json!({"name": name, "generation": 1, "version": 1, "changed": false}));
    }
    assert_eq!(region.records.catalogue_version().await.expect("a version"), version);
}

#[tokio::test]
async fn the_listing_is_what_was_put() {
    let region = Region::start().await.with_catalogue(&["acme"]).await;
    let entry = |name: &str, uid: &str| json!({"name": name, "uid": uid, "generation": 1, "version": 1, "archived": false});
    let mut tenant = entry("acme", "uid-acme");
    tenant["apiKeys"] = json!([{"name": "default", "hash": hash_of(&key_of("acme"))}]);
    assert_eq!(
        listing(&region).await,
        json!({"meters": [entry("api-calls", "m1")], "plans": [entry("starter", "p1")], "tenants": [tenant]})
    );
    for _ in 0..2 {
        let delete =
            region.control_request(Method::DELETE, "/control/v1/meters/api-calls").bearer_auth(CONTROL_TOKEN);
        answer(delete).await.expect(200);
    }
    assert_eq!(listing(&region).await["meters"][0]["archived"], true);
}

#[tokio::test]
async fn a_bad_spec_is_422_with_its_field() {
    let region = Region::start().await.with_catalogue(&[]).await;
    let plan = |change: fn(&mut Value)| {
        let mut spec = plan_spec();
        change(&mut spec);
        json!({"uid": "p2", "generation": 1, "spec": spec})
    };
    let cases: [(Value, &str); 6] = [
        (plan(|spec| spec["currency"] = json!("usd")), "spec.currency"),
        (plan(|spec| spec["prices"] = json!([])), "spec.prices"),
        (plan(|spec| spec["prices"][1]["perUnit"]["amount"] = json!(0.01)), "spec.prices[1].perUnit.amount"),
        (plan(|spec| spec["prices"][1]["perUnit"]["amount"] = json!("-1")), "spec.prices[1].perUnit.amount"),
        (plan(|spec| spec["interval"]["count"] = json!(0)), "spec.interval.count"),
        (
            plan(|spec| {
                spec["prices"][1].as_object_mut().expect("a price").remove("meterRef");
            }),
            "spec.prices[1].meterRef",
        ),
    ];
    for (body, field) in cases {
        let problem = region.put("plans/broken", body).await.problem(422, "invalid");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let meter = json!({"uid": "m2", "generation": 1, "spec": {"regionRef": {"name": "r"}, "eventType": "e", "aggregation": "Sum"}});
    assert_eq!(
        region.put("meters/bytes", meter).await.problem(422, "invalid")["field"],
        "spec.valueProperty"
    );
    let mut tenant = tenant_body("acme");
    tenant["spec"]["timeZone"] = json!("Europe/Nowhere");
    assert_eq!(region.put("tenants/acme", tenant).await.problem(422, "invalid")["field"], "spec.timeZone");
    let mut tenant = tenant_body("acme");
    tenant["apiKeys"][0]["hash"] = json!("ABC");
    assert_eq!(region.put("tenants/acme", tenant).await.problem(422, "invalid")["field"], "apiKeys[0].hash");
    assert_eq!(listing(&region).await["tenants"], json!([]), "nothing of a refused tenant stays");
}

#[tokio::test]
async fn what_past_usage_rests_on_is_422_and_names_the_field() {
    let region = Region::start().await.with_catalogue(&[]).await;
    let mut spec = meter_spec();
    spec["eventType"] = json!("other");
    let changed = json!({"uid": "m1", "generation": 2, "spec": spec});
    assert_eq!(
        region.put("meters/api-calls", changed).await.problem(422, "invalid")["field"],
        "spec.eventType"
    );
}

#[tokio::test]
async fn what_is_not_there_yet_is_409_and_works_once_it_is() {
    let region = Region::start().await;
    let plan = json!({"uid": "p1", "generation": 1, "spec": plan_spec()});
    let problem = region.put("plans/starter", plan.clone()).await.problem(409, "meter_missing");
    assert_eq!(problem["field"], "spec.prices[1].meterRef.name");
    region.put("tenants/acme", tenant_body("acme")).await.problem(409, "plan_missing");
    region
        .put("meters/api-calls", json!({"uid": "m1", "generation": 1, "spec": meter_spec()}))
        .await
        .expect(200);
    region.put("plans/starter", plan).await.expect(200);
    region.put("tenants/acme", tenant_body("acme")).await.expect(200);
}

#[tokio::test]
async fn a_price_that_does_not_fit_its_meter_is_422_and_a_meter_that_does_not_fit_its_price_is_409() {
    let region = Region::start().await.with_catalogue(&[]).await;
    let mut plan = plan_spec();
    plan["prices"][1]["bucket"] = json!({"size": "Hour", "groupBy": ["model"]});
    let plan = json!({"uid": "p2", "generation": 1, "spec": plan});
    let problem = region.put("plans/hourly", plan.clone()).await.problem(422, "meter_misfit");
    assert_eq!(problem["field"], "spec.prices[1].bucket.groupBy[0]", "{problem}");
    let meter = |uid: &str, group_by: Value| {
        let mut spec = meter_spec();
        spec["groupBy"] = group_by;
        json!({"uid": uid, "generation": 1, "spec": spec})
    };
    region.put("meters/api-calls", meter("m2", json!(["model"]))).await.expect(200);
    region.put("plans/hourly", plan).await.expect(200);
    let problem = region.put("meters/api-calls", meter("m3", json!([]))).await.problem(409, "plan_misfit");
    let detail = problem["detail"].as_str().expect("a sentence");
    assert!(detail.contains("\"hourly\"") && detail.contains("does not group by \"model\""), "{detail}");
}

#[tokio::test]
async fn a_dedicated_region_refuses_every_other_tenant() {
    let region = Region::start_with(Limits::default(), Some("acme")).await.with_catalogue(&["acme"]).await;
    region.put("tenants/zeta", tenant_body("zeta")).await.problem(409, "tenancy_refused");
}
