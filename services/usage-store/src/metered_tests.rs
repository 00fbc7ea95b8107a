//! What meters came to, against a real ClickHouse (see store_tests.rs), beside what the law of each aggregation makes of the
//! same events without a store.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use meridian_billing::{
    catalogue::{AggregationKind, BucketSize, MeterSpec, ResetPolicy},
    decimal::Quantity,
    ids::{MeterName, PlanName, PriceName},
    invoice::Metered,
    measure::{self, measure},
    meter::{Contribution, FinishError, Partial},
    period::Period,
    price::UsageShape,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    MeteredKey, MeteredUsage, PeriodUsage, PeriodUsageQuery, PriceUsageQuery, SeriesQuery, StoredBatch,
    Window,
    metered_usage::plain_meter,
    rows::ProcessedEventRow,
    store_tests::{Database, HOUR, MARCH, MINUTE, batch, processed, scope},
};

#[derive(Debug, Clone)]
struct Fact {
    time_us: i64,
    stored_us: i64,
    units: i128,
    unique: u8,
}

prop_compose! {
    // Few times and few values, so that both repeat.
    fn facts()(half_minute in 0..240i64, micro in 0..2i64, stored in (0..4i64, 0..4i64).prop_map(|(hour, part)| hour * 3_600 + part * 1_111),
        value in 0..9i128, fraction in 0..3i128, unique in 0..4u8) -> Fact {
        Fact { time_us: MARCH + half_minute * MINUTE / 2 + micro, stored_us: MARCH + stored * 1_000_000,
            units: value * 10i128.pow(18) + fraction, unique }
    }
}

/// Every aggregation, and once more each that can be never reset.
fn meters() -> Vec<MeterSpec> {
    let each = AggregationKind::ALL.map(|kind| plain_meter(kind, ResetPolicy::EachPeriod));
    let never = AggregationKind::ALL.into_iter().filter(|kind| kind.has_a_level());
    each.into_iter().chain(never.map(|kind| plain_meter(kind, ResetPolicy::Never))).collect()
}

fn row(tenant: &str, offset: i64, fact: &Fact) -> ProcessedEventRow {
    let unique_value = Some(fact.unique.to_string());
    let group = group(fact);
    ProcessedEventRow {
        tenant: tenant.to_owned(),
        unique_value,
        group_values: if group.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&group).expect("text")
        },
        ..processed("c", fact.time_us, fact.units, offset)
    }
}

/// Some events have a region and some have none.
fn group(fact: &Fact) -> BTreeMap<String, String> {
    let region = ["eu", "us"].get(usize::from(fact.unique % 3));
    region.map(|region| ("region".to_owned(), (*region).to_owned())).into_iter().collect()
}

async fn insert(database: &Database, tenant: &str, facts: &[Fact]) {
    let mut by_stored: BTreeMap<i64, Vec<ProcessedEventRow>> = BTreeMap::new();
    for (offset, fact) in facts.iter().enumerate() {
        by_stored.entry(fact.stored_us).or_default().push(row(tenant, offset as i64, fact));
    }
    for (stored_us, rows) in by_stored {
        database.insert(&StoredBatch { processed: rows, ..batch(1, tenant, stored_us) }).await;
    }
}

/// The law of the meter over the events of a range, and how many they are.
fn folded(
    facts: &[Fact],
    meter: &MeterSpec,
    range: std::ops::Range<i64>,
    cutoff: Option<i64>,
) -> (Partial, u64) {
    let kind = meter.aggregation;
    let counted = facts.iter().enumerate().filter(|(_, fact)| {
        range.contains(&fact.time_us) && cutoff.is_none_or(|cutoff| fact.stored_us < cutoff)
    });
    counted.fold((Partial::empty(kind), 0), |(partial, events), (offset, fact)| {
        let contribution = contribution(kind, offset, fact);
        (partial.merge(Partial::of(kind, &contribution)).expect("small numbers"), events + 1)
    })
}

/// What an event adds to a meter.
fn contribution(kind: AggregationKind, offset: usize, fact: &Fact) -> Contribution {
    let ProcessedEventRow { source, id, .. } = row("", offset as i64, fact);
    let quantity = match kind {
        AggregationKind::Count | AggregationKind::UniqueCount => Quantity::ONE,
        AggregationKind::Sum
        | AggregationKind::Max
        | AggregationKind::Min
        | AggregationKind::Average
        | AggregationKind::Latest
        | AggregationKind::WeightedSum
        | AggregationKind::Percentile => Quantity::from_units(fact.units).expect("38 digits"),
    };
    Contribution {
        quantity,
        unique_value: Some(fact.unique.to_string()),
        group: group(fact),
        time_us: fact.time_us,
        source,
        id,
    }
}

