//! A topic, a ClickHouse database, a tenant and a consumer group of one test's own, in the real stores of e2e/stores, and
//! consumers as processes that can be killed. One test at a time: some of them stop a store.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use meridian_billing::{
    catalogue::{MeterSpec, TenantSpec},
    event::UsageEvent,
    ids::{CustomerKey, MeterName, TenantId},
    period::Period,
};
use meridian_records::{By, PostgresOptions, Records, Source, TenantRequest};
use meridian_usage_store::{ClickHouseOptions, Scope, UsageProofQuery, UsageStore};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use serde_json::{Value, json};

pub const PARTITIONS: i32 = 3;
/// 2026-03-01T00:00:00Z
pub const MARCH: i64 = 1_772_323_200_000_000;
pub const MONTH: i64 = 31 * 86_400_000_000;

static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub struct World {
    pub tenant: String,
    pub topic: String,
    pub records: Records,
    pub store: UsageStore,
    database: String,
    clickhouse: clickhouse::Client,
    producer: ThreadedProducer<DefaultProducerContext>,
    directory: PathBuf,
    consumers: AtomicU32,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(r#"{name} is not set: e2e/stores/up postgres clickhouse kafka; eval "$(e2e/stores/env)""#)
    })
}

fn kafka_client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", variable("MERIDIAN_KAFKA_BOOTSTRAP"))
        .set("security.protocol", variable("MERIDIAN_KAFKA_SECURITY_PROTOCOL"))
        .set("sasl.mechanism", variable("MERIDIAN_KAFKA_SASL_MECHANISM"))
        .set("sasl.username", variable("MERIDIAN_KAFKA_SASL_USERNAME"))
        .set("sasl.password", variable("MERIDIAN_KAFKA_SASL_PASSWORD"));
    client
}

