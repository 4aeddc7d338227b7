//! The relay with real parts: mosquitto, virtual boards and the relay are processes, the compiler is the host's own.
#![allow(clippy::unwrap_used, missing_docs)]

mod arduino_cli;
mod bad_input;
mod bench;
mod boards;
mod container;
mod cortex_m4;
mod crash;
mod effects;
mod engine;
mod figures;
mod host;
mod keys;
mod main_job;
mod mega;
mod model;
mod outage;
mod pico;
mod probe_rs;
mod process;
mod promises;
mod real_models;
mod sensor;
mod text;
mod uno;
