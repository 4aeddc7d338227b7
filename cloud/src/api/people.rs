//! Users, tokens, groups and invitations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use contract::Code;
use contract::RelayId;
use contract::api::{
    InvitationView, IssuedInvitation, IssuedToken, Join, Joined, NewInvitation, NewToken, TokenView, UserChange,
    UserView,
};
use contract::wire::decode;
use zeroize::Zeroizing;

use super::access::Who;
use super::extract::{Body, Path};
use super::refusal::Refusal;
use crate::audit::{self, Actor, Deed};
use crate::roster::tokens::Asker;
use crate::roster::{groups, invitations, tokens, users};
use crate::services::Failure;
use crate::shared::Shared;

/// Largest document of these routes, in bytes; a group has 1,000 relays at most.
const MAX_BYTES: usize = 128 * 1024;

type Reads = State<Arc<Shared>>;

fn asker(who: &Who) -> Asker<'_> {
    Asker { identity: &who.identity, user: who.user }
}

/// `GET /users`
pub async fn list_users(State(shared): Reads) -> Result<Json<Vec<UserView>>, Refusal> {
    Ok(Json(users::list(&shared).await?))
}

/// `PUT /users/{name}`
pub async fn put_user(
    State(shared): Reads,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Body(body): Body,
) -> Result<Json<UserView>, Refusal> {
    let body = Zeroizing::new(body);
    let change: UserChange = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    Ok(Json(users::put(&shared, &actor, &name, &change).await?))
}

/// `DELETE /users/{name}`
pub async fn remove_user(
    State(shared): Reads,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    users::remove(&shared, &actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /tokens`
pub async fn list_tokens(
    State(shared): Reads,
    Extension(who): Extension<Who>,
) -> Result<Json<Vec<TokenView>>, Refusal> {
    Ok(Json(tokens::list(&shared, &asker(&who)).await?))
}

/// `POST /tokens`
pub async fn create_token(
    State(shared): Reads,
    Extension(who): Extension<Who>,
    Extension(actor): Extension<Actor>,
    Body(body): Body,
) -> Result<(StatusCode, Json<IssuedToken>), Refusal> {
    let wanted: NewToken = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    Ok((StatusCode::CREATED, Json(tokens::create(&shared, &actor, &asker(&who), &wanted).await?)))
}

/// `DELETE /tokens/{name}`
pub async fn revoke_token(
    State(shared): Reads,
    Extension(who): Extension<Who>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    tokens::revoke(&shared, &actor, &asker(&who), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /relays/{relay}/revoke`
pub async fn revoke_relay(
    State(shared): Reads,
    Extension(actor): Extension<Actor>,
    Path(relay): Path<String>,
) -> Result<StatusCode, Refusal> {
    tokens::revoke_relay(&shared, &actor, &relay).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /groups`
pub async fn list_groups(State(shared): Reads) -> Result<Json<BTreeMap<String, BTreeSet<RelayId>>>, Refusal> {
    Ok(Json(groups::list(&shared).await?))
}

/// `PUT /groups/{name}`
pub async fn put_group(
    State(shared): Reads,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, Refusal> {
    let relays: BTreeSet<RelayId> = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    groups::put(&shared, &actor, &name, &relays).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /groups/{name}`
pub async fn remove_group(
    State(shared): Reads,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    groups::remove(&shared, &actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /invitations`
pub async fn list_invitations(State(shared): Reads) -> Result<Json<Vec<InvitationView>>, Refusal> {
    Ok(Json(invitations::list(&shared).await?))
}

/// `POST /invitations`
pub async fn invite(
    State(shared): Reads,
    Extension(actor): Extension<Actor>,
    Body(body): Body,
) -> Result<(StatusCode, Json<IssuedInvitation>), Refusal> {
    let wanted: NewInvitation = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    Ok((StatusCode::CREATED, Json(invitations::create(&shared, &actor, &wanted).await?)))
}

/// `DELETE /invitations/{id}`
pub async fn withdraw(
    State(shared): Reads,
    Extension(actor): Extension<Actor>,
    Path(id): Path<i64>,
) -> Result<StatusCode, Refusal> {
    invitations::withdraw(&shared, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /join`
pub async fn join(
    State(shared): Reads,
    Extension(stranger): Extension<Actor>,
    Body(body): Body,
) -> Result<Json<Joined>, Refusal> {
    let body = Zeroizing::new(body);
    let join: Join = decode(&body, MAX_BYTES).map_err(Failure::from)?;
    if let Err(seconds) = shared.logins.check(stranger.address, "join") {
        let message = format!("too many wrong join tokens; try again in {seconds} s");
        return Err(Failure::refuse(Code::RATE_LIMITED, message).into());
    }
    let joined = invitations::join(&shared, &stranger, &join).await;
    if let Err(Failure::Refused { code, .. }) = &joined
        && *code == Code::UNAUTHORIZED
    {
        shared.logins.wrong(stranger.address, "join");
        shared.counters.add("joins_refused", 1);
        // Who it claims to be is all that is known, and all that may be shown of the token.
        let claimed = contract::api::JoinToken::parse(&join.join).map(|token| token.name.clone()).unwrap_or_default();
        let deed = Deed::refused("join", &claimed, code.as_str());
        audit::record(shared.db.write(), &stranger, deed).await.map_err(Failure::from)?;
    }
    Ok(Json(joined?))
}
