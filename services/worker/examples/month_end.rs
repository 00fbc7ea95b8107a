//! A month's end on real stores: subscriptions of 10 lines each, closed as the worker closes them, beside a bare COPY of the rows
//! that this wrote.
//!
//! `e2e/stores/up postgres clickhouse; eval "$(e2e/stores/env)"`
//! `cargo run -p meridian-worker --example month_end -- 4000`
//!
//! Usage is stored two days before the cutoff, as nearly all of a month's is, so that it is read from roll-ups; only what is stored
//! within the cutoff's own hour would be read event by event.
//!
//! It makes databases of its own, prints where the time goes, runs everything a second time to show that nothing changes, computes
//! every invoice again from its terms and usage to show that the bytes are the same, and drops its Postgres database when all is well;
//! what it has in ClickHouse goes with `e2e/stores/down`.
//! Temporal is not part of it: one workflow for a page of periods is not what costs.
#![allow(clippy::unwrap_used, reason = "whoever measures wants to see what broke")]

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, TenantSpec},
    decimal::Decimal,
    ids::{MeterName, PlanName, TenantId},
    invoice::Computation,
};
use meridian_rating::Asked;
use meridian_records::{
    By, DuePeriod, InvoiceDraft, NewCustomer, NewSubscription, PostgresOptions, Records, Scope, Source,
    TenantRequest, connect,
};
use meridian_usage_store::{
    ClickHouseOptions, PeriodUsageQuery, StoredBatch, Token, UsageStore, rows::ProcessedEventRow,
};
use meridian_worker::{
    activities::{BillingActivities, DUE_PAGE_MAX},
    gate::Sources,
    metrics::Metrics,
    wire::{DueCursor, PeriodsAsOf},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

/// A page of a sweep.
const CHUNK: u32 = DUE_PAGE_MAX;
/// Of each invoice: one flat, the others metered.
const LINES: usize = 10;
const EVENTS_A_LINE: usize = 3;
const TENANT: &str = "acme";
/// How long before the cutoff usage was stored.
const STORED_BEFORE: SignedDuration = SignedDuration::from_hours(48);

#[tokio::main]
async fn main() {
    let count: u32 = std::env::args().nth(1).map_or(4000, |text| text.parse().expect("a number"));
    println!("cargo run -p meridian-worker --example month_end -- {count}");
    let world = World::make(count).await;
    let due = world.due().await;
    assert_eq!(due.len(), count as usize);
    let stored_before_us = Timestamp::now().as_microsecond();
    let chunks: Vec<PeriodsAsOf> =
        due.chunks(CHUNK as usize).map(|due| PeriodsAsOf { due: due.to_vec(), stored_before_us }).collect();

    println!("{count} periods are due: closing them");
    let run = world.close_all(&chunks).await;
    let closed = world.digest().await;
    let lines = world.count("invoice_line_items").await;
    assert_eq!(lines, u64::from(count) * LINES as u64, "10 lines each");
    println!("month's end: {count} invoices of {LINES} lines in {}: {}", seconds(run), rate(count, run));
    let again = world.close_all(&chunks).await;
    assert_eq!(world.digest().await, closed, "a rerun changed rows");
    println!("again: {}, and no row changed", rate(count, again));
    world.compute_again(&chunks).await;
    world.copy(count, run).await;
    world.end().await;
}

fn seconds(took: Duration) -> String {
    format!("{}.{:03} s", took.as_secs(), took.subsec_millis())
}

fn rate(count: u32, took: Duration) -> String {
    format!("{} a second", u128::from(count) * 1_000_000 / took.as_micros().max(1))
}

fn by() -> By {
    By::new("month_end", "it is measured")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: eval \"$(e2e/stores/env)\""))
}

fn postgres(database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&variable("MERIDIAN_POSTGRES_HOST"))
        .port(variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port"))
        .username(&variable("MERIDIAN_POSTGRES_USER"))
        .password(&variable("MERIDIAN_POSTGRES_PASSWORD"))
        .database(database)
}

struct World {
    name: String,
    records: Records,
    usage: UsageStore,
    activities: BillingActivities,
    database: tokio::sync::Mutex<PgConnection>,
}

