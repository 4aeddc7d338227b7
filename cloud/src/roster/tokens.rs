//! Tokens of services, people and relays.

use std::collections::BTreeSet;

use contract::access::{Identity, Role};
use contract::api::{IssuedToken, NewToken, TokenView};
use contract::{Code, RelayId, Timestamp, ids};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set,
};
use serde_json::json;

use super::{Change, check_groups, column, names, person, rank};
use crate::audit::{self, Actor, Deed};
use crate::credentials::{CredentialError, hash_token, new_token};
use crate::db::entity::{tokens, users};
use crate::mosquitto;
use crate::services::Failure;
use crate::shared::Shared;

/// Longest time that a token is accepted, in seconds (ten years).
const MAX_VALID_S: u32 = 10 * 366 * 86_400;

/// Who asks for a token.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Whether it is a user rather than a token.
    pub user: bool,
}

/// Those that are accepted, all of them for an admin, else the asker's own.
///
/// # Errors
/// As the database reports them.
pub async fn list(shared: &Shared, asker: &Asker<'_>) -> Result<Vec<TokenView>, Failure> {
    let mut find = tokens::Entity::find().filter(tokens::Column::RevokedAt.is_null());
    if asker.identity.role != Role::Admin {
        find = find.filter(own(shared, asker).await?);
    }
    let rows = find.order_by_asc(tokens::Column::Name).all(shared.db.read()).await?;
    Ok(rows.into_iter().map(view).collect())
}

/// The user behind an asker: itself, or the owner of its token.
async fn owner(shared: &Shared, asker: &Asker<'_>) -> Result<Option<String>, Failure> {
    if asker.user {
        return Ok(Some(asker.identity.name.clone()));
    }
    let row = tokens::Entity::find()
        .filter(tokens::Column::Name.eq(asker.identity.name.as_str()))
        .filter(tokens::Column::RevokedAt.is_null())
        .one(shared.db.read())
        .await?;
    Ok(row.and_then(|row| row.owner))
}

/// The condition for an asker's own tokens.
async fn own(shared: &Shared, asker: &Asker<'_>) -> Result<sea_orm::Condition, Failure> {
    let own = match owner(shared, asker).await? {
        Some(owner) => tokens::Column::Owner.eq(owner),
        None => tokens::Column::Name.eq(asker.identity.name.as_str()),
    };
    Ok(sea_orm::Condition::all().add(own))
}

/// Makes a token. It may never do more than the asker.
///
/// # Errors
/// `forbidden`, `conflict` where the name is taken, `invalid_field`.
pub async fn create(
    shared: &Shared,
    actor: &Actor,
    asker: &Asker<'_>,
    wanted: &NewToken,
) -> Result<IssuedToken, Failure> {
    ids::check_plain_name("token name", &wanted.name)?;
    let role = person(&wanted.role)?;
    let admin = asker.identity.role == Role::Admin;
    let owner = owner(shared, asker).await?;
    if rank(&role) > rank(&asker.identity.role) {
        let message = format!("your role is {}; a token cannot do more", asker.identity.role.as_str());
        return Err(Failure::field(Code::FORBIDDEN, "role", message));
    }
    if !admin && owner.is_none() {
        // It would outlive its maker's revocation.
        let message = "a token that belongs to no user cannot make others; ask an admin";
        return Err(Failure::refuse(Code::FORBIDDEN, message));
    }
    let expires_at = match wanted.valid_s {
        None => None,
        Some(seconds) if (1..=MAX_VALID_S).contains(&seconds) => Some(Timestamp::now().plus_seconds(seconds.into())),
        Some(_) => {
            let message = format!("'valid_s' is 1 to {MAX_VALID_S} seconds");
            return Err(Failure::field(Code::INVALID_FIELD, "valid_s", message));
        }
    };
    let internal = |error: CredentialError| Failure::Internal(error.to_string());
    let token = new_token().map_err(internal)?;
    let token_pbkdf2 = mosquitto::hash_token(&token).map_err(internal)?;
    let work = Change::begin(shared).await?;
    check_groups(&work.txn, &role, wanted.groups.as_ref()).await?;
    let mut groups = wanted.groups.clone();
    if !admin {
        let limit = limit_of(&work.txn, asker, owner.as_deref()).await?;
        groups = match (groups, limit) {
            (Some(wanted), Some(limit)) if !wanted.is_subset(&limit) => {
                let message = "a token cannot reach groups that you do not";
                return Err(Failure::field(Code::FORBIDDEN, "groups", message));
            }
            (wanted, limit) => wanted.or(limit),
        };
    }
    if named(&work.txn, &wanted.name).await?.is_some() {
        let message = format!("there is a token '{}' already; revoke it first, or choose another name", wanted.name);
        return Err(Failure::field(Code::CONFLICT, "name", message));
    }
    if wanted.name != asker.identity.name
        && users::Entity::find_by_id(wanted.name.as_str()).one(&work.txn).await?.is_some()
    {
        let message = format!("'{}' is a user's name; choose another one for the token", wanted.name);
        return Err(Failure::field(Code::CONFLICT, "name", message));
    }
    let row = Row {
        name: &wanted.name,
        role: &role,
        groups: groups.as_ref(),
        owner: owner.filter(|_| !admin || asker.user),
        expires_at,
        token_pbkdf2: Some(token_pbkdf2),
    };
    let row = insert(&work.txn, &hash_token(&token), row).await?;
    let detail = json!({"role": role.as_str(), "groups": groups, "owner": row.owner, "expires_at": expires_at});
    audit::record(&work.txn, actor, Deed::done("token.create", &wanted.name).with(detail)).await?;
    work.commit().await?;
    Ok(IssuedToken { token, view: view(row) })
}

