//! A region of one test: its own Postgres schema and ClickHouse database, and the api on two loopback ports.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use meridian_api::{
    app::{App, AppOptions},
    billing_runs::{BillingRuns, TemporalOptions},
    config::Limits,
    serve::{control_port, tenant_port},
};
use meridian_billing::{
    decimal::Decimal,
    event::UsageEvent,
    ids::{CustomerKey, ProjectId, TenantId},
};
use meridian_records::{PostgresOptions, Records, Scope, TenantRecords, connect};
use meridian_usage_store::{
    ClickHouseOptions, StoredBatch, Token, UsageStore,
    rows::{ProcessedEventRow, RawEventRow},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub const CONTROL_TOKEN: &str = "the-operators-token";
/// 2026-07-01T00:00:00Z
pub const JULY_US: i64 = 1_782_864_000_000_000;

pub struct Region {
    pub records: Records,
    pub usage: UsageStore,
    pub schema: String,
    usage_database: String,
    pub temporal: TemporalOptions,
    rest: String,
    control: String,
    client: reqwest::Client,
}

/// A tenant's key: the same for the same name, so that tests need not carry it about.
pub fn key_of(tenant: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("key of {tenant}")));
    format!("mrd_{}", &digest[..43])
}

pub fn hash_of(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: e2e/stores/up postgres clickhouse temporal; eval \"$(e2e/stores/env)\" before these tests")
    })
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must be this.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// A problem with this status and code; its detail must be a sentence for people.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert!(self.body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{}", self.body);
        self.body
    }
}

impl Region {
    pub async fn start() -> Self {
        Self::start_with(Limits { api_key_cache: Duration::from_millis(100), ..Limits::default() }, None)
            .await
    }

    pub async fn start_with(limits: Limits, dedicated_tenant: Option<&str>) -> Self {
        let (records, schema) = records().await;
        let (usage, usage_database) = usage_store().await;
        let temporal = TemporalOptions {
            address: variable("MERIDIAN_TEMPORAL_ADDRESS"),
            namespace: variable("MERIDIAN_TEMPORAL_NAMESPACE"),
            // Nobody works on it: a run that was started stays where it is.
            task_queue: schema.clone(),
        };
        let options = AppOptions {
            records: records.clone(),
            usage: usage.clone(),
            billing_runs: BillingRuns::new(temporal.clone()),
            limits,
            control_token: CONTROL_TOKEN.to_owned(),
            dedicated_tenant: dedicated_tenant.map(|name| TenantId::new(name).expect("a name")),
        };
        let app = App::new(options, &mut prometheus_client::registry::Registry::default());
        let rest = serve(tenant_port(&app)).await;
        let control = serve(control_port(&app)).await;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client");
        Self { records, usage, schema, usage_database, temporal, rest, control, client }
    }

    pub fn tenant(&self, name: &str) -> TenantRecords {
        self.records.tenant(Scope::of(TenantId::new(name).expect("a name")))
    }

