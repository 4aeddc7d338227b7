//! TLS, WebSocket and HTTP over real sockets on the loopback interface.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "all/certificates.rs"]
mod certificates;
#[path = "all/http.rs"]
mod http;
#[path = "all/support.rs"]
mod support;
#[path = "all/tls.rs"]
mod tls;
