//! The real program against real stores that are killed under it: no acknowledged event may be lost.
//!
//! `cargo test -p meridian-ingest --features stores-tests --test stores`
//! Each test brings up an instance of the stores of its own (e2e/stores, instance 8), because it kills them, and
//! takes it down again; they run one after the other. What was acknowledged is kept in a ledger by the client and
//! held against what Kafka has in the end.
#![cfg(feature = "stores-tests")]
#![allow(
    clippy::unwrap_used,
    clippy::await_holding_lock,
    dead_code,
    reason = "a test fails by panicking, and holds its turn at the stores while it waits"
)]

mod client;
mod faults;
mod kafka;
mod refusals;
#[path = "../../../../e2e/stores/tls_front.rs"]
mod tls;
mod world;
