//! The api over real stores and real sockets, each test in a region of its own.
//! `e2e/stores/up postgres clickhouse temporal; eval "$(e2e/stores/env)"; cargo test -p meridian-api --features stores-tests`
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod changes;
mod closing;
mod control_port;
mod coupons;
mod credentials;
mod credits;
mod description;
mod idempotency;
mod invoice_changes;
mod invoices;
mod other_tenants;
mod plan_preview;
mod region;
mod written_wrongly;
