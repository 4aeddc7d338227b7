//! The dashboard as visitors meet it: over HTTP with a real broker behind it, and in a real browser.

#![allow(clippy::unwrap_used)]

mod browser_pages;
mod foreign_sites;
mod http_pages;
mod live_events;
mod support;
