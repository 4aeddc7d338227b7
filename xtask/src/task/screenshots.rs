//! `cargo xtask screenshots`.
use crate::arguments::Arguments;
use crate::failure::Outcome;
/// `screenshots [FOLDER]`
pub fn run(arguments: Arguments) -> Outcome {
    arguments.end()
}
