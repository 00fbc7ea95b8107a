//! What Meridian knows about billing, as pure functions: events, meters, periods, prices, invoices, money.
//!
//! Values in, values out. There is no async here, no clock, randomness, environment, float or hash-ordered output: `now` and
//! ids are arguments, and the same input gives the same bytes on any machine (clippy.toml holds this). Stores, brokers and
//! Kubernetes are the business of the crates around it.
//!
//! Reading order: [`event`] → [`catalogue`] → [`meter`] (event → quantity) → [`measure`] (quantities → usage) → [`period`] → [`price`] (quantity → amount) →
//! [`subscription`] (terms and changes → the periods to bill) → [`invoice`] (amounts → lines and a total). What comes after the
//! lines: [`coupon`] → [`ledger`] → [`tax`]; after the invoice: [`invoice_state`], [`credit_note`]. Below them: [`allocation`],
//! [`decimal`], [`money`], [`ids`], [`properties`].

pub mod allocation;
pub mod bucket;
pub mod catalogue;
pub mod coupon;
pub mod credit_note;
pub mod decimal;
pub mod event;
pub mod ids;
pub mod invoice;
pub mod invoice_state;
pub mod ledger;
pub mod measure;
pub mod meter;
pub mod money;
pub mod period;
pub mod price;
pub mod properties;
pub mod subscription;
pub mod tax;

/// Stored on every invoice: an invoice is recomputed by the engine that made it, or not at all. Raised when the same input
/// would give other bytes (a changed model, another time zone database).
pub const ENGINE_VERSION: u32 = 3;
