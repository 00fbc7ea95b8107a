//! What the operator says about meters, plans and tenants: said twice it writes nothing; history is never rewritten.

use meridian_billing::ids::{MeterName, PlanName};
use meridian_records::{ControlError, ManagedBy, Page, SubscriptionState};
use serde_json::json;
use sqlx::Row;

use crate::region::{Region, by, draft, meter_spec, plan_spec, source, tenant, tenant_request};

fn meter(name: &str) -> MeterName {
    MeterName::new(name).expect("a name")
}

fn plan(name: &str) -> PlanName {
    PlanName::new(name).expect("a name")
}

/// How often any row of any table was written since the schema was made, by Postgres' own transaction marks.
async fn fingerprint(region: &Region) -> Vec<String> {
    let mut owner = region.raw_over_all().await;
    let mut marks = Vec::new();
    for table in [
        "catalogue",
        "metrics",
        "metric_versions",
        "plans",
        "plan_versions",
        "plan_metrics",
        "organizations",
        "projects",
        "api_keys",
        "customers",
        "subscriptions",
        "audit_logs",
    ] {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT count(*)::text || '/' || coalesce(sum(xmin::text::bigint), 0)::text AS mark FROM {table}"
        ));
        let row = sqlx::query(query).fetch_one(&mut owner).await.expect("marks");
        marks.push(format!("{table} {}", row.get::<String, _>("mark")));
    }
    marks
}

#[tokio::test]
async fn saying_the_same_twice_writes_nothing() {
    let region = Region::start().await.with_catalogue().await;
    let request = tenant_request(
        "acme",
        4,
        json!({"planRef": {"name": "starter"}, "projects": ["web"]}),
        &[("default", 'a')],
    );
    let first = region.records.put_tenant(&request, &by()).await.expect("stored");
    let before = fingerprint(&region).await;
    let again = region.records.put_tenant(&request, &by()).await.expect("stored");
    assert_eq!((first.changed, again.changed, first.version, again.version), (true, false, 1, 1));
    let again = region
        .records
        .put_meter(&meter("api-calls"), &source("m1", 1), &meter_spec(json!({})), &by())
        .await
        .expect("ok");
    assert!(!again.changed);
    let again = region
        .records
        .put_plan(&plan("starter"), &source("p1", 1), &plan_spec(json!({})), &by())
        .await
        .expect("ok");
    assert!(!again.changed);
    assert_eq!(fingerprint(&region).await, before, "not one row was written");
    region.end().await;
}

#[tokio::test]
async fn a_changed_plan_gets_a_new_version_and_the_old_one_stays() {
    let region = Region::start().await.with_catalogue().await;
    let dearer = plan_spec(json!({"prices": [{"name": "base", "flat": {"amount": "200"}}]}));
    let version = region.records.catalogue_version().await.expect("version");
    let synced =
        region.records.put_plan(&plan("starter"), &source("p1", 2), &dearer, &by()).await.expect("stored");
    assert_eq!((synced.version, synced.generation, synced.changed), (2, 2, true));
    assert!(region.records.catalogue_version().await.expect("version") > version);
    let mut owner = region.raw_over_all().await;
    let specs: Vec<String> =
        sqlx::query_scalar("SELECT spec->'prices'->0->'flat'->>'amount' FROM plan_versions ORDER BY version")
            .fetch_all(&mut owner)
            .await
            .expect("versions");
    assert_eq!(specs, ["100", "200"]);
    region.end().await;
}

#[tokio::test]
async fn whom_a_version_moves_is_a_part_of_it_and_its_change_alone_makes_one() {
    let region = Region::start().await.with_catalogue().await;
    let put = async |generation, more| {
        let spec = plan_spec(more);
        region.records.put_plan(&plan("starter"), &source("p1", generation), &spec, &by()).await.expect("ok")
    };
    assert_eq!(put(2, json!({"updatePolicy": "NextPeriod"})).await.version, 1, "it is what is left out");
    assert_eq!(put(3, json!({"updatePolicy": "Immediate"})).await.version, 2);
    assert_eq!(put(4, json!({"updatePolicy": "New", "minimum": "7"})).await.version, 3);
    let mut owner = region.raw_over_all().await;
    let policies: Vec<Option<String>> =
        sqlx::query_scalar("SELECT spec->>'updatePolicy' FROM plan_versions ORDER BY version")
            .fetch_all(&mut owner)
            .await
            .expect("versions");
    assert_eq!(policies, [None, Some("Immediate".to_owned()), Some("New".to_owned())]);
    region.end().await;
}

