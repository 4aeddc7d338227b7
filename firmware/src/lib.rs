//! The C firmware that generated models plug into, and the serial protocol it speaks.
//!
//! The protocol is described in `PROTOCOL.md` beside this crate. It is written twice, once in
//! C for boards (`c/`) and once here for hosts, and a test lets the two talk to each other.
//!
//! - [`frame`]: bytes to frames and back, plain text lines told apart, resynchronisation.
//! - [`message`]: typed application messages inside frames; [`bootloader`]: those for flashing.
//! - [`session`]: conversations (ask, flash, infer) as state machines without I/O, with retries.
//! - [`sources`]: the C sources as strings, for whoever compiles them.
//!
//! Nothing here opens a port, starts a process or contains a model.

pub mod bootloader;
pub mod frame;
pub mod message;
pub mod session;
pub mod sources;
mod tlv;

/// Version of the serial protocol, reported in `INFO` and `BL_INFO`.
pub const PROTOCOL_VERSION: u8 = 1;