    pub fn rest_request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.rest))
    }

    pub fn control_request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.control))
    }

    /// A request with the key of that tenant.
    pub async fn ask(&self, tenant: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.rest_request(method, path).bearer_auth(key_of(tenant));
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub async fn get(&self, tenant: &str, path: &str) -> Answer {
        self.ask(tenant, Method::GET, path, None).await
    }

    pub async fn post(&self, tenant: &str, path: &str, body: Value) -> Answer {
        self.ask(tenant, Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        answer(
            self.control_request(Method::PUT, &format!("/control/v1/{path}"))
                .bearer_auth(CONTROL_TOKEN)
                .json(&body),
        )
        .await
    }

    /// Meter api-calls, plan starter (100, 10,000 calls included, 0.01 beyond), and these tenants, billed from July 2026 on.
    pub async fn with_catalogue(self, tenants: &[&str]) -> Self {
        self.put("meters/api-calls", json!({"uid": "m1", "generation": 1, "spec": meter_spec()}))
            .await
            .expect(200);
        self.put("plans/starter", json!({"uid": "p1", "generation": 1, "spec": plan_spec()}))
            .await
            .expect(200);
        for tenant in tenants {
            self.put(&format!("tenants/{tenant}"), tenant_body(tenant)).await.expect(200);
        }
        self
    }

    /// The tenant's own subscription.
    pub async fn subscription(&self, tenant: &str) -> String {
        let list = self.get(tenant, "/v1/subscriptions").await.expect(200);
        list["data"][0]["id"].as_str().expect("the tenant's own").to_owned()
    }

    pub async fn customer(&self, tenant: &str, key: &str) -> Value {
        self.post(tenant, "/v1/customers", json!({"key": key, "name": "Somebody"})).await.expect(201)
    }

    /// As if the process had died between doing the work of an idempotency key and noting its answer, a minute ago.
    pub async fn forget_answer(&self, key: &str) {
        self.behind_our_back(&format!(
            "UPDATE idempotency_keys SET status = NULL, response = NULL, finished_at = NULL,
                 claimed_at = now() - interval '2 minutes' WHERE key = '{key}'"
        ))
        .await;
    }

    /// What somebody with psql does to the rows.
    pub async fn behind_our_back(&self, statement: &str) {
        let mut connection = connection().await;
        let statement =
            format!("SET search_path = {}; SET meridian.every_tenant = 'on'; {statement}", self.schema);
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("done");
    }

    /// As if every plan had been made in January.
    pub async fn with_old_plans(&self) {
        let mut connection = connection().await;
        let statement = format!(
            "SET search_path = {}; SET meridian.every_tenant = 'on';
             ALTER TABLE plan_versions DISABLE TRIGGER append_only;
             UPDATE plan_versions SET created_at = '2026-01-01T00:00:00Z';
             ALTER TABLE plan_versions ENABLE TRIGGER append_only",
            self.schema
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("made older");
    }

    pub async fn terminate(&self, workflow_id: &str) {
        use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, UntypedWorkflow};
        let url = url::Url::parse(&format!("http://{}", self.temporal.address)).expect("a url");
        let connection =
            Connection::connect(ConnectionOptions::new(url).build()).await.expect("Temporal answers");
        let client =
            Client::new(connection, ClientOptions::new(&self.temporal.namespace).build()).expect("a client");
        let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        handle.terminate(Default::default()).await.expect("terminated");
    }

    /// That many calls, spread over July, stored as it ended.
    pub async fn call(&self, tenant: &str, customer: &str, count: u32) {
        self.call_stored_at(tenant, customer, count, JULY_US + 31 * 86_400_000_000).await;
    }

    pub async fn call_stored_at(&self, tenant: &str, customer: &str, count: u32, stored_at_us: i64) {
        static BATCH: AtomicU32 = AtomicU32::new(0);
        let number = BATCH.fetch_add(1, Ordering::Relaxed);
        let first = i64::from(number) * 1_000_000;
        let token = Token {
            topic: "events".to_owned(),
            partition: 0,
            range: format!("{first}-{}", first + i64::from(count) - 1),
            stored_at_us,
        };
        let (raw, processed) =
            (0..count).map(|index| event(tenant, customer, first + i64::from(index), index, count)).unzip();
        let batch = StoredBatch { raw, processed, ..StoredBatch::empty(token) };
        let deadline = self.usage.deadline().await.expect("a deadline");
        for insert in batch.encode() {
            self.usage.insert(&insert, deadline).await.expect("inserted");
        }
    }
}

const PROPERTIES: &str = r#"{"path":"/things"}"#;

fn event(
    tenant: &str,
    customer: &str,
    offset: i64,
    index: u32,
    count: u32,
) -> (RawEventRow, ProcessedEventRow) {
    let time_us = JULY_US + 31 * 86_400_000_000 / i64::from(count) * i64::from(index);
    let sent = UsageEvent {
        tenant: TenantId::new(tenant).expect("a tenant"),
        project: ProjectId::new("default").expect("a project"),
        source: "default".to_owned(),
        id: format!("event-{offset}"),
        event_type: "api.call".to_owned(),
        customer: CustomerKey::new(customer).expect("a customer"),
        time_us,
        received_at_us: time_us + 5,
        properties: serde_json::from_str(PROPERTIES).expect("an object"),
    };
    let (id, identity) = (sent.id.clone(), offset as u128 + 7_000_000_000);
    let raw = RawEventRow {
        tenant: tenant.to_owned(),
        project: "default".to_owned(),
        source: "default".to_owned(),
        id: id.clone(),
        event_type: "api.call".to_owned(),
        customer: customer.to_owned(),
        time_us,
        received_at_us: time_us + 5,
        properties: PROPERTIES.to_owned(),
        identity,
        payload_hash: sent.payload_hash(),
        offset,
    };
    let processed = ProcessedEventRow {
        tenant: tenant.to_owned(),
        project: "default".to_owned(),
        customer: customer.to_owned(),
        meter: "api-calls".to_owned(),
        meter_version: 1,
        subscription: String::new(),
        plan_version: "starter@1".to_owned(),
        prices: vec!["calls".to_owned()],
        quantity: Decimal::ONE,
        unique_value: None,
        group_values: String::new(),
        source: "default".to_owned(),
        id,
        time_us,
        received_at_us: time_us + 5,
        identity,
        offset,
    };
    (raw, processed)
}

pub fn meter_spec() -> Value {
    json!({"regionRef": {"name": "test"}, "eventType": "api.call", "aggregation": "Count", "unit": "call"})
}

pub fn plan_spec() -> Value {
    json!({
        "regionRef": {"name": "test"}, "currency": "USD", "interval": {"unit": "Month", "count": 1},
        "prices": [
            {"name": "base", "flat": {"amount": "100"}},
            {"name": "calls", "meterRef": {"name": "api-calls"}, "included": "10000", "perUnit": {"amount": "0.01"}},
        ],
    })
}

pub fn tenant_body(tenant: &str) -> Value {
    json!({
        "uid": format!("uid-{tenant}"), "generation": 1,
        "spec": {
            "regionRef": {"name": "test"}, "planRef": {"name": "starter"}, "billingStart": "2026-07-01T00:00:00Z",
            "apiKeys": [{"name": "default", "secretRef": {"name": "key"}}],
        },
        "apiKeys": [{"name": "default", "hash": hash_of(&key_of(tenant))}],
    })
}

pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a body");
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

async fn serve(routes: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await.expect("serving") });
    format!("http://{address}")
}

