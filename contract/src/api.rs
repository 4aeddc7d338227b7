//! The documents of the HTTP API under `/api/v1`, shared by the cloud, the dashboard and the command line.
//!
//! | method and path | role | body → answer |
//! |---|---|---|
//! | `GET /health` | none | → [`Health`] |
//! | `POST /login` | none | [`Login`] → [`Session`] |
//! | `POST /logout` | any | → 204 |
//! | `GET /me` | any | → [`Me`] |
//! | `GET /relays` | viewer | → `[RelayView]` |
//! | `GET /relays/{relay}` | viewer | → [`RelayView`] |
//! | `GET /devices` | viewer | → `[DeviceView]` |
//! | `GET /relays/{relay}/devices/{device}` | viewer | → [`DeviceView`] |
//! | `GET /relays/{relay}/devices/{device}/readings?before=SEQ&journal=J&limit=N` | viewer | → `[Reading]`, newest first |
//! | `GET /relays/{relay}/devices/{device}/logs?before=SEQ&journal=J&limit=N&command=ID` | viewer | → `[LogLines]`, newest first |
//! | `POST /relays/{relay}/commands` | operator | a command without or with `id` → 202 [`CommandView`] |
//! | `GET /commands?relay=R&device=D&limit=N` | viewer | → `[CommandView]`, newest first, without events |
//! | `GET /relays/{relay}/commands/{id}` | viewer | → [`CommandView`] with events |
//! | `GET /datasets` | viewer | → `[DatasetView]` |
//! | `PUT /datasets/{name}?input_scale=X` | operator | CSV → [`DatasetView`] |
//! | `GET /models` | viewer | → `[ModelView]`, all versions, newest first |
//! | `POST /models?name=N&dataset=D` | operator | ONNX or TFLite bytes → 201 (200 where these bytes are the latest version) [`ModelView`] |
//! | `GET /models/{model}` | viewer | `digits` or `digits@2` → [`ModelView`] |
//! | `POST /models/{model}/compile?optimize=O&mixed=M` | operator | → [`ModelView`] with artifact and report; both are [`crate::settings::Settings`] |
//! | `GET /artifacts/{artifact}/manifest` | viewer | → [`crate::artifact::SignedManifest`] |
//! | `GET /counters` | viewer | → `{name: number}` |
//! | `PUT /me/password` | any | [`PasswordChange`] → 204; ends the user's other sessions |
//! | `GET /users` | admin | → `[UserView]` |
//! | `PUT /users/{name}` | admin | [`UserChange`], with a password where the user is new → [`UserView`] |
//! | `DELETE /users/{name}` | admin | → 204; revokes the user's tokens |
//! | `GET /tokens` | any | → `[TokenView]`: an admin sees all, others their own |
//! | `POST /tokens` | any | [`NewToken`] → 201 [`IssuedToken`]: the only time that the token is shown |
//! | `DELETE /tokens/{name}` | any | → 204; an admin any, others their own |
//! | `GET /groups` | admin | → `{group: [relay]}` |
//! | `PUT /groups/{name}` | admin | `[relay]` → 204 |
//! | `DELETE /groups/{name}` | admin | → 204 |
//! | `GET /invitations` | admin | → `[InvitationView]`: those that are open |
//! | `POST /invitations` | admin | [`NewInvitation`] → 201 [`IssuedInvitation`] |
//! | `DELETE /invitations/{id}` | admin | → 204 |
//! | `POST /join` | none | [`Join`] → [`Joined`]: a join token becomes a credential, once |
//! | `POST /relays/{relay}/revoke` | admin | → 204; the relay's credential is not accepted any more |
//! | `POST /mqtt/rabbitmq/user` | local | a question of RabbitMQ → `allow` or `deny` |
//! | `POST /mqtt/rabbitmq/vhost` | local | a question of RabbitMQ → `allow` or `deny` |
//! | `POST /mqtt/rabbitmq/resource` | local | a question of RabbitMQ → `allow` or `deny` |
//! | `POST /mqtt/rabbitmq/topic` | local | a question of RabbitMQ → `allow` or `deny` |
//! | `POST /mqtt/emqx/auth` | local | a question of EMQX → `{"result": "allow"}` or `deny` |
//! | `POST /mqtt/emqx/acl` | local | a question of EMQX → `{"result": "allow"}` or `deny` |
//! | `POST /mqtt/mosquitto/user` | local | a question of mosquitto-go-auth → 200 or 403 |
//! | `POST /mqtt/mosquitto/superuser` | local | a question of mosquitto-go-auth → 200 or 403 |
//! | `POST /mqtt/mosquitto/acl` | local | a question of mosquitto-go-auth → 200 or 403 |
//! | `GET /keys` | admin | → [`crate::keys::KeysView`] |
//! | `POST /keys/rotate` | admin | → [`crate::keys::KeyView`]: a new signing key, which the old one vouches for |
//! | `GET /audit?actor=A&action=P&target=T&result=R&source=S&since=TIME&until=TIME&before=ID&limit=N` | admin | → `[AuditView]`, newest first |
//! | `GET /audit/export?format=jsonl` | admin | with the same filters → all of it, oldest first, as JSON lines or `csv` |
//!
//! `local` is anybody on the machine of the cloud, without a credential: brokers cannot send one.
//!
//! Routes with `{relay}` in their path, and lists of relays, devices and commands, are about the relays of the asker's
//! groups only, where it is limited to groups.
//!
//! `limit` is 1 to 1000 and 100 where absent. `before` counts in the newest journal of the device, unless `journal`
//! names another (a relay with a new data folder counts from 1 again); older journals follow.
//!
//! Every answer that is not 2xx has an [`ApiError`] as its body. The credential is `Authorization: Bearer TOKEN`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::artifact::CompileReport;
use crate::code::Code;
use crate::event::Event;
use crate::ids::{ArtifactId, CommandId, DeviceId, ModelRef, RelayId};
use crate::lifecycle::State;
use crate::reading::Reading;
use crate::state::{Device, RelayState};
use crate::timestamp::Timestamp;

