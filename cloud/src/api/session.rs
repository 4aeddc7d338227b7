//! Logging in and out, and who is asking.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Extension, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use contract::access::Identity;
use contract::api::{Login, Me, Session};
use contract::wire::decode;
use contract::{Code, Timestamp};
use sea_orm::{ActiveModelTrait, EntityTrait, Set};

use super::access::Who;
use super::extract::Body;
use super::refusal::Refusal;
use crate::credentials::{hash_token, new_token};
use crate::db::entity::sessions;
use crate::services::Failure;
use crate::shared::Shared;

/// What a wrong login costs.
const DELAY: Duration = Duration::from_millis(300);
/// Largest login, in bytes.
const MAX_BYTES: usize = 4096;

/// Where a request comes from, if the server says so.
#[derive(Debug, Clone, Copy)]
pub struct From(Option<SocketAddr>);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)))
    }
}

/// `POST /login`
pub async fn login(
    State(shared): State<Arc<Shared>>,
    From(address): From,
    Body(body): Body,
) -> Result<Json<Session>, Refusal> {
    let login: Login = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    let address = address.map(|address| address.ip());
    if let Err(seconds) = shared.logins.check(address, &login.name) {
        let message = format!("too many wrong logins; try again in {seconds} s");
        return Err(Failure::refuse(Code::RATE_LIMITED, message).into());
    }
    let identity = shared.credentials.identify(&login.token).filter(|identity| identity.name == login.name);
    let Some(identity) = identity else {
        shared.logins.wrong(address, &login.name);
        shared.counters.add("logins_wrong", 1);
        tracing::warn!(?address, "a wrong login");
        tokio::time::sleep(DELAY).await;
        let message = "name and token do not match an identity";
        return Err(Failure::field(Code::UNAUTHORIZED, "token", message).into());
    };
    if !super::access::is_person(&identity.role) {
        let message = format!("'{}' is no person; it speaks MQTT and has no use for a session", identity.name);
        return Err(Failure::refuse(Code::FORBIDDEN, message).into());
    }
    let token = new_token().map_err(|error| Failure::Internal(error.to_string()))?;
    let lifetime = i64::try_from(shared.config.session_lifetime.as_secs()).unwrap_or(i64::MAX);
    let (now, expires_at) = (Timestamp::now(), Timestamp::now().plus_seconds(lifetime));
    let row = sessions::ActiveModel {
        token_sha256: Set(hash_token(&token)),
        name: Set(identity.name.clone()),
        identity_sha256: Set(hash_token(&login.token)),
        created_at: Set(now.as_micros()),
        expires_at: Set(expires_at.as_micros()),
    };
    row.insert(shared.db.write()).await.map_err(Failure::from)?;
    tracing::info!(name = %identity.name, ?address, "logged in");
    Ok(Json(Session { token, me: describe(&identity), expires_at }))
}

/// `POST /logout`: ends the session that asks; a token that is no session stays valid.
pub async fn logout(State(shared): State<Arc<Shared>>, Extension(who): Extension<Who>) -> Result<StatusCode, Refusal> {
    if let Some(session) = who.session {
        sessions::Entity::delete_by_id(session).exec(shared.db.write()).await.map_err(Failure::from)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /me`
pub async fn me(Extension(who): Extension<Who>) -> Json<Me> {
    Json(describe(&who.identity))
}

fn describe(identity: &Identity) -> Me {
    Me { name: identity.name.clone(), role: identity.role.as_str().to_owned() }
}
