//! `clickhouse-server` for machines that cannot pull the official image.
//!
//! ClickHouse publishes its engine as one shared library (`libchdb.so`). That library holds the whole of
//! `clickhouse-local`, which can open the HTTP and native listeners of the server. This program loads the
//! library, opens both listeners, and stays until it is told to stop. It takes the command line of the
//! official `clickhouse-server` (`--config-file=FILE -- --key=value`), reads the same `config.xml`,
//! `config.d/`, `users.xml` and `users.d/`, and keeps its data at the same path, so that a StatefulSet does
//! not know which of the two it runs.
//!
//! It never talks to a network itself, and never changes a table: `system` apart (see [`data`]), what is on
//! the disk is the engine's business. Neighbours: `../Dockerfile` installs it, `e2e/stores` runs it on loopback.

mod arguments;
mod data;
mod engine;
mod stop;

use anyhow::Context;
use std::process::ExitCode;

fn main() -> ExitCode {
    match arguments::parse(std::env::args().skip(1)) {
        Ok(arguments::Request::Version) => {
            println!("clickhouse-launcher {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(arguments::Request::Serve(serve)) => stop::leave(match run(&serve) {
            Ok(()) => {
                eprintln!("clickhouse-server: stopped");
                0
            }
            Err(problem) => {
                eprintln!("clickhouse-server: {problem:#}");
                1
            }
        }),
        Err(problem) => {
            eprintln!("clickhouse-server: {problem}\n{}", arguments::USAGE);
            ExitCode::from(2)
        }
    }
}

fn run(serve: &arguments::Serve) -> anyhow::Result<()> {
    // Before anything starts a thread: every thread of the engine inherits this mask, so that only the
    // thread in `stop` ever sees the signal.
    let signals = stop::block_signals().context("blocking SIGTERM and SIGINT")?;
    data::forget_system_database(&serve.data_path)?;
    let engine = engine::Engine::load(&serve.library)?;
    let keep_alive = stop::until_signalled(signals).context("creating the pipe that keeps the engine up")?;
    engine.serve(serve, keep_alive.read_end())?;
    anyhow::ensure!(keep_alive.was_signalled(), "the engine stopped although nobody asked it to");
    Ok(())
}
