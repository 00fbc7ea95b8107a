//! `meridian-worker`: see the library.

use std::process::ExitCode;

use meridian_daemon::Program;
use meridian_worker::{config::Config, run::run};

#[tokio::main]
async fn main() -> ExitCode {
    meridian_daemon::run(Program::new("meridian-worker"), Config::read, run).await
}
