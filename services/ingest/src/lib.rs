//! The receive path: a usage event comes in over HTTP, is checked, is made durable twice, and is acknowledged.
//!
//! In the order in which a request meets them:
//! `server` (connections) → `receive` (one request, the story) → `keys` (whose credential) → `body` (bytes, bounded)
//! → `decode` (dialects to drafts, pure) → `judge` (drafts to events and refusals, pure) → `stores` (the dual write)
//! → `reply`. Beside them `drain` moves what was acknowledged without Kafka into Kafka, and `watch` keeps readiness.
//!
//! What it never does: look at the catalogue. Whether a meter wants the event, whether its customer exists and what
//! it costs is the consumer's and billing's business; here checks are static, so that a wrong catalogue never makes
//! a tenant lose usage. It never acknowledges what no store has confirmed.
//!
//! An acknowledged event is in Kafka, or in the buffer's outbox from where it goes to Kafka, always one of the two;
//! `durability` says which stores hold it, and `degraded` that one of the two was missing.

pub mod admission;
pub mod body;
pub mod config;
pub mod decode;
pub mod drain;
pub mod judge;
pub mod keys;
pub mod metrics;
pub mod openapi;
pub mod receive;
pub mod refusal;
pub mod reply;
pub mod run;
pub mod server;
pub mod stores;
pub mod throttle;
pub mod watch;
