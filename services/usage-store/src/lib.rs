//! ClickHouse: the tables of usage, inserts that can be repeated, and the queries that billing asks.
//!
//! This crate owns every table of the `meridian` database in ClickHouse, their migrations, and every query. It never decides
//! what an event means (that is `meridian-billing`), never reads Kafka (that is `meridian-consumer`) and knows no money.
//! `consumer` inserts; `api` and `worker` ask; `migrate` runs [`UsageStore::migrate`].
//!
//! Reading order: `schema/*.sql` (the tables, each with its reasons) → [`rows`] (what is inserted) → `native` (how it is
//! encoded) → `insert` (why it may be repeated) → `metered_usage` (what a meter came to, from `period_usage` and `readings`), `price_usage` (what a price is told, with `contributions` for what no total can tell), `usage_series`,
//! `line_events`, `quarantine`, `prove`, `raw_usage` (what is asked) → `recovery` (what a consumer asks when it takes over a partition), `backfill` (what it asks to count a meter's past).
//!
//! Rules that hold everywhere here:
//! - Times are UTC microseconds since 1970 in an `i64`; ranges are half-open, `[start, end)`.
//! - Rows are unique when they are written; no query says FINAL.
//! - A question about one tenant takes a [`Scope`]. The scope is in the query's text and once more as a filter that the server
//!   puts on every table that the query reads, so a forgotten WHERE gives nothing of another tenant.
//! - Values travel as bound parameters; no text of a client becomes SQL.

mod backfill;
#[cfg(all(test, feature = "stores-tests"))]
mod backfill_tests;
mod contributions;
mod error;
mod insert;
mod late_usage;
mod line_events;
#[cfg(all(test, feature = "stores-tests"))]
mod metered_tests;
mod metered_usage;
mod migrate;
mod native;
mod period_usage;
mod price_usage;
mod prove;
mod quarantine;
mod raw_usage;
#[cfg(all(test, feature = "stores-tests"))]
mod raw_usage_tests;
mod readings;
mod recovery;
pub mod rows;
mod scope;
mod store;
#[cfg(all(test, feature = "stores-tests"))]
mod store_tests;
mod stored_event;
mod usage_series;

pub use backfill::{Backfill, BackfillQuery};
pub use error::UsageStoreError;
pub use insert::{Deadline, EncodedInsert, InsertReport, StoredBatch, Token};
pub use late_usage::LateUsageKey;
pub use line_events::{EventCursor, LineEvent, LineEventsPage, LineQuery};
pub use metered_usage::{MeteredKey, MeteredUsage};
pub use migrate::{AppliedMigration, SCHEMA_VERSION};
pub use period_usage::{PeriodKey, PeriodQuery, TotalFigures, UsageTotal};
pub use price_usage::{PeriodUsage, PeriodUsageQuery, PriceUsageError, PriceUsageQuery};
pub use prove::{Proof, ProvenUsage};
pub use quarantine::{QuarantineCursor, QuarantinePage, QuarantinedEvent};
pub use raw_usage::{RAW_EVENTS_MAX, UsageProof, UsageProofError, UsageProofQuery};
pub use recovery::{KnownEvent, PartitionStored, ReleaseCandidate, ReleaseQuery};
pub use scope::Scope;
pub use store::{ClickHouseOptions, UsageStore};
pub use stored_event::{StoredEvent, UnreadableEvent};
pub use usage_series::{SeriesQuery, UsagePoint, Window};
