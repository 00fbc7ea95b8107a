//! The operator against a scripted API server in process: named scenarios, and a crash after every call.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod control;
mod crashes;
mod elector;
mod merge;
mod real;
mod runtime;
mod scenarios;
mod server;
mod simulated;
mod world;
