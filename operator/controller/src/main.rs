//! `meridian-operator`: one process, any number of regions. See the library for what it does.

use std::process::ExitCode;

use meridian_daemon::Program;
use meridian_operator::{run, settings};

#[tokio::main]
async fn main() -> ExitCode {
    meridian_daemon::run(Program::new("meridian-operator"), settings::Config::read, run::run).await
}