/// Prices by region, which api-calls must group by.
fn plan_by_region() -> meridian_billing::catalogue::PlanSpec {
    let matrix = json!({"dimensions": ["region"], "default": "0.3", "rows": []});
    plan_spec(json!({"prices": [
        {"name": "base", "flat": {"amount": "100"}},
        {"name": "calls", "meterRef": {"name": "api-calls"}, "matrix": matrix},
    ]}))
}

#[tokio::test]
async fn a_price_that_does_not_fit_its_meter_is_refused_and_nothing_of_it_stays() {
    let region = Region::start().await.with_catalogue().await;
    let version = region.records.catalogue_version().await.expect("version");
    let put = async |generation, spec| {
        region.records.put_plan(&plan("starter"), &source("p1", generation), &spec, &by()).await
    };
    match put(2, plan_by_region()).await {
        Err(ControlError::MeterMisfit { field, detail }) => {
            assert_eq!(field, "prices[1].matrix.dimensions[0]");
            assert_eq!(detail, "Meter api-calls does not group by \"region\": count a Meter that does");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(region.records.catalogue_version().await.expect("version"), version);
    assert_eq!(put(3, plan_spec(json!({}))).await.expect("the old one").version, 1);
    region.end().await;
}

#[tokio::test]
async fn a_meter_comes_back_only_with_what_prices_that_may_bill_ask_of_it() {
    let region = Region::start().await;
    let put_meter = async |uid, more| {
        region.records.put_meter(&meter("api-calls"), &source(uid, 1), &meter_spec(more), &by()).await
    };
    let put_plan = async |generation, spec| {
        region.records.put_plan(&plan("starter"), &source("p1", generation), &spec, &by()).await
    };
    put_meter("m1", json!({"groupBy": ["region", "model"]})).await.expect("stored");
    put_plan(1, plan_by_region()).await.expect("it fits");
    let misfit = async |uid, more| match put_meter(uid, more).await {
        Err(ControlError::PlanMisfit { plan, detail }) => {
            assert_eq!(plan, "starter");
            assert!(detail.starts_with("prices[1].matrix.dimensions[0]: Meter api-calls"), "{detail}");
        }
        other => panic!("{other:?}"),
    };
    region.records.archive_meter(&meter("api-calls"), &by()).await.expect("archived");
    misfit("m2", json!({})).await;
    put_meter("m3", json!({"groupBy": ["region"]})).await.expect("what no price asks may go");
    // The newest version asks nothing of regions any more, but somebody may be on the version before.
    region.add_tenant("acme", 'a').await;
    put_plan(2, plan_spec(json!({"updatePolicy": "New"}))).await.expect("stored");
    misfit("m4", json!({})).await;
    let mut owner = region.raw_over_all().await;
    sqlx::query("UPDATE subscriptions SET state = 'ended', next_period_start = NULL, next_period_end = NULL")
        .execute(&mut owner)
        .await
        .expect("ended");
    put_meter("m4", json!({})).await.expect("nobody is billed by the version that asks");
    region.end().await;
}

#[tokio::test]
async fn what_past_usage_rests_on_cannot_be_changed_in_a_meter() {
    let region = Region::start().await.with_catalogue().await;
    let put = async |generation, more| {
        region
            .records
            .put_meter(&meter("api-calls"), &source("m1", generation), &meter_spec(more), &by())
            .await
    };
    for (more, field) in [
        (json!({"eventType": "other"}), "eventType"),
        (json!({"aggregation": "Sum", "valueProperty": "n"}), "aggregation"),
        (json!({"groupBy": ["region"]}), "groupBy"),
        (json!({"filters": [{"property": "a", "operator": "Eq", "values": ["b"]}]}), "filters"),
    ] {
        match put(2, more).await {
            Err(ControlError::Immutable { field: named }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(put(3, json!({"unit": "call"})).await.expect("a new unit is no new count").version, 2);
    region.end().await;
}

#[tokio::test]
async fn what_is_not_there_yet_is_named() {
    let region = Region::start().await;
    let no_meter =
        region.records.put_plan(&plan("starter"), &source("p1", 1), &plan_spec(json!({})), &by()).await;
    match no_meter {
        Err(ControlError::MeterMissing { name, field }) => {
            assert_eq!((name.as_str(), field.as_str()), ("api-calls", "prices[1].meterRef.name"));
        }
        other => panic!("{other:?}"),
    }
    let request = tenant_request("acme", 1, json!({"planRef": {"name": "starter"}}), &[]);
    assert!(matches!(
        region.records.put_tenant(&request, &by()).await,
        Err(ControlError::PlanMissing { .. })
    ));
    assert!(
        region.records.api_key(&"a".repeat(64)).await.expect("asked").is_none(),
        "nothing of the refused tenant stays"
    );
    let owned = meter_spec(json!({"tenantRef": {"name": "nobody"}}));
    let result = region.records.put_meter(&meter("m"), &source("m", 1), &owned, &by()).await;
    assert!(matches!(result, Err(ControlError::TenantMissing { .. })));
    region.end().await;
}

#[tokio::test]
async fn absent_keys_are_revoked_and_a_rotated_key_replaces_its_name() {
    let region = Region::start().await;
    let put = async |generation, keys: &[(&str, char)]| {
        region.records.put_tenant(&tenant_request("acme", generation, json!({}), keys), &by()).await
    };
    let revoked = async |digit: char| {
        region.records.api_key(&digit.to_string().repeat(64)).await.expect("asked").map(|key| key.revoked)
    };
    put(1, &[("default", 'a'), ("ci", 'b')]).await.expect("stored");
    assert_eq!(
        (revoked('a').await, revoked('b').await, revoked('c').await),
        (Some(false), Some(false), None)
    );
    // The generation stays: only the keys differ.
    put(1, &[("default", 'c')]).await.expect("stored");
    assert_eq!(
        (revoked('a').await, revoked('b').await, revoked('c').await),
        (Some(true), Some(true), Some(false))
    );
    let listing = region.records.catalogue_listing().await.expect("listing");
    assert_eq!(
        listing.tenants[0].api_keys,
        tenant_request("acme", 1, json!({}), &[("default", 'c')]).api_keys
    );
    put(1, &[("default", 'a')]).await.expect("a key may come back");
    assert_eq!((revoked('a').await, revoked('c').await), (Some(false), Some(true)));
    region
        .records
        .put_tenant(&tenant_request("zeta", 1, json!({}), &[("default", 'a')]), &by())
        .await
        .expect_err("a living key belongs to one tenant");
    region.records.archive_tenant(&tenant("acme"), &by()).await.expect("archived");
    assert_eq!(revoked('a').await, Some(true));
    region.end().await;
}

#[tokio::test]
async fn a_dedicated_region_refuses_a_second_tenant() {
    let region = Region::start().await;
    let mut request = tenant_request("acme", 1, json!({}), &[]);
    request.dedicated_to = Some(tenant("acme"));
    region.records.put_tenant(&request, &by()).await.expect("its own tenant");
    request.name = tenant("zeta");
    assert!(matches!(
        region.records.put_tenant(&request, &by()).await,
        Err(ControlError::TenancyRefused { .. })
    ));
    region.end().await;
}

#[tokio::test]
async fn a_tenant_with_a_plan_is_its_own_customer_with_one_subscription() {
    let region = Region::start().await.with_catalogue().await;
    let subscription = region.add_tenant("acme", 'a').await;
    assert!(subscription.customer.is_tenant_itself());
    assert_eq!(
        (subscription.managed_by, subscription.state),
        (ManagedBy::Kubernetes, SubscriptionState::Active)
    );
    let acme = region.tenant("acme");
    let put = async |generation, more| {
        region.records.put_tenant(&tenant_request("acme", generation, more, &[("default", 'a')]), &by()).await
    };
    // Another start moves it while nothing is billed …
    put(2, json!({"planRef": {"name": "starter"}, "billingStart": "2026-08-15T00:00:00Z"}))
        .await
        .expect("moved");
    let moved = acme.subscription(&subscription.id).await.expect("asked").expect("the same subscription");
    let next = moved.next_period.expect("a period");
    assert_eq!(
        (next.start.to_string(), next.end.to_string()),
        ("2026-08-15T00:00:00Z".to_owned(), "2026-09-01T00:00:00Z".to_owned())
    );
    // … and is refused when something is.
    let terms = region.terms(&moved, None).await;
    acme.save_invoice(&draft(&terms, 1, "2026-09-02T00:00:00Z"), &by()).await.expect("saved");
    let error = put(3, json!({"planRef": {"name": "starter"}, "billingStart": "2026-07-01T00:00:00Z"})).await;
    assert!(matches!(error, Err(ControlError::Immutable { field: "billingStart" })), "{error:?}");
    // Without its plan the subscription is cancelled, and stays; with the plan again there is a new one that starts later.
    put(4, json!({})).await.expect("no plan");
    let cancelled = acme.subscription(&subscription.id).await.expect("asked").expect("history stays");
    assert_ne!(cancelled.state, SubscriptionState::Active);
    put(5, json!({"planRef": {"name": "starter"}})).await.expect("the plan again");
    let all = acme.subscriptions(None, &Page::first(9)).await.expect("list").items;
    assert_eq!(all.len(), 2);
    assert!(all[1].starts_at >= cancelled.ends_at.expect("an end"), "no time is billed twice");
    region.end().await;
}

#[tokio::test]
async fn what_is_archived_comes_back_when_its_object_does() {
    let region = Region::start().await.with_catalogue().await;
    assert!(region.records.archive_meter(&meter("api-calls"), &by()).await.expect("archived"));
    assert!(
        !region
            .records
            .archive_meter(&meter("api-calls"), &by())
            .await
            .expect("archiving again is done already")
    );
    assert!(
        !region
            .records
            .archive_plan(&plan("never-was"), &by())
            .await
            .expect("so is archiving what never was")
    );
    assert_eq!(region.records.catalogue().await.expect("catalogue").meters, []);
    let listing = region.records.catalogue_listing().await.expect("listing");
    assert!(listing.meters[0].archived && !listing.plans[0].archived, "{listing:?}");
    // A new object of the old name may count something else: it is another version of the same meter.
    let other = meter_spec(json!({"eventType": "other"}));
    let back =
        region.records.put_meter(&meter("api-calls"), &source("m2", 1), &other, &by()).await.expect("back");
    assert_eq!((back.version, back.changed), (2, true));
    let meters = region.records.catalogue().await.expect("catalogue").meters;
    assert_eq!(meters.iter().map(|meter| meter.spec.event_type.as_str()).collect::<Vec<_>>(), ["other"]);
    region.end().await;
}

#[tokio::test]
async fn the_pipeline_reads_the_catalogue_whole_and_hears_of_changes() {
    let region = Region::start().await.with_catalogue().await;
    let mut changes = region.records.catalogue_changes().await.expect("listening");
    let subscription = region.add_tenant("acme", 'a').await;
    tokio::time::timeout(std::time::Duration::from_secs(5), changes.changed())
        .await
        .expect("in time")
        .expect("heard");
    let snapshot = region.records.catalogue().await.expect("catalogue");
    assert_eq!(snapshot.version, region.records.catalogue_version().await.expect("version"));
    let row = &snapshot.subscriptions[0];
    assert_eq!(
        (row.id.clone(), row.tenant.as_str(), row.plan.as_str(), row.plan_version),
        (subscription.id, "acme", "starter", 1)
    );
    assert_eq!(
        row.charges.iter().map(|charge| (charge.price.as_str(), charge.meter.as_str())).collect::<Vec<_>>(),
        [("calls", "api-calls")]
    );
    assert_eq!(row.charges[0].meter_id, snapshot.meters[0].id);
    assert_eq!(snapshot.customers.len(), 1);
    region.end().await;
}
