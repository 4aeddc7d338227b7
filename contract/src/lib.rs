//! The fleet contract: what travels over MQTT and HTTP between cloud, relays, dashboards and anybody's scripts.
//!
//! # Layout
//!
//! - [`topic`]: the topic grammar, one enum for every topic there is.
//! - [`ids`], [`timestamp`], [`limits`], [`code`]: the small vocabulary of all payloads.
//! - [`command`] → [`lifecycle`] → [`event`]: what is asked of a relay and what it answers.
//! - [`presence`], [`state`]: retained documents; caches, never the truth.
//! - [`reading`], [`log`], [`stream`]: what a relay streams, and how a host confirms it.
//! - [`request`], [`artifact`]: how a relay fetches what it builds; [`settings`]: what it was compiled with;
//!   [`keys`]: whose signature it trusts.
//! - [`cloud_command`]: the verbs that are addressed to the cloud.
//! - [`audit`]: what the broker tells of who publishes commands.
//! - [`access`]: who may publish and subscribe where.
//! - [`api`], [`people`]: the documents of the HTTP API.
//! - [`wire`]: the only place that encodes and decodes, and that decides what fits.
//!
//! No I/O lives here, and no dependency on any other crate of the workspace.

pub mod access;
pub mod api;
pub mod artifact;
pub mod audit;
pub mod cloud_command;
pub mod code;
pub mod command;
pub mod event;
mod fields;
pub mod ids;
pub mod keys;
pub mod lifecycle;
pub mod limits;
pub mod log;
pub mod pattern;
pub mod people;
pub mod presence;
pub mod reading;
pub mod request;
pub mod settings;
pub mod state;
pub mod stream;
pub mod timestamp;
pub mod topic;
pub mod wire;

pub use code::Code;
pub use ids::{ArtifactId, CommandId, DeviceId, ModelRef, RelayId};
pub use lifecycle::State;
pub use timestamp::Timestamp;
pub use topic::Topic;
pub use wire::Malformed;
