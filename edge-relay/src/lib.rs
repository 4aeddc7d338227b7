//! The relay agent: takes commands, fetches artifacts, builds firmware, flashes boards, tests and observes them.
//!
//! # Layout
//!
//! - [`config`], [`error`]: what a relay is told, and why it could not go on. [`run`] starts one.
//! - `folder`, `journal`, `trust`: what is on its disk. The journal is written before anything is acknowledged.
//! - `mqtt`, `inbox`, `outbox`, `state`: its only connection to the rest of the system.
//! - `work`: commands, from `admit` to their end. `fetch` and `build` serve them, each thing once (`flights`).
//! - `device`, `serial`, `boards`: devices, their lines, their types.
//!
//! It needs nobody to finish what it has begun, and must not reach the cloud by anything but MQTT.

pub mod boards;
mod build;
pub mod config;
mod counters;
mod device;
pub mod error;
mod fetch;
mod flights;
mod folder;
mod inbox;
mod journal;
mod mqtt;
mod outbox;
mod relay;
mod run;
mod serial;
mod state;
mod trust;
mod work;

pub use config::{Builds, RelayConfig};
pub use error::RelayError;
pub use run::run;