pub use crate::people::*;

/// The path that all others are under.
pub const PREFIX: &str = "/api/v1";

/// The header in which a client says what kind it is; the audit log shows it.
pub const CLIENT_HEADER: &str = "x-tinymlaas-client";

/// Kinds of clients of the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Anybody who does not say.
    Api,
    /// The dashboard, for its visitor; the visitor's address is in `X-Forwarded-For`.
    Page,
    /// The command line.
    Cli,
}

impl Client {
    /// As it is written in the header and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Client::Api => "api",
            Client::Page => "page",
            Client::Cli => "cli",
        }
    }

    /// Reads the header.
    pub fn parse(text: &str) -> Option<Self> {
        [Client::Api, Client::Page, Client::Cli].into_iter().find(|client| client.as_str() == text)
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Why, for machines.
    pub code: Code,
    /// Why, and the way out, for people.
    pub message: String,
    /// The field or parameter at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Whether the cloud works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
    /// Whether it is connected to the broker.
    pub mqtt: bool,
    /// Whether the database answers.
    pub database: bool,
    /// Version of the software.
    pub version: String,
}

/// A login with a password or a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user's or the token's name, such as `admin`.
    pub name: String,
    /// The user's password, or the token.
    #[serde(alias = "password")]
    pub token: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A session, as opened by a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The session's own token; accepted like any other until it expires.
    pub token: String,
    /// Who it is for.
    pub me: Me,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// The token's name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The relays that it is limited to; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relays: Option<BTreeSet<RelayId>>,
    /// Whether it is a user with a password, rather than a token.
    #[serde(default)]
    pub user: bool,
}

/// A relay as the cloud knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayView {
    /// Its name.
    pub relay: RelayId,
    /// Whether it is connected.
    pub online: bool,
    /// Its connection count.
    pub epoch: u64,
    /// When the cloud last heard of it.
    pub last_seen: Timestamp,
    /// Its last inventory.
    pub state: Option<RelayState>,
}

/// A device as the cloud knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its relay.
    pub relay: RelayId,
    /// Whether its relay is connected; a lost relay means lost devices.
    pub online: bool,
    /// What the relay last reported.
    pub state: Device,
    /// The last reading.
    pub last_reading: Option<Reading>,
    /// Readings stored in all.
    pub readings: u64,
    /// Of those with a known right label, how many were right.
    pub correct: u64,
    /// How many had a known right label.
    pub labelled: u64,
}

/// A command as the cloud knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandView {
    /// The relay that it was sent to.
    pub relay: RelayId,
    /// Its id.
    pub command: CommandId,
    /// Its verb.
    pub verb: String,
    /// The device that it is about.
    pub device: Option<DeviceId>,
    /// The last reported state; `None` while the relay has not answered.
    pub state: Option<State>,
    /// Why, for machines.
    pub code: Option<Code>,
    /// Why, for people.
    pub message: String,
    /// How much is done, 0 to 1.
    pub progress: f32,
    /// When the cloud first saw it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its history, oldest first; only where one command was asked for.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetView {
    /// Its name.
    pub name: String,
    /// Rows in all.
    pub rows: u32,
    /// Rows for training and calibration.
    pub train_rows: u32,
    /// Rows held out for evaluation.
    pub test_rows: u32,
    /// Values per row.
    pub columns: u32,
    /// Its labels, sorted.
    pub labels: Vec<String>,
    /// What every value is multiplied with.
    pub input_scale: f32,
    /// SHA-256 of the file.
    pub sha256: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelView {
    /// Name and version.
    pub model: ModelRef,
    /// `onnx` or `tflite`.
    pub format: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The dataset that calibrates and evaluates it.
    pub dataset: Option<String>,
    /// When it was imported.
    pub created_at: Timestamp,
    /// What it was compiled to.
    pub artifact: Option<ArtifactId>,
    /// What the compiler found out.
    pub report: Option<CompileReport>,
    /// Why it could not be compiled.
    pub problem: Option<String>,
}
