//! The region's REST API: what tenants read and change (port 8080, `/v1`), and the operator's control port (8081).
//!
//! It authenticates, checks, and calls: Postgres through `meridian-records`, usage through `meridian-usage-store`, money
//! through `meridian-billing`, long work through Temporal by the names in `billing_runs`. It takes no usage events (that is
//! `ingest`), computes nothing that bills, and never takes a tenant from a body or path: the credential says whose data a
//! request may see, and what belongs to somebody else does not exist (404).
//!
//! Reading order: `app` (what a handler is given) → `routes` (one file a resource) → `auth`, `problem`, `idempotency`,
//! `envelope` (what surrounds every request) → `control` (the other port) → `serve`.

pub mod app;
mod auth;
pub mod billing_runs;
pub mod config;
pub mod control;
mod envelope;
mod extract;
mod idempotency;
mod metrics;
pub mod openapi;
pub mod problem;
mod routes;
pub mod serve;
mod usage;
mod watch;