fn expected(facts: &[Fact], meter: &MeterSpec, period: Period, cutoff: Option<i64>) -> MeteredUsage {
    let (start_us, end_us) = (period.start.as_microsecond(), period.end.as_microsecond());
    let (before, _) = folded(facts, meter, 0..start_us, cutoff);
    let level = before.carry(Quantity::ZERO, meter).expect("small numbers");
    let (within, events) = folded(facts, meter, start_us..end_us, cutoff);
    MeteredUsage { events, quantity: within.finish_from(level, meter, period) }
}

fn key(tenant: &str, spec: MeterSpec, period: Period) -> MeteredKey {
    MeteredKey { tenant: tenant.into(), customer: "c".into(), meter: "api-calls".into(), spec, period }
}

#[test]
fn every_aggregation_comes_to_what_its_law_says_live_and_as_of_any_cutoff() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cutoff = prop::option::of((0..10_900i64).prop_map(|second| MARCH + second * 1_000_000));
    let period = (0..7_000i64, 1..7_000i64).prop_map(|(start, length)| {
        let start_us = MARCH + start * 1_000_000;
        Period::from_microseconds(start_us, start_us + length * 1_000_000).expect("a period")
    });
    let input = (prop::collection::vec(facts(), 0..60), period, cutoff);
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    let (database, case) = (runtime.block_on(Database::make()), AtomicU32::new(0));
    let outcome = runner.run(&input, |(facts, period, cutoff)| {
        let tenant = format!("case-{}", case.fetch_add(1, Ordering::Relaxed));
        let keys: Vec<MeteredKey> = meters().into_iter().map(|meter| key(&tenant, meter, period)).collect();
        let found = runtime.block_on(async {
            insert(&database, &tenant, &facts).await;
            database.store.metered_usage(&keys, cutoff).await.unwrap()
        });
        for (key, found) in keys.iter().zip(found) {
            let wanted = expected(&facts, &key.spec, period, cutoff);
            prop_assert_eq!(found, wanted, "{:?} cutoff {:?}", key, cutoff);
        }
        Ok(())
    });
    runtime.block_on(database.drop());
    outcome.unwrap();
}

