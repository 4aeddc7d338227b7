//! What the cloud does, one file per service; the HTTP API and the MQTT ingest call it.

pub mod artifacts;
pub mod cloud_commands;
pub mod commands;
pub mod compile;
pub mod counters;
pub mod datasets;
pub mod failure;
pub mod files;
pub mod keys;
pub mod models;
pub mod outbox;
pub mod retention;
pub mod sync;

pub use failure::Failure;