impl World {
    pub async fn make(name: &str) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let unique = format!("{name}-{}", std::process::id());
        let database = format!("consumer_{}", unique.replace('-', "_"));
        let (url, user, password) = (
            variable("MERIDIAN_CLICKHOUSE_URL"),
            variable("MERIDIAN_CLICKHOUSE_USER"),
            variable("MERIDIAN_CLICKHOUSE_PASSWORD"),
        );
        let store = UsageStore::connect(&ClickHouseOptions {
            url: url.clone(),
            database: database.clone(),
            user: user.clone(),
            password: password.clone(),
        });
        store.migrate().await.expect("a migrated ClickHouse");
        let clickhouse = clickhouse::Client::default()
            .with_url(url)
            .with_user(user)
            .with_password(password)
            .with_database(&database);
        let port = variable("MERIDIAN_POSTGRES_PORT").parse().expect("a port");
        let options = PostgresOptions::new(
            &variable("MERIDIAN_POSTGRES_HOST"),
            port,
            &variable("MERIDIAN_POSTGRES_DATABASE"),
            &variable("MERIDIAN_POSTGRES_USER"),
            &variable("MERIDIAN_POSTGRES_PASSWORD"),
        );
        let records = meridian_records::connect(&options).expect("Postgres options");
        records.migrate(env!("CARGO_PKG_VERSION")).await.expect("a migrated Postgres");
        let topic = format!("test.{unique}");
        let admin: AdminClient<DefaultClientContext> = kafka_client().create().expect("an admin client");
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        let made = admin.create_topics(&[new], &AdminOptions::new()).await.expect("an answer of Kafka");
        made.into_iter().for_each(|topic| {
            topic.expect("a new topic");
        });
        let producer =
            kafka_client().set("acks", "all").set("enable.idempotence", "true").create().expect("a producer");
        let directory = std::env::temp_dir().join(format!("meridian-consumer-{unique}"));
        std::fs::create_dir_all(&directory).expect("a directory");
        let world = Self {
            tenant: unique,
            topic,
            records,
            store,
            database,
            clickhouse,
            producer,
            directory,
            consumers: AtomicU32::new(0),
            _alone: alone,
        };
        world.put_tenant().await;
        world.put_meter("calls", json!({"eventType": "call", "aggregation": "Count"})).await;
        world
            .put_meter("bytes", json!({"eventType": "call", "aggregation": "Sum", "valueProperty": "bytes"}))
            .await;
        world
    }

    async fn put_tenant(&self) {
        let spec: TenantSpec =
            serde_json::from_value(json!({"regionRef": {"name": "loopback"}, "apiKeys": []}))
                .expect("a tenant's spec");
        let source = Source { uid: format!("uid-{}", self.tenant), generation: 1 };
        let name = TenantId::new(&self.tenant).expect("a tenant's name");
        let request = TenantRequest { name, source, spec, api_keys: vec![], dedicated_to: None };
        self.records.put_tenant(&request, &By::new("test", "a test")).await.expect("a tenant");
    }

    /// A meter's full name: names are the region's, so a test puts its own before them.
    pub fn meter(&self, name: &str) -> String {
        format!("{}.{name}", self.tenant)
    }

    /// A meter of this test's tenant alone: the catalogue in Postgres is everybody's.
    pub async fn put_meter(&self, name: &str, spec: Value) {
        let spec = self.meter_spec(&spec);
        let name = self.meter(name);
        let source = Source { uid: format!("uid-{name}"), generation: 1 };
        let name = MeterName::new(name).expect("a meter's name");
        self.records.put_meter(&name, &source, &spec, &By::new("test", "a test")).await.expect("a meter");
    }

    fn meter_spec(&self, spec: &Value) -> MeterSpec {
        let mut full = json!({"regionRef": {"name": "loopback"}, "tenantRef": {"name": self.tenant}});
        full.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
        MeterSpec::from_json(&full).expect("a meter's spec")
    }

    pub fn event(&self, id: impl std::fmt::Display, kind: &str, time_us: i64, properties: Value) -> Vec<u8> {
        json!({"tenant": self.tenant, "project": "default", "source": "key", "id": id.to_string(), "type": kind,
            "customer": "c1", "time": time_us, "received_at": time_us + 77, "properties": properties})
        .to_string()
        .into_bytes()
    }

    /// Calls of 3 bytes each.
    pub fn calls(&self, ids: std::ops::Range<u32>) -> Vec<Vec<u8>> {
        ids.map(|id| {
            self.event(format!("id-{id}"), "call", MARCH + i64::from(id) * 1_000_000, json!({"bytes": 3}))
        })
        .collect()
    }

    /// Produces as the receive path does: keyed by identity, so that duplicates meet on one partition.
    pub async fn produce(&self, values: &[Vec<u8>]) {
        for value in values {
            let (key, partition) = match UsageEvent::from_canonical_json(value) {
                Ok(event) => (event.kafka_key(), (event.identity_hash() % PARTITIONS as u128) as i32),
                Err(_) => ("poison".to_owned(), 0),
            };
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(value).partition(partition);
            while let Err((_queue_is_full, back)) = self.producer.send(record) {
                record = back;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        self.producer.flush(Duration::from_secs(30)).expect("all records delivered");
    }

    pub fn consumer(&self) -> ConsumerBuilder<'_> {
        ConsumerBuilder { world: self, variables: BTreeMap::new() }
    }

    pub async fn count(&self, table: &str) -> u64 {
        let sql = format!("SELECT count() FROM {table}");
        self.clickhouse.query(&sql).fetch_one().await.unwrap_or(0)
    }

    pub async fn ask<T: clickhouse::RowOwned + clickhouse::RowRead>(&self, sql: &str) -> T {
        self.clickhouse.query(sql).fetch_one().await.expect("an answer of ClickHouse")
    }

    /// Waits for a number of rows. More of them is a failure at once; so is waiting too long.
    pub async fn reaches(&self, table: &str, rows: u64, limit: Duration) {
        let begun = Instant::now();
        loop {
            let count = self.count(table).await;
            assert!(count <= rows, "{table} has {count} rows, more than {rows}");
            if count == rows {
                return;
            }
            assert!(
                begun.elapsed() < limit,
                "{table} has {count} rows of {rows} after {limit:?}; logs in {}",
                self.directory.display()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every call is stored raw once, counted once by both meters, and the roll-ups say the same.
    pub async fn is_exact(&self, calls: u64) {
        assert_eq!(self.count("raw_events").await, calls, "raw events");
        let twice: u64 = self.ask("SELECT toUInt64(count() - uniqExact(identity)) FROM raw_events").await;
        assert_eq!(twice, 0, "raw rows of a known id");
        let scope = Scope::of(TenantId::new(&self.tenant).expect("a tenant's name"));
        for (meter, sum) in [("calls", calls), ("bytes", 3 * calls)] {
            let proof = self
                .store
                .prove(&scope, &self.meter(meter), "c1", MARCH, MARCH + 12 * MONTH)
                .await
                .expect("a proof");
            assert!(proof.agrees(), "{meter}: {proof:?}");
            assert_eq!((proof.raw.events, proof.raw.sum.clone()), (calls, sum.to_string()), "{meter}");
        }
    }

    /// A meter's usage from its roll-ups is what the meter makes of the raw events, and that is this many events.
    pub async fn counts_all_that_was_sent(&self, meter: &str, spec: &Value, events: u64) {
        let scope = Scope::of(TenantId::new(&self.tenant).expect("a tenant's name"));
        let instant = |us| jiff::Timestamp::from_microsecond(us).expect("an instant");
        let query = UsageProofQuery {
            meter: self.meter(meter),
            spec: self.meter_spec(spec),
            customer: CustomerKey::new("c1").expect("a customer"),
            period: Period { start: instant(MARCH), end: instant(MARCH + 12 * MONTH) },
            stored_before_us: None,
        };
        let proof = self.store.prove_usage(&scope, &query).await.expect("a proof");
        assert!(proof.equal(), "{meter}: {proof:?}");
        assert_eq!(proof.from_rollups.events, events, "{meter}");
    }

    /// Waits until the pipeline claims that everything up to now is processed.
    pub async fn is_processed_through_now(&self, limit: Duration) {
        let now_us = jiff::Timestamp::now().as_microsecond();
        let sources: Vec<String> = (0..PARTITIONS).map(|p| format!("kafka/{p}")).collect();
        let begun = Instant::now();
        while self.records.processed_through(&sources).await.expect("an answer").unwrap_or(0) < now_us {
            assert!(begun.elapsed() < limit, "progress does not move; logs in {}", self.directory.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn index_directory(&self, number: u32) -> PathBuf {
        self.directory.join(format!("index-{number}"))
    }

    pub fn index_bytes(&self, number: u32) -> u64 {
        let files = std::fs::read_dir(self.index_directory(number)).expect("an index");
        files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).sum()
    }

    pub async fn drop(self) {
        let sql = format!("DROP DATABASE {}", self.database);
        self.clickhouse.query(&sql).execute().await.expect("dropping the test's database");
        let admin: AdminClient<DefaultClientContext> = kafka_client().create().expect("an admin client");
        let _a_topic_that_stays_harms_nobody =
            admin.delete_topics(&[&self.topic], &AdminOptions::new()).await;
        let _logs_that_stay_harm_nobody = std::fs::remove_dir_all(&self.directory);
    }
}

pub struct ConsumerBuilder<'a> {
    world: &'a World,
    variables: BTreeMap<String, String>,
}

impl ConsumerBuilder<'_> {
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.to_owned(), value.to_string());
        self
    }

    pub fn crashing_at(self, point: &str) -> Self {
        self.set("MERIDIAN_CRASH_AT", point)
    }

    /// Consumers of the same number share a dedupe index, as containers of one pod do.
    pub fn start(self, number: u32) -> Consumer {
        let run = self.world.consumers.fetch_add(1, Ordering::Relaxed);
        let log = self.world.directory.join(format!("consumer-{run}.log"));
        let file = std::fs::File::create(&log).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_meridian-consumer"))
            .env("MERIDIAN_ADMIN_LISTEN", "127.0.0.1:0")
            .env("MERIDIAN_LOG_FORMAT", "text")
            .env("MERIDIAN_LOG", "info")
            .env("MERIDIAN_CLICKHOUSE_DATABASE", &self.world.database)
            .env("MERIDIAN_KAFKA_TOPIC_EVENTS", &self.world.topic)
            .env("MERIDIAN_KAFKA_GROUP", &self.world.topic)
            .env("MERIDIAN_KAFKA_PARTITIONS", PARTITIONS.to_string())
            .env("MERIDIAN_KAFKA_SESSION_TIMEOUT_MS", "6000")
            .env("MERIDIAN_CONSUMER_INDEX_DIR", self.world.index_directory(number))
            .envs(&self.variables)
            .stdout(Stdio::from(file.try_clone().expect("a log")))
            .stderr(Stdio::from(file))
            .spawn()
            .expect("a consumer");
        Consumer { child, log }
    }
}

/// A consumer process. Dropped, it is killed.
pub struct Consumer {
    child: Child,
    pub log: PathBuf,
}

impl Consumer {
    pub fn kill(&mut self) {
        self.child.kill().expect("a running consumer");
        self.child.wait().expect("its end");
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: a signal to a child that was not waited for yet, so the pid is its own.
        #[allow(unsafe_code, reason = "the standard library has no other signals than SIGKILL")]
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0);
    }

    /// Its exit code after SIGTERM.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal(libc::SIGTERM);
        self.ended(Duration::from_secs(30)).await
    }

    pub async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(
                begun.elapsed() < limit,
                "the consumer still runs after {limit:?}: {}",
                self.log.display()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running consumer");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// User and system time so far.
    pub fn cpu_seconds(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a running consumer");
        let after_name = stat.rsplit(')').next().expect("a process has a name");
        let ticks = |field: usize| -> f64 {
            after_name.split_whitespace().nth(field).and_then(|text| text.parse().ok()).expect("a number")
        };
        // Fields 14 and 15 of proc(5); Linux counts them in hundredths of a second.
        (ticks(11) + ticks(12)) / 100.0
    }

    pub fn said(&self, words: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
