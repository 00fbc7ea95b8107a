//! How many events ingest takes per CPU-second, with both stores and with null sinks, in one run:
//!
//! `e2e/stores/up kafka buffer; eval "$(e2e/stores/env)"; cargo run -p meridian-ingest --example ingest-bench -- [seconds]`
//!
//! The whole HTTP stack runs on loopback: connections, authentication, decoding, judging, the dual write, answers.
//! The load comes from a second process (this program again), so that the CPU that is counted is ingest's alone:
//! user and system time of this process, all of librdkafka's and the SDK's threads included, without the stores
//! and without the client. The load is closed: a fixed number of connections, each waiting for its answer.
//!
//! Null sinks are the ceiling: what ingest would cost if durability were free. Only the ratio means something across
//! machines.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use anyhow::Context;
use futures::future::BoxFuture;
use meridian_billing::ids::{ProjectId, TenantId};
use meridian_buffer::{Buffer, BufferOptions, EventRecord, create_table};
use meridian_daemon::{BufferSettings, KafkaSettings, Settings};
use meridian_ingest::{
    admission::Admission,
    config::Limits,
    keys::{self, Away, Directory, Keys, Known},
    metrics::Metrics,
    receive::{self, Receiver},
    server,
    stores::{
        Guarded, Store, StoreFault, Stores,
        buffer::{BufferEvents, BufferOutbox},
        kafka::{KafkaLog, KafkaStore},
    },
    throttle::Throttle,
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 16;
const SHAPES: [usize; 3] = [1, 20, 500];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["load", url, events, seconds] => runtime.block_on(load(url, events.parse()?, seconds.parse()?)),
        [] => runtime.block_on(compare(5)),
        [seconds] => runtime.block_on(compare(seconds.parse()?)),
        _ => anyhow::bail!("usage: ingest-bench [seconds a measurement]"),
    }
}

async fn compare(seconds: u64) -> anyhow::Result<()> {
    let mut settings = Settings::from_env();
    let (kafka, buffer) = (KafkaSettings::read(&mut settings), BufferSettings::read(&mut settings));
    settings.finish()?;
    let null: Arc<dyn Store> = Arc::new(Null);
    let nulls = stores(null.clone(), null.clone(), null).await?;
    let reals = real_stores(&kafka, buffer).await?;
    println!("{CONNECTIONS} connections, {seconds} s each; CPU of ingest alone");
    println!(
        "{:>15} {:>12} {:>10} {:>8} {:>14} {:>8}",
        "events/request", "sinks", "events/s", "cores", "events/CPU-s", "ratio"
    );
    for events in SHAPES {
        let ceiling = measure(nulls.clone(), "null", events, seconds, None).await?;
        measure(reals.clone(), "both stores", events, seconds, Some(ceiling)).await?;
    }
    Ok(())
}

/// Serves one mode while the other process loads it; prints a line; events per CPU-second.
async fn measure(
    stores: Stores,
    name: &str,
    events: usize,
    seconds: u64,
    ceiling: Option<f64>,
) -> anyhow::Result<f64> {
    let metrics = stores.metrics.clone();
    let limits = Limits::default();
    let receiver = Arc::new(Receiver {
        limits,
        admission: Admission::new(&limits),
        keys: Keys::new(Arc::new(OneKey), metrics.clone()),
        throttle: Throttle::new(&limits),
        stores,
        metrics,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/events", listener.local_addr()?);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server::serve(listener, receive::router(receiver), limits, stop.clone()));

    run_load(&url, events, 1).await?;
    let (cpu, started) = (cpu_seconds()?, Clock::now());
    let accepted = run_load(&url, events, seconds).await? as f64;
    let (cpu, took) = (cpu_seconds()? - cpu, started.elapsed().as_secs_f64());
    stop.cancel();
    serving.await?;

    let per_cpu_second = accepted / cpu;
    let ratio = ceiling.map(|ceiling| format!("{:.2}", per_cpu_second / ceiling)).unwrap_or_default();
    println!(
        "{events:>15} {name:>12} {:>10.0} {:>8.2} {per_cpu_second:>14.0} {ratio:>8}",
        accepted / took,
        cpu / took
    );
    Ok(per_cpu_second)
}

async fn run_load(url: &str, events: usize, seconds: u64) -> anyhow::Result<u64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["load", url, &events.to_string(), &seconds.to_string()]).stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    anyhow::ensure!(output.status.success(), "the load failed");
    String::from_utf8(output.stdout)?.trim().parse().context("the load's count")
}

