//! A region of one test: databases, a tenant with a subscription, a pipeline that reports, and workers as real processes.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use meridian_billing::{
    catalogue::{MeterSpec, PlanSpec, TenantSpec},
    decimal::Decimal,
    ids::{MeterName, PlanName, TenantId},
    period::Period,
    subscription::BillingAnchor,
};
use meridian_daemon::{Settings, TemporalSettings};
use meridian_records::{
    By, Invoice, NewCustomer, NewSubscription, Page, PostgresOptions, Records, Scope, Source, Subscription,
    TenantRecords, TenantRequest, connect,
};
use meridian_usage_store::{ClickHouseOptions, StoredBatch, Token, UsageStore, rows::ProcessedEventRow};
use meridian_worker::wire::{ClosePeriod, DueCursor};
use serde_json::json;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use temporalio_client::Client;

pub const PARTITIONS: u32 = 2;
/// Nothing here takes longer unless it is stuck.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub struct World {
    /// Postgres' and ClickHouse's database, region and task queue of this test.
    pub name: String,
    pub records: Records,
    pub usage: UsageStore,
    pub client: Client,
    pub subscription: Subscription,
    pipeline: Arc<Pipeline>,
    workers: Mutex<Vec<Child>>,
}

/// What ingest and the consumer report, four times a second.
#[derive(Default)]
struct Pipeline {
    stopped: AtomicBool,
    silent: Mutex<Vec<String>>,
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run e2e/stores/up postgres clickhouse temporal and eval \"$(e2e/stores/env)\" before these tests"
        )
    })
}

fn postgres_options(database: &str) -> PostgresOptions {
    PostgresOptions::new(
        &variable("MERIDIAN_POSTGRES_HOST"),
        variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port"),
        database,
        &variable("MERIDIAN_POSTGRES_USER"),
        &variable("MERIDIAN_POSTGRES_PASSWORD"),
    )
}

pub async fn raw(database: &str) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&variable("MERIDIAN_POSTGRES_HOST"))
        .port(variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port"))
        .username(&variable("MERIDIAN_POSTGRES_USER"))
        .password(&variable("MERIDIAN_POSTGRES_PASSWORD"))
        .database(database);
    PgConnection::connect_with(&options).await.expect("Postgres answers")
}

async fn temporal() -> Client {
    let mut settings = Settings::from_map(
        ["MERIDIAN_TEMPORAL_ADDRESS", "MERIDIAN_TEMPORAL_NAMESPACE"]
            .map(|name| (name.to_owned(), variable(name)))
            .into(),
    );
    let settings = TemporalSettings::read(&mut settings);
    let target = meridian_worker::connect::target(&settings).expect("an address");
    meridian_worker::connect::connect(&settings, &target).await.expect("Temporal answers")
}

pub fn by() -> By {
    By::new("test", "because the test says so")
}

impl World {
    /// Tenant acme, billed from 1 July 2026 for api-calls: base 100, 10,000 included, 0.01 beyond.
    pub async fn start() -> Self {
        let name = format!("worker_{}", uuid::Uuid::now_v7().simple());
        let mut admin = raw(&variable("MERIDIAN_POSTGRES_DATABASE")).await;
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.expect("a database");
        let records = connect(&postgres_options(&name)).expect("options");
        records.migrate(env!("CARGO_PKG_VERSION")).await.expect("Postgres migrates");
        let usage = UsageStore::connect(&ClickHouseOptions {
            url: variable("MERIDIAN_CLICKHOUSE_URL"),
            database: name.clone(),
            user: variable("MERIDIAN_CLICKHOUSE_USER"),
            password: variable("MERIDIAN_CLICKHOUSE_PASSWORD"),
        });
        usage.migrate().await.expect("ClickHouse migrates");
        let subscription = catalogue(&records).await;
        let client = temporal().await;
        let pipeline = Arc::new(Pipeline::default());
        tokio::spawn(report(pipeline.clone(), records.clone()));
        Self { name, records, usage, client, subscription, pipeline, workers: Mutex::default() }
    }

