//! Logging in and out, and who is asking.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use contract::access::{Identity, Reach};
use contract::api::{Login, Me, PasswordChange, Session};
use contract::wire::decode;
use contract::{Code, Timestamp};
use sea_orm::{ActiveModelTrait, EntityTrait, Set};

use zeroize::Zeroizing;

use super::access::Who;
use super::extract::Body;
use super::refusal::Refusal;
use crate::audit::{self, Actor, Deed};
use crate::credentials::{hash_token, new_token};
use crate::db::entity::sessions;
use crate::roster::users;
use crate::services::Failure;
use crate::shared::Shared;

/// What a wrong login costs.
const DELAY: Duration = Duration::from_millis(300);
/// Largest login, in bytes.
const MAX_BYTES: usize = 4096;

/// `POST /login`
pub async fn login(
    State(shared): State<Arc<Shared>>,
    Extension(stranger): Extension<Actor>,
    Body(body): Body,
) -> Result<Json<Session>, Refusal> {
    let body = Zeroizing::new(body);
    let login: Login = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    let (name, secret) = (login.name.clone(), login.token.as_str());
    if let Err(seconds) = shared.logins.check(stranger.address, &name) {
        shared.counters.add("logins_locked_out", 1);
        let message = format!("too many wrong logins; try again in {seconds} s");
        return Err(Failure::refuse(Code::RATE_LIMITED, message).into());
    }
    let Some((identity, digest, user)) = recognise(&shared, &name, secret).await? else {
        shared.logins.wrong(stranger.address, &name);
        shared.counters.add("logins_wrong", 1);
        tracing::warn!(address = ?stranger.address, "a wrong login");
        let deed = Deed::refused("login", &name, Code::UNAUTHORIZED.as_str());
        audit::record(shared.db.write(), &stranger, deed).await.map_err(Failure::from)?;
        tokio::time::sleep(DELAY).await;
        let message = "this name and this password or token do not belong together";
        return Err(Failure::field(Code::UNAUTHORIZED, "token", message).into());
    };
    shared.logins.right(stranger.address, &name);
    let actor = stranger.known_as(&identity.name, identity.role.as_str());
    if !identity.role.is_person() {
        let deed = Deed::refused("login", &name, Code::FORBIDDEN.as_str());
        audit::record(shared.db.write(), &actor, deed).await.map_err(Failure::from)?;
        let message = format!("'{}' is no person; it speaks MQTT and has no use for a session", identity.name);
        return Err(Failure::refuse(Code::FORBIDDEN, message).into());
    }
    let token = new_token().map_err(|error| Failure::Internal(error.to_string()))?;
    let lifetime = i64::try_from(shared.config.session_lifetime.as_secs()).unwrap_or(i64::MAX);
    let (now, expires_at) = (Timestamp::now(), Timestamp::now().plus_seconds(lifetime));
    let row = sessions::ActiveModel {
        token_sha256: Set(hash_token(&token)),
        name: Set(identity.name.clone()),
        identity_sha256: Set(digest),
        created_at: Set(now.as_micros()),
        expires_at: Set(expires_at.as_micros()),
    };
    let txn = shared.db.begin().await.map_err(Failure::from)?;
    row.insert(&txn).await.map_err(Failure::from)?;
    audit::record(&txn, &actor, Deed::done("login", &identity.name)).await.map_err(Failure::from)?;
    txn.commit().await.map_err(Failure::from)?;
    tracing::info!(name = %identity.name, address = ?stranger.address, "logged in");
    Ok(Json(Session { token, me: describe(&identity, user), expires_at }))
}

/// Who this is, the digest of the secret that a session depends on, and whether it is a user.
async fn recognise(shared: &Shared, name: &str, secret: &str) -> Result<Option<(Identity, String, bool)>, Failure> {
    if let Some(identity) = shared.credentials.identify(secret).filter(|identity| identity.name == name) {
        return Ok(Some((identity, hash_token(secret), false)));
    }
    let user = users::log_in(shared, name, secret).await?;
    Ok(user.map(|user| (shared.credentials.resolve(&user), user.token_sha256, true)))
}

/// `POST /logout`: ends the session that asks; a token that is no session stays valid.
pub async fn logout(
    State(shared): State<Arc<Shared>>,
    Extension(who): Extension<Who>,
    Extension(actor): Extension<Actor>,
) -> Result<StatusCode, Refusal> {
    let txn = shared.db.begin().await.map_err(Failure::from)?;
    if let Some(session) = who.session {
        sessions::Entity::delete_by_id(session).exec(&txn).await.map_err(Failure::from)?;
    }
    audit::record(&txn, &actor, Deed::done("logout", &who.identity.name)).await.map_err(Failure::from)?;
    txn.commit().await.map_err(Failure::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /me`
pub async fn me(Extension(who): Extension<Who>) -> Json<Me> {
    Json(describe(&who.identity, who.user))
}

/// `PUT /me/password`
pub async fn password(
    State(shared): State<Arc<Shared>>,
    Extension(who): Extension<Who>,
    Extension(actor): Extension<Actor>,
    Body(body): Body,
) -> Result<StatusCode, Refusal> {
    let body = Zeroizing::new(body);
    let change: PasswordChange = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    let name = who.identity.name;
    if !who.user {
        let message = "only users have passwords; a token is replaced by a new one";
        return Err(Failure::refuse(Code::NOT_SUPPORTED, message).into());
    }
    if let Err(seconds) = shared.logins.check(actor.address, &name) {
        let message = format!("too many wrong passwords; try again in {seconds} s");
        return Err(Failure::refuse(Code::RATE_LIMITED, message).into());
    }
    let changed = users::change_password(&shared, &actor, &name, &change.old, &change.new).await;
    if matches!(&changed, Err(Failure::Refused { field: Some(field), .. }) if field == "old") {
        shared.logins.wrong(actor.address, &name);
    }
    changed?;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(identity: &Identity, user: bool) -> Me {
    let relays = match &identity.reach {
        Reach::All => None,
        Reach::Only(relays) => Some(relays.clone()),
    };
    Me { name: identity.name.clone(), role: identity.role.as_str().to_owned(), relays, user }
}
