//! What Meridian knows about billing, as pure functions: events, meters, periods, prices, invoices, money.
//!
//! Values in, values out. There is no async here, no clock, randomness, environment, float or hash-ordered output: `now` and
//! ids are arguments, and the same input gives the same bytes on any machine (clippy.toml holds this). Stores, brokers and
//! Kubernetes are the business of the crates around it.
//!
//! Reading order: [`event`] → [`catalogue`] → [`meter`] (event → quantity) → [`period`] → [`price`] (quantity → amount) →
//! [`invoice`] (amounts → lines and a total). Below them: [`decimal`], [`money`], [`ids`], [`properties`].

pub mod catalogue;
pub mod decimal;
pub mod event;
pub mod ids;
pub mod invoice;
pub mod meter;
pub mod money;
pub mod period;
pub mod price;
pub mod properties;

/// Stored on every invoice: an invoice is recomputed by the engine that made it, or not at all. Raised when the same input
/// would give other bytes (a changed model, another time zone database).
pub const ENGINE_VERSION: u32 = 1;
