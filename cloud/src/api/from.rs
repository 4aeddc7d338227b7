//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderName;
use axum::http::request::Parts;
use contract::api::{CLIENT_HEADER, Client};

use crate::audit::Actor;

/// Set by the dashboard: whom it asks for.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct From {
    /// The address, if the server says so. A program on this machine may speak for a visitor from elsewhere.
    pub address: Option<IpAddr>,
    /// Whether it comes from this machine itself, and for nobody elsewhere.
    pub is_local: bool,
    /// What kind of client says that it asks.
    pub client: Client,
}

impl From {
    /// Somebody from there who is not known.
    pub fn stranger(self) -> Actor {
        Actor::new("", "", self.client.as_str(), self.address)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let client = text(CLIENT_HEADER).and_then(Client::parse).unwrap_or(Client::Api);
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let forwarded = text(FORWARDED_FOR.as_str()).and_then(|text| text.split(',').next_back()?.trim().parse().ok());
        let near = peer.is_some_and(|peer| peer.is_loopback());
        let address = if near { forwarded.or(peer) } else { peer };
        Ok(Self { address, is_local: near && !parts.headers.contains_key(FORWARDED_FOR), client })
    }
}
