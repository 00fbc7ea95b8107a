//! meridian-ingest: takes usage events over HTTP and makes them durable before it acknowledges them.

use std::process::ExitCode;

use meridian_daemon::{Program, run};
use meridian_ingest::config::Config;

#[tokio::main]
async fn main() -> ExitCode {
    run(Program::new("meridian-ingest"), Config::read, meridian_ingest::run::run).await
}
