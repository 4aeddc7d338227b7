//! The HTTP API as the pages use it: one method a request, with the visitor's own session as the credential.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Bytes;
use contract::Code;
use contract::api::{
    ApiError, AuditView, CLIENT_HEADER, Client, CommandView, DatasetView, DeviceView, InvitationView, IssuedInvitation,
    IssuedToken, Join, Joined, Login, Me, ModelView, NewInvitation, NewToken, PREFIX, RelayView, Session, TokenView,
    UserView,
};
use contract::artifact::SignedManifest;
use contract::ids::{ArtifactId, CommandId, DeviceId, ModelRef, RelayId};
use contract::log::LogLines;
use contract::reading::Reading;
use contract::settings::Settings;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

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

/// A visitor's session: what the API asks for, and what its audit log tells.
#[derive(Clone)]
pub(crate) struct Pass {
    /// The session's token.
    pub(crate) token: Zeroizing<String>,
    /// Where the visitor is.
    pub(crate) address: Option<IpAddr>,
}

/// The API as one visitor may use it.
pub(crate) struct Visitor<'a> {
    api: &'a Api,
    pass: &'a Pass,
}

impl Api {
    pub(crate) fn new(origin: &str) -> Self {
        let client = reqwest::Client::builder()
            // The API is ours and near: a proxy from the environment would only get in the way, and learn tokens.
            .no_proxy()
            .default_headers(HeaderMap::from_iter([(
                HeaderName::from_static(CLIENT_HEADER),
                HeaderValue::from_static(Client::Page.as_str()),
            )]))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .timeout(TIMEOUT)
            .build()
            .unwrap_or_default();
        Self { client, base: format!("{}{PREFIX}", origin.trim_end_matches('/')) }
    }

    /// The API with this session.
    pub(crate) const fn as_visitor<'a>(&'a self, pass: &'a Pass) -> Visitor<'a> {
        Visitor { api: self, pass }
    }

    /// Opens a session.
    pub(crate) async fn login(&self, login: &Login, address: Option<IpAddr>) -> Result<Session, ApiFailure> {
        answer(from(self.client.post(format!("{}/login", self.base)), address).json(login)).await
    }

    /// Uses an invitation.
    pub(crate) async fn join(&self, join: &Join, address: Option<IpAddr>) -> Result<Joined, ApiFailure> {
        answer(from(self.client.post(format!("{}/join", self.base)), address).json(join)).await
    }
}

impl Visitor<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.api.client.request(method, format!("{}{path}", self.api.base));
        from(request.bearer_auth(self.pass.token.as_str()), self.pass.address)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiFailure> {
        answer(self.request(Method::GET, path)).await
    }

    /// Asks for something to be done that has no answer.
    pub(crate) async fn done<T: Serialize>(&self, method: Method, path: &str, body: &T) -> Result<(), ApiFailure> {
        send(self.request(method, path).json(body)).await.map(|_| ())
    }

    pub(crate) async fn users(&self) -> Result<Vec<UserView>, ApiFailure> {
        self.get("/users").await
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<TokenView>, ApiFailure> {
        self.get("/tokens").await
    }

    pub(crate) async fn groups(&self) -> Result<BTreeMap<String, BTreeSet<RelayId>>, ApiFailure> {
        self.get("/groups").await
    }

    pub(crate) async fn invitations(&self) -> Result<Vec<InvitationView>, ApiFailure> {
        self.get("/invitations").await
    }

    pub(crate) async fn create_token(&self, wanted: &NewToken) -> Result<IssuedToken, ApiFailure> {
        answer(self.request(Method::POST, "/tokens").json(wanted)).await
    }

    pub(crate) async fn invite(&self, wanted: &NewInvitation) -> Result<IssuedInvitation, ApiFailure> {
        answer(self.request(Method::POST, "/invitations").json(wanted)).await
    }

    pub(crate) async fn audit(&self, query: &[(&str, String)]) -> Result<Vec<AuditView>, ApiFailure> {
        answer(self.request(Method::GET, "/audit").query(query)).await
    }

    /// The whole log, to be passed on as it comes.
    pub(crate) async fn audit_export(&self, query: &[(&str, String)]) -> Result<reqwest::Response, ApiFailure> {
        send(self.request(Method::GET, "/audit/export").query(query).timeout(WORK_TIMEOUT)).await
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

    pub(crate) async fn compile(&self, model: &ModelRef, settings: &Settings) -> Result<ModelView, ApiFailure> {
        let request = self.request(Method::POST, &format!("/models/{model}/compile")).query(settings);
        answer(request.timeout(WORK_TIMEOUT)).await
    }

    pub(crate) async fn manifest(&self, artifact: &ArtifactId) -> Result<SignedManifest, ApiFailure> {
        self.get(&format!("/artifacts/{artifact}/manifest")).await
    }
}

/// With the visitor's address, for the API's audit log and its limit of wrong logins.
fn from(request: RequestBuilder, address: Option<IpAddr>) -> RequestBuilder {
    match address {
        Some(address) => request.header("x-forwarded-for", address.to_string()),
        None => request,
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
