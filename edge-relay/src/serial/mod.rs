//! The serial side: [`SerialLine`] owns the port, a [`programmer`] replaces firmware, [`talk`] asks and tests.
//!
//! Everything in here blocks, with bounded waits, and runs on threads for blocking work.

mod holder;
pub mod port;
pub mod programmer;
pub mod talk;

pub use port::{Fault, SerialLine};
pub use programmer::Programmer;