async fn records() -> (Records, String) {
    let schema = format!("api_{}", uuid::Uuid::now_v7().simple());
    let mut options = PostgresOptions::new(
        &variable("MERIDIAN_POSTGRES_HOST"),
        variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port"),
        &variable("MERIDIAN_POSTGRES_DATABASE"),
        &variable("MERIDIAN_POSTGRES_USER"),
        &variable("MERIDIAN_POSTGRES_PASSWORD"),
    );
    options.schema = Some(schema.clone());
    // Tests run side by side on one small Postgres.
    options.connections_max = 6;
    let records = connect(&options).expect("options");
    create_schema(&schema).await;
    records.migrate(env!("CARGO_PKG_VERSION")).await.expect("the migrations run");
    (records, schema)
}

async fn connection() -> sqlx::PgConnection {
    use sqlx::Connection;
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host(&variable("MERIDIAN_POSTGRES_HOST"))
        .port(variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port"))
        .database(&variable("MERIDIAN_POSTGRES_DATABASE"))
        .username(&variable("MERIDIAN_POSTGRES_USER"))
        .password(&variable("MERIDIAN_POSTGRES_PASSWORD"));
    sqlx::PgConnection::connect_with(&options).await.expect("Postgres answers")
}

async fn create_schema(schema: &str) {
    let mut connection = connection().await;
    let statement = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(statement).execute(&mut connection).await.expect("a schema");
}

async fn usage_store() -> (UsageStore, String) {
    let database = format!("api_{}", uuid::Uuid::now_v7().simple());
    let store = UsageStore::connect(&ClickHouseOptions {
        url: variable("MERIDIAN_CLICKHOUSE_URL"),
        database: database.clone(),
        user: variable("MERIDIAN_CLICKHOUSE_USER"),
        password: variable("MERIDIAN_CLICKHOUSE_PASSWORD"),
    });
    store.migrate().await.expect("a migrated database");
    (store, database)
}

/// Only a test that passed tidies up: what a failed one left can be looked at.
impl Drop for Region {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (schema, database) = (self.schema.clone(), self.usage_database.clone());
        // A runtime of its own on a thread of its own: this one may be ending.
        let tidied = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(tidy(schema, database));
        });
        tidied.join().expect("tidied up");
    }
}

async fn tidy(schema: String, database: String) {
    let mut connection = connection().await;
    let statement = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(statement).execute(&mut connection).await.expect("the schema is dropped");
    let request = reqwest::Client::new()
        .post(variable("MERIDIAN_CLICKHOUSE_URL"))
        .header("X-ClickHouse-User", variable("MERIDIAN_CLICKHOUSE_USER"))
        .header("X-ClickHouse-Key", variable("MERIDIAN_CLICKHOUSE_PASSWORD"))
        .body(format!("DROP DATABASE {database}"));
    assert!(request.send().await.expect("ClickHouse answers").status().is_success());
}