    /// Only a test that passed tidies up: what a failed one left can be looked at.
    pub async fn end(self) {
        self.pipeline.stopped.store(true, Ordering::Relaxed);
        self.stop_workers();
        let mut admin = raw(&variable("MERIDIAN_POSTGRES_DATABASE")).await;
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // Autovacuum may be at work in it, and only a superuser may end that; it is soon through.
        let mut tries = 0;
        while let Err(error) = sqlx::query(sqlx::AssertSqlSafe(drop.clone())).execute(&mut admin).await {
            tries += 1;
            assert!(tries < 20, "the database of the test is not dropped: {error}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        for id in [
            meridian_worker::schedules::sweep_id(&self.name),
            meridian_worker::schedules::monthly_id(&self.name),
            meridian_worker::schedules::thresholds_id(&self.name),
            meridian_worker::schedules::verify_id(&self.name),
            meridian_worker::schedules::ledgers_id(&self.name),
        ] {
            // A test whose worker never got as far has none.
            let _ = self.client.get_schedule_handle(id).delete(Default::default()).await;
        }
    }

    fn stop_workers(&self) {
        let mut workers = self.workers.lock().expect("not poisoned");
        for worker in workers.iter_mut() {
            // It may have ended by itself.
            let _ = worker.kill();
            let _ = worker.wait();
        }
        workers.clear();
    }

    pub fn tenant(&self) -> TenantRecords {
        self.records.tenant(Scope::of(tenant()))
    }

    /// A worker as a process of its own, as in production. It is killed when the world ends.
    pub fn worker(&self, more: &[(&str, &str)]) -> u32 {
        let child = self.command(more).spawn().expect("the worker starts");
        let id = child.id();
        self.workers.lock().expect("not poisoned").push(child);
        id
    }

    pub fn command(&self, more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian-worker"));
        command
            .env("MERIDIAN_REGION", &self.name)
            .env("MERIDIAN_LOCATION", "test")
            .env("MERIDIAN_ADMIN_LISTEN", "127.0.0.1:0")
            .env("MERIDIAN_LOG", "warn,meridian_worker=info")
            .env("MERIDIAN_POSTGRES_DATABASE", &self.name)
            .env("MERIDIAN_CLICKHOUSE_DATABASE", &self.name)
            .env("MERIDIAN_TEMPORAL_TASK_QUEUE", &self.name)
            .env("MERIDIAN_PIPELINE_PARTITIONS", PARTITIONS.to_string())
            .env("MERIDIAN_CLOSE_GRACE_SECONDS", "0")
            .env("MERIDIAN_CLOCK_SKEW_MILLISECONDS", "200")
            .envs(more.iter().copied())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit());
        command
    }

    /// Waits for a worker to end by itself.
    pub async fn ended(&self, id: u32) -> std::process::ExitStatus {
        let mut child = {
            let mut workers = self.workers.lock().expect("not poisoned");
            let index = workers.iter().position(|worker| worker.id() == id).expect("a worker of this world");
            workers.remove(index)
        };
        let waited = tokio::task::spawn_blocking(move || child.wait());
        tokio::time::timeout(PATIENCE, waited)
            .await
            .expect("the worker ends")
            .expect("joined")
            .expect("a status")
    }

    /// This source says nothing from now on.
    pub fn silence(&self, source: &str) {
        self.pipeline.silent.lock().expect("not poisoned").push(source.to_owned());
    }

    pub fn let_speak(&self) {
        self.pipeline.silent.lock().expect("not poisoned").clear();
    }

    /// So many calls of the tenant itself on 15 July, as the consumer stores them: now.
    pub async fn use_calls(&self, calls: u32) {
        self.use_calls_of("", "2026-07-15T12:00:00Z".parse().expect("a time"), calls).await;
    }

    /// So many calls of a customer from an instant on.
    pub async fn use_calls_of(&self, customer: &str, from: jiff::Timestamp, calls: u32) {
        let stored_at_us = jiff::Timestamp::now().as_microsecond();
        let row = |number: u32| ProcessedEventRow {
            tenant: "acme".into(),
            project: "default".into(),
            customer: customer.to_owned(),
            meter: "api-calls".into(),
            meter_version: 1,
            subscription: self.subscription.id.to_string(),
            plan_version: "1".into(),
            prices: vec!["calls".into()],
            quantity: Decimal::ONE,
            unique_value: None,
            group_values: String::new(),
            source: "test".into(),
            id: format!("{stored_at_us}-{number}"),
            time_us: from.as_microsecond() + i64::from(number),
            received_at_us: stored_at_us,
            identity: (u128::from(stored_at_us.unsigned_abs()) << 32) | u128::from(number),
            offset: i64::from(number),
        };
        let token = Token {
            topic: "meridian.events".into(),
            partition: 0,
            range: format!("{stored_at_us}-{calls}"),
            stored_at_us,
        };
        let batch = StoredBatch { processed: (0..calls).map(row).collect(), ..StoredBatch::empty(token) };
        let deadline = self.usage.deadline().await.expect("ClickHouse answers");
        for insert in batch.encode() {
            self.usage.insert(&insert, deadline).await.expect("stored");
        }
    }

