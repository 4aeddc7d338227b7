//! The relay agent: inbox, devices, build, flash, self-test, observe, outbox.
