//! The relay with real parts: mosquitto, virtual boards and the relay are processes, the compiler is the host's own.
#![allow(clippy::unwrap_used, missing_docs)]

mod bench;
mod host;
mod main_job;
mod model;
