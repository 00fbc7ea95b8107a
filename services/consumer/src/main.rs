//! `meridian-consumer`: see the library.

use std::process::ExitCode;

use meridian_consumer::{config::Config, run::run};
use meridian_daemon::Program;

#[tokio::main]
async fn main() -> ExitCode {
    meridian_daemon::run(Program::new("meridian-consumer"), Config::read, run).await
}
