//! The worker on a real Postgres, ClickHouse and Temporal, each test in databases and on a task queue of its own.
//! `e2e/stores/up postgres clickhouse temporal; eval "$(e2e/stores/env)"; cargo test -p meridian-worker --features stores-tests`
//!
//! Ingest and the consumer are played: their rows are inserted, their progress is reported, as their crates would.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod closing;
mod crashes;
mod gate;
mod histories;
mod late;
mod nightly;
mod sweep;
mod thresholds;
mod world;
