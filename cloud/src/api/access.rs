//! Who is asking, and whether they may; and a line in the audit log for what changed something, or would have.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use contract::access::{Identity, Role};
use contract::{Code, Timestamp};
use sea_orm::EntityTrait;
use serde_json::json;

use super::from::From;
use super::refusal::Refusal;
use crate::audit::{self, Deed};
use crate::credentials::hash_token;
use crate::db::entity::sessions;
use crate::roster::users;
use crate::services::Failure;
use crate::shared::Shared;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a credential.
    Open,
    /// Anybody on this machine, without a credential: for brokers, which cannot send one.
    Local,
    /// Any person or service with a credential; relays and the cloud itself speak MQTT and have no business here.
    Person,
    /// Who may watch: the same people.
    Viewer,
    /// Who may change things.
    Operator,
    /// Who decides about people, relays and keys.
    Admin,
}

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Who {
    /// The identity.
    pub identity: Identity,
    /// Whether it is a user with a password, rather than a token.
    pub user: bool,
    /// Hash of the session's token, where it is a session.
    pub session: Option<String>,
}

impl Access {
    fn allows(self, role: &Role) -> bool {
        match self {
            Self::Open | Self::Local => true,
            Self::Person | Self::Viewer => role.is_person(),
            Self::Operator => role.may_command(),
            Self::Admin => *role == Role::Admin,
        }
    }
}

/// Lets through who may use the route, and tells the handler who it is.
pub async fn guard(
    State((shared, access)): State<(Arc<Shared>, Access)>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let Ok(from) = From::from_request_parts(&mut parts, &()).await;
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params: Vec<(String, String)> = params
        .map(|params| params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        .unwrap_or_default();
    let mut request = Request::from_parts(parts, body);
    if access == Access::Local && !from.is_local {
        let message = "only a broker on the same machine may ask this";
        return Err(Failure::refuse(Code::FORBIDDEN, message).into());
    }
    if matches!(access, Access::Open | Access::Local) {
        request.extensions_mut().insert(from.stranger());
        return Ok(next.run(request).await);
    }
    let token = bearer(&request).ok_or_else(|| {
        let message = "no credential was given; send 'Authorization: Bearer TOKEN'";
        Failure::refuse(Code::UNAUTHORIZED, message)
    })?;
    let who = identify(&shared, token).await?.ok_or_else(|| {
        shared.counters.add("api_unauthorized", 1);
        let message = "this token is not valid (any more); log in again or ask an admin for a new one";
        Failure::refuse(Code::UNAUTHORIZED, message)
    })?;
    let role = who.identity.role.as_str();
    let actor = from.stranger().known_as(&who.identity.name, role);
    let changes = request.method() != Method::GET;
    let pattern = request.extensions().get::<MatchedPath>().map_or("?", MatchedPath::as_str).to_owned();
    let action = format!("{} {}", request.method(), pattern.strip_prefix(contract::api::PREFIX).unwrap_or(&pattern));
    let refused = if !access.allows(&who.identity.role) {
        Some(format!("'{}' has the role {role}, which may not do this", who.identity.name))
    } else {
        // A relay in the path decides, whatever the route is about.
        let beyond = params.iter().find(|(name, value)| name == "relay" && !who.identity.reach.has(value));
        beyond
            .map(|_| format!("'{}' is limited to groups of relays, and this one is in none of them", who.identity.name))
    };
    let mut response = if let Some(message) = refused {
        shared.counters.add("api_forbidden", 1);
        tracing::info!(name = %who.identity.name, role, path = request.uri().path(), "forbidden");
        Refusal::from(Failure::refuse(Code::FORBIDDEN, message)).into_response()
    } else {
        request.extensions_mut().insert(who);
        request.extensions_mut().insert(actor.clone());
        next.run(request).await
    };
    if changes && (!response.status().is_success() || !actor.is_recorded()) {
        let target = params.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("/");
        let code = response.extensions().get::<Code>().map_or("ok", Code::as_str).to_owned();
        let deed = Deed { result: code, ..Deed::done(&action, &target) };
        let deed = deed.with(json!({"status": response.status().as_u16()}));
        if let Err(error) = audit::record(shared.db.write(), &actor, deed).await {
            // What was done is done; that it cannot be told of is worth more than a line in a log.
            shared.counters.add("audit_lost", 1);
            tracing::error!(%error, name = actor.name, action, target, "the audit log cannot be written");
            response = Refusal::from(Failure::Database(error)).into_response();
        }
    }
    Ok(response)
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whom a token or a session's token belongs to.
async fn identify(shared: &Shared, token: &str) -> Result<Option<Who>, Failure> {
    if let Some(identity) = shared.credentials.identify(token) {
        return Ok(Some(Who { identity, user: false, session: None }));
    }
    let hash = hash_token(token);
    let Some(row) = sessions::Entity::find_by_id(hash.as_str()).one(shared.db.read()).await? else {
        return Ok(None);
    };
    if row.expires_at <= Timestamp::now().as_micros() {
        return Ok(None);
    }
    if let Some(identity) = shared.credentials.still_valid(&row.name, &row.identity_sha256) {
        return Ok(Some(Who { identity, user: false, session: Some(hash) }));
    }
    let user = users::still_valid(shared, &row.name, &row.identity_sha256).await?;
    Ok(user.map(|user| Who { identity: shared.credentials.resolve(&user), user: true, session: Some(hash) }))
}
