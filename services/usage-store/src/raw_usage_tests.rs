//! Proofs of usage against a real ClickHouse (see store_tests.rs): what was sent is stored as the consumer stores it, and then
//! something is done to it.

use std::collections::BTreeMap;

use meridian_billing::{
    catalogue::{AggregationKind, MeterSpec, ResetPolicy},
    event::UsageEvent,
    ids::{CustomerKey, ProjectId, TenantId},
    meter::quantity_of,
    period::Period,
};
use serde_json::{Value, json};

use crate::{
    StoredBatch, UsageProof, UsageProofQuery,
    metered_usage::plain_meter,
    rows::{ProcessedEventRow, RawEventRow},
    store_tests::{Database, HOUR, MARCH, MINUTE, batch, processed, scope},
};

fn event(tenant: &str, customer: &str, number: i64, time_us: i64, properties: Value) -> UsageEvent {
    UsageEvent {
        tenant: TenantId::new(tenant).expect("a tenant"),
        project: ProjectId::new("default").expect("a project"),
        source: "key".into(),
        id: format!("id-{number}"),
        event_type: "call".into(),
        customer: CustomerKey::new(customer).expect("a customer"),
        time_us,
        received_at_us: time_us + 5,
        properties: serde_json::from_value(properties).expect("an object"),
    }
}

/// Odd times and values, some of them twice, some before the range, one without a size.
fn events() -> Vec<UsageEvent> {
    let sizes = ["3", "0.000000000000000007", "12.5", "3", "41", "12.5", "8"];
    let mut events: Vec<UsageEvent> = (0..35)
        .map(|number| {
            let size = sizes[number as usize % sizes.len()];
            event("acme", "c", number, MARCH + number * 7 * MINUTE + 11, json!({"size": size, "n": number}))
        })
        .collect();
    events.push(event("acme", "c", 90, MARCH + 2 * HOUR, json!({"n": 1})));
    events
}

fn raw(event: &UsageEvent, offset: i64) -> RawEventRow {
    RawEventRow {
        tenant: event.tenant.to_string(),
        project: event.project.to_string(),
        source: event.source.clone(),
        id: event.id.clone(),
        event_type: event.event_type.clone(),
        customer: event.customer.to_string(),
        time_us: event.time_us,
        received_at_us: event.received_at_us,
        properties: serde_json::to_string(&event.properties).expect("an object"),
        identity: event.identity_hash(),
        payload_hash: event.payload_hash(),
        offset,
    }
}

fn name(spec: &MeterSpec) -> String {
    format!("{:?}-{:?}", spec.aggregation, spec.reset).to_lowercase()
}

fn counted(spec: &MeterSpec, event: &UsageEvent, offset: i64) -> Option<ProcessedEventRow> {
    let contribution = quantity_of(spec, event).ok()??;
    Some(ProcessedEventRow {
        tenant: event.tenant.to_string(),
        meter: name(spec),
        quantity: contribution.quantity.0,
        unique_value: contribution.unique_value,
        source: event.source.clone(),
        id: event.id.clone(),
        identity: event.identity_hash(),
        ..processed(event.customer.as_str(), event.time_us, 0, offset)
    })
}

/// Every aggregation, and once more each that can be never reset.
fn meters() -> Vec<MeterSpec> {
    let each = AggregationKind::ALL.map(|kind| plain_meter(kind, ResetPolicy::EachPeriod));
    let never = AggregationKind::ALL.into_iter().filter(|kind| kind.has_a_level());
    each.into_iter().chain(never.map(|kind| plain_meter(kind, ResetPolicy::Never))).collect()
}

async fn store(database: &Database, range: &str, events: &[UsageEvent], meters: &[MeterSpec]) {
    let numbered = || events.iter().zip(0..);
    let stored = StoredBatch {
        raw: numbered().map(|(event, offset)| raw(event, offset)).collect(),
        processed: meters
            .iter()
            .flat_map(|spec| numbered().filter_map(move |(event, offset)| counted(spec, event, offset)))
            .collect(),
        ..batch(1, range, MARCH + 5 * HOUR)
    };
    database.insert(&stored).await;
}

/// From within a minute to within another.
fn period() -> Period {
    Period::from_microseconds(MARCH + HOUR + 3, MARCH + 3 * HOUR + 5).expect("a period")
}

async fn proof(database: &Database, tenant: &str, spec: &MeterSpec, cutoff: Option<i64>) -> UsageProof {
    let query = UsageProofQuery {
        meter: name(spec),
        spec: spec.clone(),
        customer: CustomerKey::new("c").expect("a customer"),
        period: period(),
        stored_before_us: cutoff,
    };
    database.store.prove_usage(&scope(tenant), &query).await.expect("a proof")
}