/// The second process: prints how many events were accepted.
async fn load(url: &str, events: usize, seconds: u64) -> anyhow::Result<()> {
    let http = reqwest::Client::new();
    let end = Clock::now() + Duration::from_secs(seconds);
    let workers = (0..CONNECTIONS).map(|worker| {
        let (http, url) = (http.clone(), url.to_owned());
        tokio::spawn(async move {
            let mut accepted = 0u64;
            let mut round = 0u64;
            while Clock::now() < end {
                let body = body(worker, round, events);
                round += 1;
                let answer = http
                    .post(&url)
                    .bearer_auth(format!("mrd_{}", "a".repeat(43)))
                    .header("content-type", "application/json")
                    .body(body)
                    .send()
                    .await?;
                anyhow::ensure!(answer.status() == 202, "answered {}", answer.status());
                answer.bytes().await?;
                accepted += events as u64;
            }
            anyhow::Ok(accepted)
        })
    });
    let mut accepted = 0;
    for worker in futures::future::join_all(workers).await {
        accepted += worker??;
    }
    println!("{accepted}");
    Ok(())
}

/// Distinct ids; about 220 bytes an event, as an API-call event has.
fn body(worker: usize, round: u64, events: usize) -> String {
    let nonce = std::process::id();
    let event = |n: usize| {
        format!(
            r#"{{"id":"{nonce}-{worker}-{round}-{n}","type":"api-calls","customer":"customer-{}","properties":{{"region":"eu-central-1","method":"GET","path":"/v1/things","status":200,"duration_ms":12.75,"bytes":{}}}}}"#,
            n % 97,
            1000 + n
        )
    };
    if events == 1 {
        return event(0);
    }
    format!("[{}]", (0..events).map(event).collect::<Vec<_>>().join(","))
}

/// Takes everything at once.
struct Null;

impl Store for Null {
    fn put<'a>(
        &'a self,
        records: &'a [EventRecord],
        _deadline: Instant,
    ) -> BoxFuture<'a, Vec<Result<(), StoreFault>>> {
        Box::pin(std::future::ready(vec![Ok(()); records.len()]))
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Every well-formed key is acme's.
struct OneKey;

impl Directory for OneKey {
    fn find<'a>(&'a self, _hash_hex: &'a str) -> BoxFuture<'a, Result<Known, Away>> {
        let tenant = TenantId::new("acme").expect("a name");
        let origin = keys::origin(tenant, ProjectId::default_project(), "bench".to_owned());
        Box::pin(std::future::ready(Ok(Known::Grant(origin))))
    }
}

/// The two real stores, with a table and a topic of their own.
async fn real_stores(kafka: &KafkaSettings, buffer: BufferSettings) -> anyhow::Result<Stores> {
    let mut kafka = kafka.clone();
    kafka.topic_events = "ingest-bench".to_owned();
    create_topic(&kafka).await?;
    let BufferSettings { endpoint, aws_region, access_key_id, secret_access_key, .. } = buffer;
    let table = "ingest-bench".to_owned();
    let options = BufferOptions { endpoint, aws_region, access_key_id, secret_access_key, table };
    create_table(&options).await?;
    let buffer = Buffer::connect(&options);
    let kafka = Arc::new(KafkaLog::connect(&kafka)?);
    stores(
        Arc::new(BufferEvents(buffer.clone())),
        Arc::new(BufferOutbox(buffer)),
        Arc::new(KafkaStore(kafka)),
    )
    .await
}

async fn stores(
    buffer: Arc<dyn Store>,
    outbox: Arc<dyn Store>,
    kafka: Arc<dyn Store>,
) -> anyhow::Result<Stores> {
    let stores = Stores {
        buffer: Guarded::new("dynamodb", buffer),
        outbox,
        kafka: Guarded::new("kafka", kafka),
        // The machine may be busy; a store that is only slow must not change what is measured.
        patience: Duration::from_secs(20),
        metrics: Arc::new(Metrics::default()),
    };
    for guarded in [&stores.buffer, &stores.kafka] {
        guarded.store.probe().await.map_err(|reason| anyhow::anyhow!("{}: {reason}", guarded.name))?;
        guarded.breaker.probed(true, Instant::now());
    }
    Ok(stores)
}

async fn create_topic(settings: &KafkaSettings) -> anyhow::Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let mut config = rdkafka::ClientConfig::new();
    for (name, value) in settings.client_properties() {
        config.set(name, value);
    }
    let admin: AdminClient<rdkafka::client::DefaultClientContext> = config.create()?;
    let topic = NewTopic::new(&settings.topic_events, 12, TopicReplication::Fixed(1));
    for made in admin.create_topics([&topic], &AdminOptions::new()).await? {
        match made {
            Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => anyhow::bail!("topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// User and system time of this process, all threads. Fields 14 and 15 of /proc/self/stat, in clock ticks of 10 ms.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the name in parentheses and may hold anything.
    let fields = stat.rsplit_once(')').context("/proc/self/stat")?.1;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>())
        .sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}
