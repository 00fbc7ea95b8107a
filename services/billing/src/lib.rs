//! What Meridian knows about billing, as pure functions: events, meters, periods, prices, invoices, money.
//!
//! Values in, values out. There is no async here, no clock, randomness, environment, float or hash-ordered output: `now` and
//! ids are arguments, and the same input gives the same bytes on any machine (clippy.toml holds this). Stores, brokers and
//! Kubernetes are the business of the crates around it.
//!
//! Reading order: [`event`] → [`catalogue`] → `meter` (event → quantity) → `period` → `price` (quantity → lines) → `invoice`.

pub mod catalogue;
pub mod decimal;
pub mod event;
pub mod ids;
pub mod money;
pub mod properties;

/// Stored on every invoice: an invoice is recomputed by the engine that made it, or not at all. Raised when the same input
/// would give other bytes.
pub const ENGINE_VERSION: u32 = 1;