#[tokio::test]
async fn a_point_of_a_series_is_the_usage_of_its_window() {
    let database = Database::make().await;
    let at =
        |time_us, units: i128| Fact { time_us, stored_us: MARCH, units: units * 10i128.pow(18), unique: 1 };
    let facts = [
        at(MARCH - HOUR, 4),
        at(MARCH + MINUTE, 6),
        at(MARCH + 2 * MINUTE, 1),
        at(MARCH + 2 * MINUTE, 3),
        at(MARCH + 2 * HOUR, 9),
        at(MARCH + 3 * HOUR, 2),
    ];
    insert(&database, "acme", &facts).await;
    for spec in meters() {
        let (start_us, end_us) = (MARCH, MARCH + 3 * HOUR);
        let (meter, customer) = ("api-calls".to_owned(), "c".to_owned());
        let query =
            SeriesQuery { meter, spec: spec.clone(), customer, window: Window::Hour, start_us, end_us };
        let points = database.store.usage_series(&scope("acme"), &query).await.unwrap();
        let found: Vec<_> = points
            .into_iter()
            .map(|point| (point.start_us, MeteredUsage { events: point.events, quantity: point.quantity }))
            .collect();
        let wanted = [MARCH, MARCH + 2 * HOUR].map(|start_us| {
            let window = Period::from_microseconds(start_us, start_us + HOUR).expect("a period");
            (start_us, expected(&facts, &spec, window, None))
        });
        assert_eq!(found, wanted, "{spec:?}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_level_below_zero_is_an_error_of_its_meter_and_of_no_other() {
    let database = Database::make().await;
    let fact = Fact { time_us: MARCH, stored_us: MARCH, units: -3 * 10i128.pow(18), unique: 1 };
    insert(&database, "acme", &[fact]).await;
    let period = Period::from_microseconds(MARCH, MARCH + HOUR).expect("a period");
    let kinds = [AggregationKind::Sum, AggregationKind::Count];
    let resets = [ResetPolicy::Never, ResetPolicy::EachPeriod];
    let keys: Vec<_> = kinds
        .into_iter()
        .zip(resets)
        .map(|(kind, reset)| key("acme", plain_meter(kind, reset), period))
        .collect();
    let found = database.store.metered_usage(&keys, None).await.unwrap();
    let level = Quantity::from_integer(-3);
    assert_eq!(found[0].quantity, Err(FinishError::BelowZero { level }));
    assert_eq!(found[1].quantity, Ok(Quantity::ONE));
    database.drop().await;
}

/// Every shape that a price can ask for, of every meter, beside what the same events measure without a store.
#[tokio::test]
async fn prices_are_told_what_the_same_events_measure_without_a_store() {
    let database = Database::make().await;
    let mut runner = TestRunner::deterministic();
    for case in 0..4 {
        let facts = prop::collection::vec(facts(), 1..60).new_tree(&mut runner).expect("facts").current();
        let tenant = format!("shapes-{case}");
        insert(&database, &tenant, &facts).await;
        for spec in meters() {
            check_shapes(&database, &tenant, &facts, &spec).await;
        }
    }
    database.drop().await;
}

/// The shapes that a price can ask for.
fn asked() -> Vec<Metered> {
    let at = |minutes: i64| MARCH + minutes * MINUTE;
    let all = Period::from_microseconds(at(10), at(110)).expect("a period");
    let cut = [(at(10) + 1, at(40) + 17), (at(50), at(110))]
        .map(|(start, end)| Period::from_microseconds(start, end).expect("a period"));
    let shapes = [
        (UsageShape::Total, vec![all], None),
        (UsageShape::Total, vec![all], Some(all)),
        (UsageShape::Total, vec![cut[1]], Some(all)),
        (UsageShape::Total, cut.to_vec(), None),
        (UsageShape::Total, cut.to_vec(), Some(all)),
        (UsageShape::Transactions, vec![all], None),
        (UsageShape::Groups { dimensions: vec!["region".to_owned()] }, vec![all], None),
        (UsageShape::Groups { dimensions: vec!["region".to_owned()] }, vec![cut[0]], Some(all)),
        (UsageShape::Buckets { size: BucketSize::Hour, group_by: Vec::new() }, vec![all], None),
        (
            UsageShape::Buckets { size: BucketSize::Minute, group_by: vec!["region".to_owned()] },
            cut.to_vec(),
            None,
        ),
    ];
    let metered = |(shape, spans, whole)| Metered {
        plan: PlanName::new("p").expect("a name"),
        price: PriceName::new("p").expect("a name"),
        meter: MeterName::new("api-calls").expect("a name"),
        shape,
        spans,
        whole,
        since: all.start,
    };
    shapes.into_iter().map(metered).collect()
}

type Meters = BTreeMap<MeterName, (MeterSpec, i32)>;

fn query<'a>(tenant: &'a str, metered: &'a [Metered], meters: &'a Meters) -> PriceUsageQuery<'a> {
    let stored_before_us = Some(MARCH + HOUR * 2);
    PriceUsageQuery { tenant, customer: "c", time_zone: "Asia/Kolkata", metered, meters, stored_before_us }
}

/// For every third query: keys of its meter, one of them twice and one of a period that cuts minutes.
fn totals_beside(place: usize, query: &PriceUsageQuery<'_>) -> Vec<MeteredKey> {
    let spec = query.meters.values().next().map(|(spec, _)| spec.clone());
    let Some(spec) = spec.filter(|_| place.is_multiple_of(3)) else { return Vec::new() };
    let key = |from, to| MeteredKey {
        meter: query.metered[0].meter.to_string(),
        ..key(query.tenant, spec.clone(), Period::from_microseconds(from, to).expect("a period"))
    };
    let whole = key(MARCH + 10 * MINUTE, MARCH + 110 * MINUTE);
    vec![whole.clone(), key(MARCH + 7, MARCH + 90 * MINUTE + 3), whole]
}

async fn check_shapes(database: &Database, tenant: &str, facts: &[Fact], spec: &MeterSpec) {
    let metered = asked();
    let meters = BTreeMap::from([(metered[0].meter.clone(), (spec.clone(), 3))]);
    let query = query(tenant, &metered, &meters);
    let told = database.store.price_usage(&query).await.expect("told");
    let contributions: Vec<Contribution> = facts
        .iter()
        .enumerate()
        .filter(|(_, fact)| query.stored_before_us.is_some_and(|cutoff| fact.stored_us < cutoff))
        .map(|(offset, fact)| contribution(spec.aggregation, offset, fact))
        .collect();
    let contributions: Vec<&Contribution> = contributions.iter().collect();
    for (metered, told) in metered.iter().zip(told) {
        let Metered { shape, spans, whole, since, .. } = metered;
        let window = measure::Window { spans, whole: *whole, since: *since };
        let measured = measure(spec, shape, window, "Asia/Kolkata", &contributions).expect("measures");
        assert_eq!((&told.usage, told.events), (&measured.usage, measured.events), "{shape:?} of {spec:?}");
    }
}

