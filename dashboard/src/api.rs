//! The HTTP API as the pages use it: one method a request, with the visitor's own session as the credential.

use std::time::Duration;

use axum::body::Bytes;
use contract::Code;
use contract::api::{ApiError, CommandView, DatasetView, DeviceView, Login, Me, ModelView, PREFIX, RelayView, Session};
use contract::artifact::SignedManifest;
use contract::ids::{ArtifactId, CommandId, DeviceId, ModelRef, RelayId};
use contract::log::LogLines;
use contract::reading::Reading;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long an ordinary question may take. A page that waits longer helps nobody.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long an import or a compilation may take: it evaluates the model on a whole dataset.
const WORK_TIMEOUT: Duration = Duration::from_secs(300);

/// Why the API gave no answer that a page could show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiFailure {
    /// It said no, and why.
    #[error("{}", .1.message)]
    Refused(StatusCode, ApiError),
    /// It did not answer at all.
    #[error("the API does not answer: {0}")]
    Away(String),
    /// It answered something else than documented.
    #[error("the API's answer cannot be read: {0}")]
    Unreadable(String),
}

/// The API at one origin.
pub(crate) struct Api {
    client: reqwest::Client,
    base: String,
}

/// The API as one visitor may use it.
pub(crate) struct Visitor<'a> {
    api: &'a Api,
    token: &'a str,
}

impl Api {
    pub(crate) fn new(origin: &str) -> Self {
        let client = reqwest::Client::builder()
            // The API is ours and near: a proxy from the environment would only get in the way, and learn tokens.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .timeout(TIMEOUT)
            .build()
            .unwrap_or_default();
        Self { client, base: format!("{}{PREFIX}", origin.trim_end_matches('/')) }
    }

    /// The API with this session token.
    pub(crate) const fn as_visitor<'a>(&'a self, token: &'a str) -> Visitor<'a> {
        Visitor { api: self, token }
    }

    /// Opens a session.
    pub(crate) async fn login(&self, login: &Login) -> Result<Session, ApiFailure> {
        answer(self.client.post(format!("{}/login", self.base)).json(login)).await
    }
}

impl Visitor<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.client.request(method, format!("{}{path}", self.api.base)).bearer_auth(self.token)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiFailure> {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn logout(&self) -> Result<(), ApiFailure> {
        send(self.request(Method::POST, "/logout")).await.map(|_| ())
    }

    pub(crate) async fn me(&self) -> Result<Me, ApiFailure> {
        self.get("/me").await
    }

    pub(crate) async fn relays(&self) -> Result<Vec<RelayView>, ApiFailure> {
        self.get("/relays").await
    }

    pub(crate) async fn relay(&self, relay: &RelayId) -> Result<RelayView, ApiFailure> {
        self.get(&format!("/relays/{relay}")).await
    }

    pub(crate) async fn devices(&self) -> Result<Vec<DeviceView>, ApiFailure> {
        self.get("/devices").await
    }

    pub(crate) async fn device(&self, relay: &RelayId, device: &DeviceId) -> Result<DeviceView, ApiFailure> {
        self.get(&format!("/relays/{relay}/devices/{device}")).await
    }

    /// Newest first.
    pub(crate) async fn readings(
        &self,
        relay: &RelayId,
        device: &DeviceId,
        limit: u32,
    ) -> Result<Vec<Reading>, ApiFailure> {
        self.get(&format!("/relays/{relay}/devices/{device}/readings?limit={limit}")).await
    }

    /// Newest first.
    pub(crate) async fn logs(
        &self,
        relay: &RelayId,
        device: &DeviceId,
        limit: u32,
    ) -> Result<Vec<LogLines>, ApiFailure> {
        self.get(&format!("/relays/{relay}/devices/{device}/logs?limit={limit}")).await
    }

    /// What one command wrote, newest first.
    pub(crate) async fn command_logs(
        &self,
        relay: &RelayId,
        device: &DeviceId,
        command: &CommandId,
        limit: u32,
    ) -> Result<Vec<LogLines>, ApiFailure> {
        let path = format!("/relays/{relay}/devices/{device}/logs");
        let limit = limit.to_string();
        answer(self.request(Method::GET, &path).query(&[("limit", limit.as_str()), ("command", command.as_str())]))
            .await
    }

