//! `cargo xtask ci`: what CI runs, in its order.

use crate::arguments::Arguments;
use crate::failure::Outcome;

/// `ci`
pub fn run(arguments: Arguments) -> Outcome {
    arguments.end()?;
    super::lint::run(Arguments::new(&["--install".to_owned()]))?;
    super::test::run(Arguments::new(&[]))
}
