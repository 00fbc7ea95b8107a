//! The operator: reads the four kinds and what belongs to them, calls `meridian-desired` once a pass, and carries out what it
//! returned.
//!
//! It decides nothing about what a region looks like, knows no Kafka, ClickHouse or Temporal client, and writes nothing without
//! being the leader. Neighbours: `meridian-desired` (what), the API server and the control ports of regions (where).
//!
//! Reading order: [`run`] puts it together; [`region`], [`deletion`] and [`entries`] are the passes; [`apply`], [`credentials`],
//! [`api_keys`], [`control`] and [`status`] are the writers, one each; [`watch`], [`caches`] and
//! [`foreign_secrets`] are what is read; [`fence`],
//! [`lease`] and [`client`] see to it that only a leader writes.

pub mod api_keys;
pub mod apply;
pub mod caches;
pub mod client;
pub mod context;
pub mod control;
pub mod credentials;
pub mod deletion;
pub mod entries;
pub mod fence;
pub mod finalizer;
pub mod foreign_secrets;
pub mod lease;
pub mod metrics;
pub mod reconcile;
pub mod region;
pub mod run;
pub mod settings;
pub mod status;
pub mod watch;
