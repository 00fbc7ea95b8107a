//! The life of a process: configuration, telemetry, admin port, main, drain.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
};

use anyhow::Context;
use prometheus_client::{metrics::info::Info, registry::Registry};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    health::Health,
    process_metrics::ProcessMetrics,
    settings::{Common, Settings},
    telemetry,
};

/// Metrics of the process; everything in it is prefixed `meridian_`.
pub type MetricsRegistry = Arc<Mutex<Registry>>;

/// Who is running: the binary's name and its build.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    pub version: &'static str,
}

impl Program {
    pub const fn new(name: &'static str) -> Self {
        Self { name, version: env!("CARGO_PKG_VERSION") }
    }

    /// The commit is the image's to say (`MERIDIAN_COMMIT`), so that a commit by itself rebuilds no crate.
    fn commit(&self) -> String {
        std::env::var("MERIDIAN_COMMIT")
            .ok()
            .filter(|c| !c.is_empty())
            .unwrap_or_else(|| "unknown".to_owned())
    }
}

/// What `main` is handed.
#[derive(Clone)]
pub struct Process {
    pub common: Common,
    /// Cancelled on SIGTERM or SIGINT. `main` then has `common.shutdown_grace` to finish what it started.
    pub shutdown: CancellationToken,
    pub health: Health,
    pub metrics: MetricsRegistry,
}

/// Exit codes: 0 after a clean stop, 1 when `main` failed or overran its grace, 2 on a bad configuration.
const EXIT_FAILED: u8 = 1;
const EXIT_CONFIG: u8 = 2;

/// Runs a program from its command line to its exit.
///
/// `--version` prints the version and commit. `--check-config` reads the whole configuration without connecting to
/// anything and names every variable that is missing or bad. Otherwise `read` builds the configuration, an incomplete
/// one ends the process with exit code 2, and `main` runs until it returns, or until the grace period after SIGTERM.
pub async fn run<C, F>(
    program: Program,
    read: impl FnOnce(&mut Settings) -> C,
    main: impl FnOnce(C, Process) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let check_only = match arguments.as_slice() {
        [] => false,
        ["--check-config"] => true,
        ["--version" | "-V"] => {
            println!("{} {} ({})", program.name, program.version, program.commit());
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!(
                "usage: {} [--version | --check-config]\nConfiguration comes from the environment.",
                program.name
            );
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let mut settings = Settings::from_env();
    let common = Common::read(&mut settings);
    let config = read(&mut settings);
    if let Err(error) = settings.finish() {
        eprintln!("{}: {error}", program.name);
        return ExitCode::from(EXIT_CONFIG);
    }
    if check_only {
        println!("{}: the configuration is complete", program.name);
        return ExitCode::SUCCESS;
    }
    match live(program, common, config, main).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}: {error:#}", program.name);
            eprintln!("{}: {error:#}", program.name);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn live<C, F>(
    program: Program,
    common: Common,
    config: C,
    main: impl FnOnce(C, Process) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let _telemetry = telemetry::install(program.name, &common)?;
    let health = Health::default();
    let metrics = registry(program);
    let shutdown = CancellationToken::new();
    let admin_stop = CancellationToken::new();

    let listener = TcpListener::bind(common.admin_listen)
        .await
        .with_context(|| format!("MERIDIAN_ADMIN_LISTEN: cannot listen on {}", common.admin_listen))?;
    let admin = tokio::spawn(admin::serve(listener, health.clone(), metrics.clone(), admin_stop.clone()));
    tracing::info!(version = program.version, commit = program.commit(), region = common.region, "started");

    let process =
        Process { common: common.clone(), shutdown: shutdown.clone(), health: health.clone(), metrics };
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let work = main(config, process);
    tokio::pin!(work);

    let result = tokio::select! {
        result = &mut work => result,
        _ = async { tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} } } => {
            tracing::info!(grace_seconds = common.shutdown_grace.as_secs(), "draining");
            health.drain();
            shutdown.cancel();
            match tokio::time::timeout(common.shutdown_grace, &mut work).await {
                Ok(result) => result,
                Err(_) => Err(anyhow::anyhow!("work was left when the grace period ended")),
            }
        }
    };
    admin_stop.cancel();
    admin.await.context("the admin server")?.context("the admin server")?;
    if result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

fn registry(program: Program) -> MetricsRegistry {
    let mut registry = Registry::with_prefix("meridian");
    let labels = vec![
        ("program", program.name.to_owned()),
        ("version", program.version.to_owned()),
        ("commit", program.commit()),
    ];
    registry.register("build", "What is running", Info::new(labels));
    registry.register_collector(Box::new(ProcessMetrics));
    Arc::new(Mutex::new(registry))
}
