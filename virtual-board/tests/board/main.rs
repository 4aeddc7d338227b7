//! Virtual boards as hosts see them: real processes, real terminals, real firmware.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod flashing;
mod life;
mod support;
