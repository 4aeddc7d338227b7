//! Commands: [`admit`] decides, a [`Ticket`] reports, a job for each verb works.

pub mod admit;
pub mod cancel;
pub mod evaluate;
mod failure;
pub mod install;
pub mod mend;
pub mod resume;
pub mod run;
pub mod ticket;
pub mod verbs;

pub use failure::{Failure, Halt};
pub use ticket::Ticket;