/// Many tenants, every meter and every shape in one call, beside each by itself; and the error of one among them.
#[tokio::test]
async fn the_prices_of_many_are_told_together_what_each_is_told_alone() {
    let database = Database::make().await;
    let mut runner = TestRunner::deterministic();
    let tenants = ["one", "two", "three"];
    for tenant in tenants {
        let facts = prop::collection::vec(facts(), 20..60).new_tree(&mut runner).expect("facts").current();
        insert(&database, tenant, &facts).await;
    }
    let metered = asked();
    let mut known: Vec<Meters> =
        meters().into_iter().map(|spec| BTreeMap::from([(metered[0].meter.clone(), (spec, 3))])).collect();
    // One whose meter is not in the catalogue, in the middle.
    known.insert(5, BTreeMap::new());
    let mut queries: Vec<PriceUsageQuery<'_>> = Vec::new();
    for meters in &known {
        queries.extend(tenants.iter().map(|tenant| query(tenant, &metered, meters)));
    }
    // And one as of another cutoff.
    let live = PriceUsageQuery { stored_before_us: None, ..queries[0].clone() };
    queries.insert(7, live);
    // Beside the prices, totals of every third one: more than once the same, and of every aggregation.
    let beside: Vec<Vec<MeteredKey>> =
        queries.iter().enumerate().map(|(place, query)| totals_beside(place, query)).collect();
    let with_totals: Vec<PeriodUsageQuery<'_>> = queries
        .iter()
        .zip(&beside)
        .map(|(query, keys)| PeriodUsageQuery { prices: query.clone(), totals: keys.clone() })
        .collect();
    let together = database.store.period_usage_of(&with_totals).await.expect("told");
    assert_eq!(together.len(), queries.len());
    let (mut told, mut events) = (0, 0);
    for ((query, keys), together) in queries.iter().zip(&beside).zip(together) {
        let PeriodUsage { prices, totals } = together;
        let totals: Vec<MeteredUsage> = totals.into_iter().map(|total| total.expect("a total")).collect();
        let alone = database.store.metered_usage(keys, query.stored_before_us).await.expect("told");
        assert_eq!(totals, alone, "{keys:?}");
        match (database.store.price_usage(query).await, prices) {
            (Ok(alone), Ok(together)) => {
                assert_eq!(alone, together, "{query:?}");
                told += 1;
                events += together.iter().map(|price| price.events).sum::<u64>();
            }
            (Err(alone), Err(together)) => assert_eq!(alone.to_string(), together.to_string(), "{query:?}"),
            (alone, together) => panic!("alone {alone:?}, together {together:?}"),
        }
    }
    assert_eq!(told, queries.len() - tenants.len());
    assert!(events > 1000, "{events}");
    database.drop().await;
}

/// As many keys as the largest chunk of subscriptions has, with the longest names that there are: ClickHouse takes the question.
#[tokio::test]
async fn a_question_about_thousands_of_keys_is_taken() {
    let database = Database::make().await;
    let fact = |unique| Fact { time_us: MARCH, stored_us: MARCH, units: 10i128.pow(18), unique };
    let tenant = "t".repeat(253);
    insert(&database, &tenant, &[fact(0), fact(1)]).await;
    let period = Period::from_microseconds(MARCH, MARCH + HOUR).expect("a period");
    let spec = plain_meter(AggregationKind::Count, ResetPolicy::EachPeriod);
    let mut keys: Vec<MeteredKey> = (0..crate::period_usage::PERIOD_KEYS_MAX)
        .map(|number| MeteredKey {
            customer: format!("{number:0>253}"),
            ..key(&tenant, spec.clone(), period)
        })
        .collect();
    keys[3_210].customer = "c".to_owned();
    let found = database.store.metered_usage(&keys, Some(MARCH + HOUR * 2)).await.expect("taken");
    let used: Vec<usize> = (0..found.len()).filter(|index| found[*index].events > 0).collect();
    assert_eq!((used, found[3_210].events), (vec![3_210], 2));
    database.drop().await;
}
