//! Registry, artifacts, models, telemetry and the HTTP API: everything that the fleet needs a memory for.
//!
//! # Layout
//!
//! - [`config`], [`error`], [`service`]: how a cloud is opened and run.
//! - [`credentials`], [`signing`]: the file of identities that the broker and the cloud share; the key of manifests.
//! - [`mosquitto`]: the same identities and rules as files for a plain Mosquitto.
//! - `roster`, `audit`: users, tokens, groups, invitations; who did what.
//! - [`db`]: the database; the only place that knows its schema.
//! - `mqtt`: the connection to the broker and what is published over it.
//! - `ingest`: what relays send, persisted before it is acknowledged.
//! - `services`: artifacts, models, data sets, the compile queue, commands that wait for their relay, retention.
//! - [`api`]: the HTTP API, one file per noun.
//!
//! No serial port is touched here, and no relay needs the cloud to finish what it began.

pub mod api;
mod audit;
pub mod config;
pub mod credentials;
mod db;
pub mod error;
mod ingest;
pub mod mosquitto;
mod mqtt;
mod roster;
pub mod service;
mod services;
mod shared;
pub mod signing;

pub use config::CloudConfig;
pub use error::CloudError;
pub use service::Cloud;
