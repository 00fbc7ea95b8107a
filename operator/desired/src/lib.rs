//! What a region ought to look like: a BillingRegion and what was read from the cluster become Kubernetes objects and
//! conditions.
//!
//! Values in, values out. There is no client here, no clock, no randomness and no environment: `now`, generated credentials
//! and the operator's settings are arguments, and the same input gives the same bytes (clippy.toml holds this). Neighbours:
//! `meridian-crds` has the kinds, `meridian-operator` fetches, calls this once, and carries out what it returned.
//!
//! Reading order: [`component`] and [`traffic`] are the map; [`validate`] → [`build`] → [`status`] is the way of one pass;
//! [`stores`] and [`services`] are what is built; [`catalogue`] is the same for Meters, Plans and Tenants.

pub mod build;
pub mod catalogue;
pub mod component;
pub mod conditions;
pub mod connect;
pub mod credentials;
pub mod discovery;
pub mod environment;
pub mod health;
pub mod images;
pub mod object;
pub mod observed;
pub mod pods;
pub mod profile;
pub mod region;
pub mod services;
pub mod status;
pub mod stores;
pub mod subset;
pub mod traffic;
pub mod validate;