impl World {
    async fn make(count: u32) -> Self {
        let name = format!("month_end_{}", uuid::Uuid::now_v7().simple());
        let home = variable("MERIDIAN_POSTGRES_DATABASE");
        let mut admin = PgConnection::connect_with(&postgres(&home)).await.expect("Postgres answers");
        execute(&mut admin, &format!("CREATE DATABASE {name}")).await;
        let options = PostgresOptions::new(
            &variable("MERIDIAN_POSTGRES_HOST"),
            variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port"),
            &name,
            &variable("MERIDIAN_POSTGRES_USER"),
            &variable("MERIDIAN_POSTGRES_PASSWORD"),
        );
        let records = connect(&options).expect("options");
        records.migrate(env!("CARGO_PKG_VERSION")).await.expect("Postgres migrates");
        let usage = UsageStore::connect(&ClickHouseOptions {
            url: variable("MERIDIAN_CLICKHOUSE_URL"),
            database: name.clone(),
            user: variable("MERIDIAN_CLICKHOUSE_USER"),
            password: variable("MERIDIAN_CLICKHOUSE_PASSWORD"),
        });
        usage.migrate().await.expect("ClickHouse migrates");
        let mut database = PgConnection::connect_with(&postgres(&name)).await.expect("Postgres answers");
        execute(&mut database, "SET meridian.every_tenant = 'on'").await;
        catalogue(&records).await;
        subscribe(&records, &mut database, count).await;
        use_meters(&usage, count).await;
        execute(&mut database, "ANALYZE").await;
        let activities = BillingActivities {
            records: records.clone(),
            usage: usage.clone(),
            sources: Sources { kafka_partitions: 1 },
            close_grace: Duration::ZERO,
            clock_skew: Duration::ZERO,
            metrics: Metrics::unregistered(),
            turns: BillingActivities::turns(),
        };
        Self { name, records, usage, activities, database: tokio::sync::Mutex::new(database) }
    }

    /// Every due period, page by page, as a sweep finds them.
    async fn due(&self) -> Vec<DueCursor> {
        let mut found: Vec<DuePeriod> = Vec::new();
        // Everybody was made a moment ago.
        let now = Timestamp::now() + SignedDuration::from_secs(60);
        loop {
            let page = self.records.due_periods(now, Duration::ZERO, found.last(), CHUNK).await.expect("due");
            let more = page.len() == CHUNK as usize;
            found.extend(page);
            if !more {
                break;
            }
        }
        let cursor = |due: DuePeriod| {
            let DuePeriod { tenant, subscription, customer: _, period } = due;
            DueCursor { tenant, subscription, period }
        };
        found.into_iter().map(cursor).collect()
    }

    /// All pages at once, as a sweep starts them; how many a worker closes at a time is its own business.
    async fn close_all(&self, chunks: &[PeriodsAsOf]) -> Duration {
        let begun = Instant::now();
        let pages = chunks.iter().cloned().map(|chunk| {
            let activities = self.activities.clone();
            tokio::spawn(async move { activities.close_many(chunk).await.expect("closed") })
        });
        for page in pages.collect::<Vec<_>>() {
            assert_eq!(page.await.expect("no panic").left, [], "every one of them is plain");
        }
        begun.elapsed()
    }

    /// Step by step and one chunk at a time: how long each takes, and that every invoice is the same to the byte.
    async fn compute_again(&self, chunks: &[PeriodsAsOf]) {
        let tenant = self.records.tenant(Scope::of(TenantId::new(TENANT).expect("a name")));
        let (mut reading, mut asking, mut rating) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut identical = 0;
        for PeriodsAsOf { due, stored_before_us } in chunks {
            let begun = Instant::now();
            let periods: Vec<_> =
                due.iter().map(|due| (due.subscription.clone(), due.period.start)).collect();
            let terms = tenant.period_terms_of(&periods).await.expect("read");
            let terms: Vec<_> = terms.into_iter().map(|terms| terms.expect("terms")).collect();
            reading += begun.elapsed();
            let begun = Instant::now();
            let stored_before = Timestamp::from_microsecond(*stored_before_us).expect("an instant");
            let asked: Vec<_> = terms.iter().map(|terms| Asked::of(terms).expect("a plan")).collect();
            let queries: Vec<_> = terms
                .iter()
                .zip(&asked)
                .map(|(terms, asked)| PeriodUsageQuery {
                    prices: asked.query(terms, stored_before),
                    totals: Vec::new(),
                })
                .collect();
            let usage = self.usage.period_usage_of(&queries).await.expect("told");
            asking += begun.elapsed();
            let begun = Instant::now();
            let drafts = terms.iter().zip(usage).map(|(terms, usage)| {
                let usage = usage.prices.expect("told");
                let input = terms.invoice_input(usage, stored_before).expect("an input");
                InvoiceDraft::of(&Computation::of(input).expect("it computes"), terms)
            });
            let drafts: Vec<InvoiceDraft> = drafts.collect();
            rating += begun.elapsed();
            identical += self.identical(&drafts).await;
        }
        let each = chunks.len() as u32;
        println!(
            "a chunk of {CHUNK} by itself: terms {:?}, usage {:?}, rating and writing it down {:?}",
            reading / each,
            asking / each,
            rating / each
        );
        println!("computed again: {identical} invoices are the same to the byte");
    }