#[tokio::test]
async fn every_aggregation_comes_to_the_same_from_what_was_sent() {
    let database = Database::make().await;
    let others = [
        event("zeta", "c", 1, MARCH + 2 * HOUR, json!({"size": "900"})),
        event("acme", "other", 2, MARCH + 2 * HOUR, json!({"size": "901"})),
        UsageEvent {
            event_type: "mail".into(),
            ..event("acme", "c", 3, MARCH + 2 * HOUR, json!({"size": "902"}))
        },
    ];
    store(&database, "0-35", &events(), &meters()).await;
    store(&database, "36-38", &others, &meters()).await;
    let mut quantities = BTreeMap::new();
    for spec in meters() {
        for cutoff in [None, Some(MARCH + 5 * HOUR + 1)] {
            let proof = proof(&database, "acme", &spec, cutoff).await;
            assert!(proof.equal(), "{} {proof:?}", name(&spec));
            assert!(proof.from_raw.events > 0, "{proof:?}");
            quantities.insert(name(&spec), proof.from_raw.quantity.expect("a quantity").to_string());
        }
        let nothing = proof(&database, "acme", &spec, Some(MARCH + 5 * HOUR)).await;
        assert_eq!((nothing.equal(), nothing.from_raw.events), (true, 0), "{nothing:?}");
    }
    // By hand: the 17 events from number 9 (63 minutes) to 25 (175 minutes), and the one without a size.
    for (meter, expected) in [
        ("count-eachperiod", "18"),
        ("max-eachperiod", "41"),
        ("min-eachperiod", "0.000000000000000007"),
        ("uniquecount-eachperiod", "5"),
        ("latest-eachperiod", "41"),
    ] {
        assert_eq!(quantities[meter], expected, "{meter}");
    }
    assert_ne!(quantities["sum-eachperiod"], quantities["sum-never"]);
    let unusable =
        proof(&database, "acme", &plain_meter(AggregationKind::Sum, ResetPolicy::EachPeriod), None).await;
    assert_eq!(unusable.unusable, 1, "the event without a size is in quarantine");
    database.drop().await;
}

#[tokio::test]
async fn a_meter_that_was_made_after_its_events_is_found_out() {
    let database = Database::make().await;
    let [count, sum] =
        [AggregationKind::Count, AggregationKind::Sum].map(|kind| plain_meter(kind, ResetPolicy::EachPeriod));
    store(&database, "0-35", &events(), std::slice::from_ref(&count)).await;
    assert!(proof(&database, "acme", &count, None).await.equal());
    let late = proof(&database, "acme", &sum, None).await;
    assert_eq!((late.equal(), late.from_rollups.events, late.from_raw.events), (false, 0, 17), "{late:?}");
    database.drop().await;
}

#[tokio::test]
async fn what_was_lost_doubled_or_changed_is_found_out() {
    let sum = plain_meter(AggregationKind::Sum, ResetPolicy::EachPeriod);
    let within = event("acme", "c", 70, MARCH + 2 * HOUR + 9, json!({"size": "5"}));
    let row = || counted(&sum, &within, 70).expect("it counts");
    let forged = RawEventRow { properties: r#"{"size":"6"}"#.into(), ..raw(&within, 70) };
    for (raw_rows, processed_rows, altered) in [
        (vec![raw(&within, 70)], vec![], 0),
        (vec![], vec![row()], 0),
        (vec![raw(&within, 70)], vec![row(), ProcessedEventRow { offset: 71, ..row() }], 0),
        (vec![forged.clone()], vec![row()], 1),
        (
            vec![raw(&within, 70)],
            vec![ProcessedEventRow { quantity: "5.000000000000000001".parse().expect("a decimal"), ..row() }],
            0,
        ),
    ] {
        let database = Database::make().await;
        store(&database, "0-35", &events(), std::slice::from_ref(&sum)).await;
        assert!(proof(&database, "acme", &sum, None).await.equal());
        let more =
            StoredBatch { raw: raw_rows, processed: processed_rows, ..batch(1, "70-71", MARCH + 6 * HOUR) };
        database.insert(&more).await;
        let found = proof(&database, "acme", &sum, None).await;
        assert_eq!((found.equal(), found.altered), (false, altered), "{found:?}");
        assert!(
            proof(&database, "acme", &sum, Some(MARCH + 6 * HOUR)).await.equal(),
            "as of before it, all was well"
        );
        database.drop().await;
    }
}

#[tokio::test]
async fn a_time_that_no_table_holds_is_on_neither_side() {
    let database = Database::make().await;
    let never = plain_meter(AggregationKind::Sum, ResetPolicy::Never);
    store(&database, "0-35", &events(), std::slice::from_ref(&never)).await;
    // It happened in 1969, so that it was quarantined, and is stored as of the first instant that there is.
    let ancient = event("acme", "c", 71, -5, json!({"size": "1000"}));
    let stored = RawEventRow { time_us: 0, ..raw(&ancient, 71) };
    database.insert(&StoredBatch { raw: vec![stored], ..batch(1, "71-71", MARCH + 6 * HOUR) }).await;
    let proof = proof(&database, "acme", &never, None).await;
    assert!(proof.equal(), "{proof:?}");
    database.drop().await;
}
