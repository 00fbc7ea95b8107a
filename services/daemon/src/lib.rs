//! What every long-running Meridian program does the same way: read its configuration whole and refuse an
//! incomplete one before the first connection, serve `/livez`, `/readyz` and `/metrics` on a port of its own,
//! write structured logs and OTLP traces, and drain within a grace period on SIGTERM.
//!
//! It knows no store, no Kubernetes and no billing. Its neighbours are the `main.rs` files of the operator and of
//! the services, which stay a few lines long because of it:
//!
//! ```no_run
//! use meridian_daemon::{Process, Program, Settings, run};
//!
//! struct Config { greeting: String }
//!
//! fn read(settings: &mut Settings) -> Config {
//!     Config { greeting: settings.or("MERIDIAN_GREETING", "hello") }
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     run(Program::new("meridian-greeter"), read, |config: Config, process: Process| async move {
//!         tracing::info!("{}", config.greeting);
//!         process.shutdown.cancelled().await;
//!         Ok(())
//!     })
//!     .await
//! }
//! ```

mod admin;
mod health;
mod life;
mod process_metrics;
mod settings;
mod stores;
mod telemetry;

pub use health::{Health, HealthFlag};
pub use life::{MetricsRegistry, Process, Program, run};
pub use secrecy::{ExposeSecret, SecretString};
pub use settings::{Common, ConfigError, LogFormat, Settings};
pub use stores::{
    BufferSettings, ClickHouseSettings, KafkaSettings, ObjectStoreSettings, PostgresSettings, RedisSettings,
    TemporalSettings,
};
