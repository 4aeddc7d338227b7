//! Who is asking, and whether they may.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use contract::access::{Identity, Role};
use contract::{Code, Timestamp};
use sea_orm::EntityTrait;

use super::refusal::Refusal;
use crate::credentials::hash_token;
use crate::db::entity::sessions;
use crate::services::Failure;
use crate::shared::Shared;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a credential.
    Open,
    /// Any person or service with a credential; relays and the cloud itself speak MQTT and have no business here.
    Person,
    /// Who may watch: the same people.
    Viewer,
    /// Who may change things.
    Operator,
}

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Who {
    /// The identity.
    pub identity: Identity,
    /// Hash of the session's token, where it is a session.
    pub session: Option<String>,
}

impl Access {
    fn allows(self, role: &Role) -> bool {
        match self {
            Self::Open => true,
            Self::Person | Self::Viewer => is_person(role),
            Self::Operator => role.may_command(),
        }
    }
}

/// Whether a role belongs to people and what acts for them.
pub const fn is_person(role: &Role) -> bool {
    matches!(role, Role::Admin | Role::Operator | Role::Viewer)
}

/// Lets through who may use the route, and tells the handler who it is.
pub async fn guard(
    State((shared, access)): State<(Arc<Shared>, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if access == Access::Open {
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
    if !access.allows(&who.identity.role) {
        shared.counters.add("api_forbidden", 1);
        let role = who.identity.role.as_str();
        tracing::info!(name = %who.identity.name, role, path = request.uri().path(), "forbidden");
        let message = format!("'{}' has the role {role}, which may not do this", who.identity.name);
        return Err(Failure::refuse(Code::FORBIDDEN, message).into());
    }
    request.extensions_mut().insert(who);
    Ok(next.run(request).await)
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whom a token or a session's token belongs to.
async fn identify(shared: &Shared, token: &str) -> Result<Option<Who>, Failure> {
    if let Some(identity) = shared.credentials.identify(token) {
        return Ok(Some(Who { identity, session: None }));
    }
    let hash = hash_token(token);
    let Some(row) = sessions::Entity::find_by_id(hash.as_str()).one(shared.db.read()).await? else {
        return Ok(None);
    };
    if row.expires_at <= Timestamp::now().as_micros() {
        return Ok(None);
    }
    let identity = shared.credentials.still_valid(&row.name, &row.identity_sha256);
    Ok(identity.map(|identity| Who { identity, session: Some(hash) }))
}