    /// Newest first, without their events.
    pub(crate) async fn commands(
        &self,
        relay: Option<&RelayId>,
        device: Option<&DeviceId>,
        limit: u32,
    ) -> Result<Vec<CommandView>, ApiFailure> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(relay.map(|relay| ("relay", relay.to_string())));
        query.extend(device.map(|device| ("device", device.to_string())));
        answer(self.request(Method::GET, "/commands").query(&query)).await
    }

    /// One command with its events.
    pub(crate) async fn command(&self, relay: &RelayId, command: &CommandId) -> Result<CommandView, ApiFailure> {
        self.get(&format!("/relays/{relay}/commands/{}", path_segment(command.as_str()))).await
    }

    pub(crate) async fn send_command(&self, relay: &RelayId, command: &Value) -> Result<CommandView, ApiFailure> {
        answer(self.request(Method::POST, &format!("/relays/{relay}/commands")).json(command)).await
    }

    pub(crate) async fn datasets(&self) -> Result<Vec<DatasetView>, ApiFailure> {
        self.get("/datasets").await
    }

    pub(crate) async fn put_dataset(
        &self,
        name: &str,
        input_scale: &str,
        csv: Bytes,
    ) -> Result<DatasetView, ApiFailure> {
        let path = format!("/datasets/{}", path_segment(name));
        let request = self.request(Method::PUT, &path).query(&[("input_scale", input_scale)]);
        answer(request.header("content-type", "text/csv").body(csv).timeout(WORK_TIMEOUT)).await
    }

    pub(crate) async fn models(&self) -> Result<Vec<ModelView>, ApiFailure> {
        self.get("/models").await
    }

    pub(crate) async fn model(&self, model: &ModelRef) -> Result<ModelView, ApiFailure> {
        self.get(&format!("/models/{model}")).await
    }

    pub(crate) async fn import_model(&self, name: &str, dataset: &str, onnx: Bytes) -> Result<ModelView, ApiFailure> {
        let mut query = vec![("name", name)];
        if !dataset.is_empty() {
            query.push(("dataset", dataset));
        }
        let request = self.request(Method::POST, "/models").query(&query);
        answer(request.header("content-type", "application/octet-stream").body(onnx).timeout(WORK_TIMEOUT)).await
    }

    pub(crate) async fn compile(&self, model: &ModelRef) -> Result<ModelView, ApiFailure> {
        answer(self.request(Method::POST, &format!("/models/{model}/compile")).timeout(WORK_TIMEOUT)).await
    }

    pub(crate) async fn manifest(&self, artifact: &ArtifactId) -> Result<SignedManifest, ApiFailure> {
        self.get(&format!("/artifacts/{artifact}/manifest")).await
    }
}

async fn send(request: RequestBuilder) -> Result<reqwest::Response, ApiFailure> {
    let response = request.send().await.map_err(|error| ApiFailure::Away(error.without_url().to_string()))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.unwrap_or_default();
    let error = serde_json::from_slice(&body).unwrap_or_else(|_| ApiError {
        code: if status == StatusCode::NOT_FOUND { Code::NOT_FOUND } else { Code::UNAVAILABLE },
        message: format!("the API answered with status {status} and no explanation"),
        field: None,
    });
    Err(ApiFailure::Refused(status, error))
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ApiFailure> {
    let response = send(request).await?;
    let body = response.bytes().await.map_err(|error| ApiFailure::Away(error.without_url().to_string()))?;
    serde_json::from_slice(&body).map_err(|error| ApiFailure::Unreadable(error.to_string()))
}

/// Encodes one segment of a path (RFC 3986): everything but unreserved characters.
pub(crate) fn path_segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::path_segment;

    #[test]
    fn ids_cannot_leave_their_segment() {
        assert_eq!(path_segment("0192-ab.c_d~"), "0192-ab.c_d~");
        assert_eq!(path_segment("../a b?c#d"), "..%2Fa%20b%3Fc%23d");
    }
}