    /// Closing July, on demand.
    pub fn july(&self) -> ClosePeriod {
        ClosePeriod {
            tenant: tenant(),
            subscription: self.subscription.id.clone(),
            period_start_us: self.subscription.starts_at.as_microsecond(),
            issue: true,
            on_demand: true,
        }
    }

    /// August, as a sweep finds it once July is issued.
    pub fn due_august(&self) -> DueCursor {
        let at = |text: &str| text.parse().expect("an instant");
        let period = Period { start: at("2026-08-01T00:00:00Z"), end: at("2026-09-01T00:00:00Z") };
        DueCursor { tenant: tenant(), subscription: self.subscription.id.clone(), period }
    }

    /// A customer of the tenant with a subscription to a plan, from 1 July 2026 on.
    pub async fn subscribe(&self, key: &str, plan: &str) -> Subscription {
        let new = NewCustomer {
            key: key.parse().expect("a key"),
            name: String::new(),
            time_zone: "UTC".to_owned(),
            metadata: json!({}),
        };
        let tenant = self.tenant();
        let customer = tenant.create_customer(&new, uuid::Uuid::now_v7(), &by()).await.expect("a customer");
        let new = NewSubscription {
            customer_id: customer.id,
            plan: plan.parse().expect("a name"),
            starts_at: self.subscription.starts_at,
            ends_at: None,
            anchor: BillingAnchor::Calendar,
            time_zone: None,
            terms: Default::default(),
        };
        tenant.create_subscription(&new, uuid::Uuid::now_v7(), &by()).await.expect("a subscription")
    }

    pub async fn invoices(&self) -> Vec<Invoice> {
        self.tenant().invoices(None, &Page::first(50)).await.expect("invoices").items
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.pipeline.stopped.store(true, Ordering::Relaxed);
        self.stop_workers();
    }
}

pub fn tenant() -> TenantId {
    TenantId::new("acme").expect("a name")
}

async fn catalogue(records: &Records) -> Subscription {
    let source = |uid: &str| Source { uid: uid.to_owned(), generation: 1 };
    let meter = MeterSpec::from_json(
        &json!({"regionRef": {"name": "test"}, "eventType": "api.call", "aggregation": "Count", "unit": "call"}),
    );
    let plan = PlanSpec::from_json(&json!({
        "regionRef": {"name": "test"}, "currency": "USD", "interval": {"unit": "Month", "count": 1},
        "prices": [
            {"name": "base", "flat": {"amount": "100"}},
            {"name": "calls", "meterRef": {"name": "api-calls"}, "included": "10000", "perUnit": {"amount": "0.01"}},
        ],
    }));
    let spec = TenantSpec::from_json(&json!({
        "regionRef": {"name": "test"}, "planRef": {"name": "starter"}, "billingStart": "2026-07-01T00:00:00Z",
    }));
    let meter_name = MeterName::new("api-calls").expect("a name");
    let plan_name = PlanName::new("starter").expect("a name");
    records.put_meter(&meter_name, &source("m"), &meter.expect("a meter"), &by()).await.expect("the meter");
    records.put_plan(&plan_name, &source("p"), &plan.expect("a plan"), &by()).await.expect("the plan");
    let request = TenantRequest {
        name: tenant(),
        source: source("t"),
        spec: spec.expect("a tenant"),
        api_keys: Vec::new(),
        dedicated_to: None,
    };
    records.put_tenant(&request, &by()).await.expect("the tenant");
    let listed =
        records.tenant(Scope::of(tenant())).subscriptions(None, &Page::first(2)).await.expect("listed");
    listed.items.into_iter().next().expect("the tenant's own subscription")
}

async fn report(pipeline: Arc<Pipeline>, records: Records) {
    let sources: Vec<String> = (0..PARTITIONS)
        .map(|partition| format!("kafka/{partition}"))
        .chain((0..4).map(|shard| format!("outbox/{shard}")))
        .collect();
    while !pipeline.stopped.load(Ordering::Relaxed) {
        let now_us = jiff::Timestamp::now().as_microsecond();
        let silent = pipeline.silent.lock().expect("not poisoned").clone();
        for source in sources.iter().filter(|source| !silent.contains(source)) {
            // The database goes away under this task when the test ends.
            if records.report_progress(source, now_us).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