    async fn identical(&self, drafts: &[InvoiceDraft]) -> usize {
        let mut database = self.database.lock().await;
        let found: Vec<(String, String)> = sqlx::query_as(
            "SELECT subscription_id, computation FROM invoices WHERE subscription_id = ANY($1)",
        )
        .bind(drafts.iter().map(|draft| draft.subscription.to_string()).collect::<Vec<_>>())
        .fetch_all(&mut *database)
        .await
        .expect("read");
        let stored: std::collections::BTreeMap<String, String> = found.into_iter().collect();
        for draft in drafts {
            assert_eq!(stored.get(draft.subscription.as_str()), Some(&draft.computation), "another invoice");
        }
        drafts.len()
    }

    /// Of every row that closing wrote, and when it was last touched.
    async fn digest(&self) -> Vec<String> {
        let mut digests = Vec::new();
        for (table, order) in [
            ("invoices", "invoice_id"),
            ("invoice_line_items", "line_id"),
            ("audit_logs", "audit_id"),
            ("subscriptions", "subscription_id"),
        ] {
            let text = format!("SELECT md5(string_agg(md5(t::text), '' ORDER BY {order})) FROM {table} t");
            let mut database = self.database.lock().await;
            let digest = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(&mut *database).await;
            digests.push(digest.expect("a digest"));
        }
        digests
    }

    async fn count(&self, table: &str) -> u64 {
        let mut database = self.database.lock().await;
        let text = format!("SELECT count(*) FROM {table}");
        let count: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(&mut *database).await.expect("a count");
        count.unsigned_abs()
    }

    /// The same rows into tables of the same columns: bare, and with their keys and indexes.
    async fn copy(&self, count: u32, run: Duration) {
        for (what, like) in [("bare", "INCLUDING DEFAULTS"), ("with keys and indexes", "INCLUDING ALL")] {
            let mut took = Duration::ZERO;
            for (number, (table, rows)) in self.rows().await.into_iter().enumerate() {
                let copy = format!("copy_{number}_{table}");
                let mut database = self.database.lock().await;
                execute(&mut database, &format!("DROP TABLE IF EXISTS {copy}")).await;
                execute(&mut database, &format!("CREATE TABLE {copy} (LIKE {table} {like})")).await;
                let begun = Instant::now();
                let mut sink = database
                    .copy_in_raw(&format!("COPY {copy} FROM STDIN (FORMAT binary)"))
                    .await
                    .expect("COPY");
                sink.send(rows.as_slice()).await.expect("sent");
                sink.finish().await.expect("copied");
                took += begun.elapsed();
            }
            let percent = took.as_micros() * 100 / run.as_micros().max(1);
            println!(
                "COPY of the same rows, {what}: {} ({}); the month's end is at {percent} % of it",
                rate(count, took),
                seconds(took)
            );
        }
    }

    /// What closing inserted, in Postgres' own binary form.
    async fn rows(&self) -> Vec<(&'static str, Vec<u8>)> {
        use futures::TryStreamExt;
        let mut found = Vec::new();
        for table in ["invoices", "invoice_line_items", "audit_logs"] {
            let mut database = self.database.lock().await;
            let text = format!("COPY (SELECT * FROM {table}) TO STDOUT (FORMAT binary)");
            let stream = database.copy_out_raw(&text).await.expect("COPY");
            let parts: Vec<_> = stream.try_collect().await.expect("rows");
            found.push((table, parts.concat()));
        }
        found
    }

