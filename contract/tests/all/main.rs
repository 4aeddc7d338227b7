//! The contract against its page, its recorded wire formats, and arbitrary input.
//!
//! - `access`: every identity on every topic.
//! - `examples`: decoding and encoding of each payload type, by name.
//! - `topics_md`: topics.md says what the crate does.
//! - `wire`: recorded payloads stay readable and come out the same.
//! - `asyncapi`: docs/asyncapi.json is up to date.
//! - `properties`: parsers on arbitrary input.
//! - `pages`: links, paths, codes and the map of crates on the other pages.

#![allow(clippy::unwrap_used, missing_docs)]

mod access;
mod asyncapi;
#[path = "../../examples/asyncapi/document.rs"]
mod document;
mod examples;
#[path = "../../examples/asyncapi/page.rs"]
mod page;
mod pages;
mod properties;
mod topics_md;
mod wire;
