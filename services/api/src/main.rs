//! meridian-api: see the library.

use meridian_api::{config::Config, serve::serve};
use meridian_daemon::{Program, run};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    run(Program::new("meridian-api"), Config::read, serve).await
}
