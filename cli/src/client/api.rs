//! The cloud's HTTP API.

use std::time::Duration;

use contract::api::{ApiError, CLIENT_HEADER, Client, DeviceView, PREFIX};
use contract::{Code, DeviceId, RelayId};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use crate::args::Context;
use crate::client::token;
use crate::exit::Failure;

/// A client with its credential.
pub struct Api {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Api {
    /// A client for the cloud of this context.
    pub fn new(context: &Context) -> Result<Self, Failure> {
        Self::with_token(&context.api, token(context)?)
    }

    /// A client for a cloud at `base` with a token at hand.
    pub fn with_token(base: &str, token: String) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(CLIENT_HEADER, HeaderValue::from_static(Client::Cli.as_str()));
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(5))
            // Compiling a model is the longest of all calls.
            .timeout(Duration::from_secs(300))
            .build()
            .map_err(|error| Failure::Internal(format!("the HTTP client: {error}")))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, http })
    }

    /// A request to a path under the API's prefix.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{PREFIX}{path}", self.base));
        // Who joins has no token yet.
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// `GET`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends a request and reads its answer.
    pub async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let body = self.bytes(request).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Internal(format!("the cloud at {} gave an answer of another version: {error}", self.base))
        })
    }

    /// Sends a request that has no answer but that it was done.
    pub async fn done(&self, request: RequestBuilder) -> Result<(), Failure> {
        self.bytes(request).await.map(drop)
    }

    /// Sends a request; the answer as it came.
    pub async fn bytes(&self, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let response = request.send().await.map_err(|error| {
            if error.is_timeout() {
                Failure::TimedOut(format!("the cloud at {} did not answer in time", self.base))
            } else {
                Failure::Unreachable(format!(
                    "the cloud at {} cannot be reached; is 'tinymlaas up' running there? (--api names another)",
                    self.base
                ))
            }
        })?;
        let status = response.status();
        let body = response
            .bytes()
            .await
            .map_err(|error| Failure::Unreachable(format!("the answer of the cloud broke off: {error}")))?;
        if status.is_success() {
            return Ok(Vec::from(body));
        }
        Err(Failure::from_api(serde_json::from_slice(&body).unwrap_or_else(|_| foreign(status, &self.base))))
    }

    /// Finds a device by `NAME` or `RELAY/NAME`.
    pub async fn find_device(&self, text: &str) -> Result<DeviceView, Failure> {
        if let Some((relay, device)) = text.split_once('/') {
            let relay: RelayId = relay.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
            let device: DeviceId = device.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
            return self.get(&format!("/relays/{relay}/devices/{device}")).await;
        }
        let device: DeviceId = text.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
        let all: Vec<DeviceView> = self.get("/devices").await?;
        let names = |devices: &[DeviceView]| {
            devices.iter().map(|d| format!("{}/{}", d.relay, d.state.device)).collect::<Vec<_>>().join(", ")
        };
        let mut found: Vec<DeviceView> = all.iter().filter(|d| d.state.device == device).cloned().collect();
        match (found.len(), found.pop()) {
            (1, Some(device)) => Ok(device),
            (0, _) if all.is_empty() => Err(Failure::NotFound(
                "no device is known yet; start a relay ('tinymlaas up' brings one with two virtual boards)".to_owned(),
            )),
            (0, _) => Err(Failure::NotFound(format!("there is no device '{device}'; there are {}", names(&all)))),
            _ => Err(Failure::Usage(format!(
                "several relays have a device '{device}'; say which: {}",
                names(&all.iter().filter(|d| d.state.device == device).cloned().collect::<Vec<_>>())
            ))),
        }
    }
}

/// An error answer that is not from our API: something else listens there.
fn foreign(status: StatusCode, base: &str) -> ApiError {
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::UNAUTHORIZED,
        _ => Code::UNAVAILABLE,
    };
    ApiError { code, message: format!("{base} answered {status}, which is no answer of the cloud"), field: None }
}
