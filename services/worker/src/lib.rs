//! The worker: Temporal workflows that close billing periods, and the activities that do their work.
//!
//! Workflows hold steps only. All IO and all pricing run in activities, which are idempotent: money is decided by the
//! database's unique key (tenant, subscription, period, revision), never by a step running exactly once. A workflow may be
//! started twice, retried or killed anywhere; there is one invoice.
//!
//! It never prices anything itself (`meridian-billing` does), writes no SQL (`meridian-records`, `meridian-usage-store`) and
//! serves no HTTP but its admin port. The api starts `CloseBillingPeriod` by name; [`wire`] is what both agree on.
//!
//! Reading order: [`wire`] → [`workflows`] (the story) → [`activities`] (what each step does) → [`gate`] (when a period may
//! be closed) → [`schedules`] → [`run`].

pub mod activities;
pub mod config;
pub mod connect;
pub mod crash;
pub mod failure;
pub mod gate;
pub mod metrics;
pub mod run;
pub mod schedules;
pub mod wire;
#[deny(clippy::disallowed_methods)]
pub mod workflows;
