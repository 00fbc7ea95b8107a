//! The operator against a scripted API server in process: named scenarios, and a crash after every call.

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
