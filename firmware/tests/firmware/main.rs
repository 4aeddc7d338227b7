//! The serial protocol, in Rust alone and between Rust and the compiled C.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod camera;
mod compile;
mod conversation;
mod framing;
mod lossy;
mod messages;
mod process;
