//! The connection to the broker: a task that polls, an inbox that it fills, a publisher for everybody else.

mod connection;
mod inbox;
mod publisher;

pub use connection::connect;
pub use inbox::{Inbox, Received, Signal};
pub use publisher::Publisher;