/// The groups that an asker is limited to.
async fn limit_of(
    txn: &DatabaseTransaction,
    asker: &Asker<'_>,
    owner: Option<&str>,
) -> Result<Option<BTreeSet<String>>, Failure> {
    let of_user = match owner {
        Some(owner) => users::Entity::find_by_id(owner).one(txn).await?.map(|row| names(row.groups.as_deref())),
        None => None,
    };
    let of_token =
        if asker.user { None } else { named(txn, &asker.identity.name).await?.map(|row| names(row.groups.as_deref())) };
    Ok(match (of_user.flatten(), of_token.flatten()) {
        (Some(user), Some(token)) => Some(user.intersection(&token).cloned().collect()),
        (user, token) => user.or(token),
    })
}

/// What a new row has beside its digest.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) role: &'a Role,
    pub(super) groups: Option<&'a BTreeSet<String>>,
    pub(super) owner: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) token_pbkdf2: Option<String>,
}

pub(super) async fn insert(txn: &DatabaseTransaction, digest: &str, row: Row<'_>) -> Result<tokens::Model, Failure> {
    let relay = match row.role {
        Role::Relay(relay) => Some(relay.as_str().to_owned()),
        _ => None,
    };
    let row = tokens::ActiveModel {
        token_sha256: Set(digest.to_owned()),
        name: Set(row.name.to_owned()),
        role: Set(row.role.as_str().to_owned()),
        relay: Set(relay),
        groups: Set(column(row.groups)),
        owner: Set(row.owner),
        created_at: Set(Timestamp::now().as_micros()),
        expires_at: Set(row.expires_at.map(Timestamp::as_micros)),
        revoked_at: Set(None),
        token_pbkdf2: Set(row.token_pbkdf2),
    };
    Ok(row.insert(txn).await?)
}

/// The token of that name that is accepted.
async fn named(txn: &DatabaseTransaction, name: &str) -> Result<Option<tokens::Model>, Failure> {
    let find = tokens::Entity::find().filter(tokens::Column::Name.eq(name));
    Ok(find.filter(tokens::Column::RevokedAt.is_null()).one(txn).await?)
}

/// Revokes the tokens of that name.
pub(super) async fn revoke_named(txn: &DatabaseTransaction, name: &str) -> Result<(), Failure> {
    while let Some(row) = named(txn, name).await? {
        revoke_row(txn, row).await?;
    }
    Ok(())
}

/// Revokes a token.
pub(super) async fn revoke_row(txn: &DatabaseTransaction, row: tokens::Model) -> Result<(), Failure> {
    if row.revoked_at.is_none() {
        let mut row = row.into_active_model();
        row.revoked_at = Set(Some(Timestamp::now().as_micros()));
        row.update(txn).await?;
    }
    Ok(())
}

/// Revokes a token: an admin any, others their own.
///
/// # Errors
/// `not_found`, also for those of others.
pub async fn revoke(shared: &Shared, actor: &Actor, asker: &Asker<'_>, name: &str) -> Result<(), Failure> {
    let mut find =
        tokens::Entity::find().filter(tokens::Column::Name.eq(name)).filter(tokens::Column::RevokedAt.is_null());
    if asker.identity.role != Role::Admin {
        find = find.filter(own(shared, asker).await?);
    }
    let work = Change::begin(shared).await?;
    let Some(row) = find.one(&work.txn).await? else {
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        return Err(Failure::field(Code::NOT_FOUND, "name", format!("there is no token '{shown}' of yours")));
    };
    let relay = row.relay.clone();
    revoke_row(&work.txn, row).await?;
    audit::record(&work.txn, actor, Deed::done("token.revoke", name)).await?;
    work.commit().await?;
    shared.doubt(relay.as_deref());
    Ok(())
}

/// Revokes what a relay connects with.
///
/// # Errors
/// `not_found`.
pub async fn revoke_relay(shared: &Shared, actor: &Actor, relay: &str) -> Result<(), Failure> {
    let work = Change::begin(shared).await?;
    let rows = tokens::Entity::find()
        .filter(tokens::Column::Relay.eq(relay))
        .filter(tokens::Column::RevokedAt.is_null())
        .all(&work.txn)
        .await?;
    if rows.is_empty() {
        let shown: String = relay.chars().take(64).flat_map(char::escape_default).collect();
        return Err(Failure::field(Code::NOT_FOUND, "relay", format!("relay '{shown}' has no credential")));
    }
    for row in rows {
        revoke_row(&work.txn, row).await?;
    }
    audit::record(&work.txn, actor, Deed::done("relay.revoke", relay)).await?;
    work.commit().await?;
    shared.doubt(Some(relay));
    Ok(())
}

fn view(row: tokens::Model) -> TokenView {
    TokenView {
        groups: names(row.groups.as_deref()),
        relay: row.relay.and_then(|relay| RelayId::new(relay).ok()),
        name: row.name,
        role: row.role,
        owner: row.owner,
        created_at: Timestamp::from_micros(row.created_at),
        expires_at: row.expires_at.map(Timestamp::from_micros),
    }
}
