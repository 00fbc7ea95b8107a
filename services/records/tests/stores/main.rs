//! The system of record on a real Postgres, each test in a schema of its own.
//! `e2e/stores/up postgres; eval "$(e2e/stores/env)"; cargo test -p meridian-records --features stores-tests`
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod catalogue_control;
mod changes;
mod coupons;
mod credit_notes;
mod credits;
mod grants;
mod idempotency;
mod invoice_changes;
mod invoices;
mod issuing_together;
mod ledger_rows;
mod many_terms;
mod periods;
mod pipeline_gate;
mod region;
mod schema;
mod tenant_wall;
mod terms_of_drafts;
