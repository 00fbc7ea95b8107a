//! Real stores, a tenant with keys, and meridian-ingest as a process.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use meridian_billing::{catalogue::TenantSpec, ids::TenantId};
use meridian_buffer::{Buffer, BufferOptions, OUTBOX_SHARDS, create_table};
use meridian_records::{ApiKeyHash, By, PostgresOptions, Records, Source, TenantRequest};
use sha2::{Digest, Sha256};

use crate::tls::free_port;

const INSTANCE: &str = "8";
const STORES: [&str; 4] = ["postgres", "kafka", "redis", "buffer"];
pub const TENANT: &str = "acme";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct World {
    pub environment: BTreeMap<String, String>,
    pub records: Records,
    pub buffer: Buffer,
    ingest: Option<Child>,
    port: u16,
    log: PathBuf,
    generation: i64,
    _turn: MutexGuard<'static, ()>,
}

/// A key that has the shape of a real one.
pub fn key(letter: char) -> String {
    format!("mrd_{}", letter.to_string().repeat(43))
}

/// Runs one of the scripts in e2e/stores on our instance.
fn script(name: &str, arguments: &[&str]) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../e2e/stores").join(name);
    let output = Command::new(&path)
        .args(arguments)
        .env("MERIDIAN_STORES_INSTANCE", INSTANCE)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        output.status.success(),
        "e2e/stores/{name} {arguments:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// `export NAME=value` lines.
fn environment() -> BTreeMap<String, String> {
    let text = script("env", &[]);
    let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

impl World {
    /// Fresh stores, a topic, a table, a schema, tenant acme with keys a and b; ingest is running and ready.
    pub async fn start(test: &str) -> World {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        script("down", &STORES);
        script("up", &STORES);
        let mut environment = environment();
        let port = free_port();
        let admin = free_port();
        for (name, value) in [
            ("MERIDIAN_INGEST_LISTEN", format!("127.0.0.1:{port}")),
            ("MERIDIAN_ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
            ("MERIDIAN_LOG", "info".to_owned()),
            ("MERIDIAN_LOG_FORMAT", "text".to_owned()),
        ] {
            environment.insert(name.to_owned(), value);
        }
        let get = |name: &str| environment[name].clone();
        let buffer_options = BufferOptions {
            endpoint: Some(get("MERIDIAN_BUFFER_ENDPOINT")),
            aws_region: get("MERIDIAN_BUFFER_AWS_REGION"),
            access_key_id: get("MERIDIAN_BUFFER_ACCESS_KEY_ID"),
            secret_access_key: get("MERIDIAN_BUFFER_SECRET_ACCESS_KEY").into(),
            table: get("MERIDIAN_BUFFER_TABLE"),
        };
        create_table(&buffer_options).await.unwrap();
        crate::kafka::create_topic(&environment).await;
        let records = meridian_records::connect(&PostgresOptions::new(
            &get("MERIDIAN_POSTGRES_HOST"),
            get("MERIDIAN_POSTGRES_PORT").parse().unwrap(),
            &get("MERIDIAN_POSTGRES_DATABASE"),
            &get("MERIDIAN_POSTGRES_USER"),
            &get("MERIDIAN_POSTGRES_PASSWORD"),
        ))
        .unwrap();
        records.migrate(env!("CARGO_PKG_VERSION")).await.unwrap();
        let log = std::env::temp_dir().join(format!("meridian-ingest-{test}.log"));
        let buffer = Buffer::connect(&buffer_options);
        let mut world =
            World { environment, records, buffer, ingest: None, port, log, generation: 0, _turn: turn };
        world.grant(&['a', 'b']).await;
        std::fs::remove_file(&world.log).ok();
        world.run_ingest().await;
        world
    }

    /// These keys of the tenant live, all others are revoked.
    pub async fn grant(&mut self, letters: &[char]) {
        self.generation += 1;
        let hash = |letter: &char| hex::encode(Sha256::digest(key(*letter)));
        let api_keys: Vec<ApiKeyHash> = letters
            .iter()
            .map(|letter| ApiKeyHash { name: format!("key-{letter}"), hash: hash(letter) })
            .collect();
        let named: Vec<_> = api_keys
            .iter()
            .map(|key| serde_json::json!({"name": key.name, "secretRef": {"name": key.name}}))
            .collect();
        let spec = serde_json::json!({"regionRef": {"name": "loopback"}, "apiKeys": named});
        let request = TenantRequest {
            name: TenantId::new(TENANT).unwrap(),
            source: Source { uid: "uid-acme".to_owned(), generation: self.generation },
            spec: TenantSpec::from_json(&spec).unwrap(),
            api_keys,
            dedicated_to: None,
        };
        self.records.put_tenant(&request, &By::new("test", "keys of the test")).await.unwrap();
    }

    pub async fn run_ingest(&mut self) {
        assert!(self.ingest.is_none());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_meridian-ingest"))
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.ingest = Some(child);
        self.wait_ready().await;
    }

    async fn wait_ready(&mut self) {
        let url = format!("http://{}/readyz", self.environment["MERIDIAN_ADMIN_LISTEN"]);
        let ingest = self.ingest.as_mut().unwrap();
        until("ingest is ready", Duration::from_secs(30), async || {
            let ended = ingest.try_wait().unwrap();
            assert!(ended.is_none(), "ingest ended before it was ready: {ended:?}");
            reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.environment["MERIDIAN_ADMIN_LISTEN"]);
        reqwest::get(&url).await.unwrap().text().await.unwrap()
    }

    /// Whether a check of `/readyz` passes.
    pub async fn healthy(&self, check: &str) -> bool {
        let url = format!("http://{}/readyz", self.environment["MERIDIAN_ADMIN_LISTEN"]);
        let report: serde_json::Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        let checks = report["checks"].as_array().unwrap();
        checks.iter().any(|found| found["name"] == check && found["failing"].is_null())
    }

    pub fn ingest_pid(&self) -> u32 {
        self.ingest.as_ref().unwrap().id()
    }

    /// Resident memory of the process, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.ingest_pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    pub fn kill_ingest(&mut self) {
        let mut child = self.ingest.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; the exit status and how long it took.
    pub fn terminate_ingest(&mut self) -> (std::process::ExitStatus, Duration) {
        let mut child = self.ingest.take().unwrap();
        let started = Instant::now();
        Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
        (child.wait().unwrap(), started.elapsed())
    }

    pub fn stop_store(&self, store: &str) {
        script("stop", &[store]);
    }

    pub fn kill_store(&self, store: &str) {
        script("stop", &["-9", store]);
    }

    pub fn start_store(&self, store: &str) {
        script("start", &[store]);
    }

    pub async fn outbox_entries(&self) -> usize {
        let mut entries = 0;
        for shard in 0..OUTBOX_SHARDS {
            entries += self.buffer.outbox(shard, 100_000).await.unwrap().len();
        }
        entries
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.ingest.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the end of {}:", self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        script("down", &STORES);
    }
}

/// Waits for a condition, with a limit.
pub async fn until(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