    async fn end(self) {
        let home = variable("MERIDIAN_POSTGRES_DATABASE");
        let mut admin = PgConnection::connect_with(&postgres(&home)).await.expect("Postgres answers");
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // Autovacuum may be at work in it, and only a superuser may end that; it is soon through.
        while let Err(error) = sqlx::query(sqlx::AssertSqlSafe(drop.clone())).execute(&mut admin).await {
            println!("not dropped yet: {error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn execute(connection: &mut PgConnection, text: &str) {
    let done = sqlx::query(sqlx::AssertSqlSafe(text.to_owned())).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{text}: {error}"));
}

fn meters() -> Vec<String> {
    (1..LINES).map(|number| format!("meter-{number}")).collect()
}

async fn catalogue(records: &Records) {
    let source = |uid: &str| Source { uid: uid.to_owned(), generation: 1 };
    let region = json!({"name": "test"});
    for (number, name) in meters().iter().enumerate() {
        let spec = json!({"regionRef": region, "eventType": format!("event-{number}"), "aggregation": "Sum", "valueProperty": "size"});
        let name = MeterName::new(name.as_str()).expect("a name");
        let spec = MeterSpec::from_json(&spec).expect("a meter");
        records.put_meter(&name, &source(name.as_str()), &spec, &by()).await.expect("the meter");
    }
    let metered = |name: &String| json!({"name": name, "meterRef": {"name": name}, "included": "10", "perUnit": {"amount": "0.01"}});
    let base = json!({"name": "base", "flat": {"amount": "100"}});
    let prices: Vec<Value> = std::iter::once(base).chain(meters().iter().map(metered)).collect();
    let plan = json!({"regionRef": region, "currency": "USD", "interval": {"unit": "Month", "count": 1}, "prices": prices});
    let plan = PlanSpec::from_json(&plan).expect("a plan");
    records
        .put_plan(&PlanName::new("starter").expect("a name"), &source("p"), &plan, &by())
        .await
        .expect("the plan");
    let request = TenantRequest {
        name: TenantId::new(TENANT).expect("a name"),
        source: source("t"),
        spec: TenantSpec::from_json(&json!({"regionRef": region})).expect("a tenant"),
        api_keys: Vec::new(),
        dedicated_to: None,
    };
    records.put_tenant(&request, &by()).await.expect("the tenant");
}

/// One subscription as the api makes it, and its like.
async fn subscribe(records: &Records, database: &mut PgConnection, count: u32) {
    let tenant = records.tenant(Scope::of(TenantId::new(TENANT).expect("a name")));
    let new = NewCustomer {
        key: "customer-0".parse().expect("a key"),
        name: String::new(),
        time_zone: "UTC".to_owned(),
        metadata: json!({}),
    };
    let customer = tenant.create_customer(&new, uuid::Uuid::now_v7(), &by()).await.expect("a customer");
    let new = NewSubscription {
        customer_id: customer.id,
        plan: PlanName::new("starter").expect("a name"),
        starts_at: "2026-07-01T00:00:00Z".parse().expect("a time"),
        ends_at: None,
        anchor: meridian_billing::subscription::BillingAnchor::Calendar,
        time_zone: None,
        terms: Default::default(),
    };
    tenant.create_subscription(&new, uuid::Uuid::now_v7(), &by()).await.expect("a subscription");
    let others = count - 1;
    execute(
        database,
        &format!(
            "INSERT INTO customers (customer_id, tenant, key, managed_by)
             SELECT 'cus_' || lpad(n::text, 26, '0'), tenant, 'customer-' || n, managed_by FROM customers, generate_series(1, {others}) n
             WHERE key = 'customer-0'"
        ),
    )
    .await;
    execute(
        database,
        &format!(
            "INSERT INTO subscriptions (subscription_id, customer_id, tenant, plan_id, state, time_zone, anchor, starts_at,
                 next_period_start, next_period_end, managed_by, terms, plans)
             SELECT 'sub_' || lpad(n::text, 26, '0'), 'cus_' || lpad(n::text, 26, '0'), tenant, plan_id, state, time_zone, anchor,
                 starts_at, next_period_start, next_period_end, managed_by, terms, plans
             FROM subscriptions, generate_series(1, {others}) n"
        ),
    )
    .await;
}

/// A few events of July for each meter of each customer.
async fn use_meters(usage: &UsageStore, count: u32) {
    let july: Timestamp = "2026-07-03T12:00:00Z".parse().expect("a time");
    let stored_at_us = (Timestamp::now() - STORED_BEFORE).as_microsecond();
    for (part, customers) in (0..count).collect::<Vec<_>>().chunks(2000).enumerate() {
        let mut processed = Vec::new();
        for customer in customers {
            for (place, meter) in meters().into_iter().enumerate() {
                for event in 0..EVENTS_A_LINE {
                    let number = (u64::from(*customer) * LINES as u64 + place as u64) * 10 + event as u64;
                    processed.push(ProcessedEventRow {
                        tenant: TENANT.into(),
                        project: "default".into(),
                        customer: format!("customer-{customer}"),
                        meter: meter.clone(),
                        meter_version: 1,
                        subscription: String::new(),
                        plan_version: "1".into(),
                        prices: vec![meter.clone()],
                        quantity: Decimal::from_integer(7 + i64::from(*customer % 97) + event as i64),
                        unique_value: None,
                        group_values: String::new(),
                        source: "test".into(),
                        id: format!("event-{number}"),
                        time_us: july.as_microsecond() + event as i64 * 86_400_000_000 + number as i64 % 1000,
                        received_at_us: stored_at_us,
                        identity: u128::from(number),
                        offset: number as i64,
                    });
                }
            }
        }
        let token = Token { topic: "events".into(), partition: 0, range: format!("{part}"), stored_at_us };
        let batch = StoredBatch { processed, ..StoredBatch::empty(token) };
        let deadline = usage.deadline().await.expect("ClickHouse answers");
        for insert in batch.encode() {
            usage.insert(&insert, deadline).await.expect("stored");
        }
    }
}
