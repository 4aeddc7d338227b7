//! Devices: found by [`discover`], kept in a [`registry`], each worked on by a [`worker`] of its own.

pub mod discover;
pub mod line;
pub mod observe;
pub mod read_text;
pub mod registry;
pub mod worker;

pub use registry::{Plug, Registry, Slot};
