//! One file per table. Times are µs since 1970, documents are JSON text: the same on every database.

pub mod artifacts;
pub mod audit;
pub mod cloud_commands;
pub mod commands;
pub mod counters;
pub mod datasets;
pub mod devices;
pub mod events;
pub mod groups;
pub mod invitations;
pub mod journals;
pub mod logs;
pub mod models;
pub mod readings;
pub mod relays;
pub mod sessions;
pub mod tokens;
pub mod users;
pub mod watermarks;
