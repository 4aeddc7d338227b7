//! People with passwords.

use contract::Timestamp;
use contract::access::Credential;
use contract::api::{UserChange, UserView};
use contract::{Code, ids};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set,
};
use serde_json::json;

use super::{Change, check_groups, column, names, password, person};
use crate::audit::{self, Actor, Deed};
use crate::credentials::hash_token;
use crate::db::entity::{sessions, tokens, users};
use crate::services::Failure;
use crate::shared::Shared;

/// All users.
///
/// # Errors
/// As the database reports them.
pub async fn list(shared: &Shared) -> Result<Vec<UserView>, Failure> {
    let rows = users::Entity::find().order_by_asc(users::Column::Name).all(shared.db.read()).await?;
    Ok(rows.into_iter().map(view).collect())
}

/// Makes a user, or changes one.
///
/// # Errors
/// `invalid_field`, `missing_field` for a new user without password.
pub async fn put(shared: &Shared, actor: &Actor, name: &str, change: &UserChange) -> Result<UserView, Failure> {
    ids::check_plain_name("user name", name)?;
    let role = person(&change.role)?;
    let hash = match &change.password {
        Some(password) => {
            password::check(name, password)?;
            Some(password::hash(shared, password).await?)
        }
        None => None,
    };
    let work = Change::begin(shared).await?;
    check_groups(&work.txn, &role, change.groups.as_ref()).await?;
    let before = users::Entity::find_by_id(name).one(&work.txn).await?;
    let action = if before.is_some() { "user.change" } else { "user.create" };
    let groups = column(change.groups.as_ref());
    let with_password = hash.is_some();
    let row = match (before, hash) {
        (Some(row), hash) => {
            let mut row = row.into_active_model();
            row.role = Set(change.role.clone());
            row.groups = Set(groups);
            row.disabled = Set(change.disabled);
            if let Some(hash) = hash {
                row.password = Set(hash);
            }
            row.update(&work.txn).await?
        }
        (None, Some(hash)) => insert(&work.txn, name, &change.role, groups, change.disabled, hash).await?,
        (None, None) => {
            let message = format!("'{name}' is new and needs a password; or invite the user to choose one");
            return Err(Failure::field(Code::MISSING_FIELD, "password", message));
        }
    };
    let detail = json!({"role": change.role, "groups": change.groups, "disabled": change.disabled,
                        "password": with_password});
    audit::record(&work.txn, actor, Deed::done(action, name).with(detail)).await?;
    work.commit().await?;
    Ok(view(row))
}

/// The row of a new user.
pub(super) async fn insert(
    txn: &DatabaseTransaction,
    name: &str,
    role: &str,
    groups: Option<String>,
    disabled: bool,
    hash: String,
) -> Result<users::Model, Failure> {
    let row = users::ActiveModel {
        name: Set(name.to_owned()),
        role: Set(role.to_owned()),
        groups: Set(groups),
        password: Set(hash),
        disabled: Set(disabled),
        created_at: Set(Timestamp::now().as_micros()),
    };
    Ok(row.insert(txn).await?)
}

/// Removes a user with all tokens and sessions.
///
/// # Errors
/// `not_found`.
pub async fn remove(shared: &Shared, actor: &Actor, name: &str) -> Result<(), Failure> {
    let work = Change::begin(shared).await?;
    if users::Entity::delete_by_id(name).exec(&work.txn).await?.rows_affected == 0 {
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        return Err(Failure::field(Code::NOT_FOUND, "name", format!("there is no user '{shown}'")));
    }
    sessions::Entity::delete_many().filter(sessions::Column::Name.eq(name)).exec(&work.txn).await?;
    for token in tokens::Entity::find().filter(tokens::Column::Owner.eq(name)).all(&work.txn).await? {
        super::tokens::revoke_row(&work.txn, token).await?;
    }
    audit::record(&work.txn, actor, Deed::done("user.remove", name)).await?;
    work.commit().await
}

/// Changes one's own password. Sessions that the old one began end.
///
/// # Errors
/// `unauthorized` for a wrong old password, `not_supported` for a token.
pub async fn change_password(shared: &Shared, actor: &Actor, name: &str, old: &str, new: &str) -> Result<(), Failure> {
    let Some(row) = users::Entity::find_by_id(name).one(shared.db.read()).await? else {
        let message = "only users have passwords; a token is replaced by a new one";
        return Err(Failure::refuse(Code::NOT_SUPPORTED, message));
    };
    if !password::matches(shared, old, Some(&row.password)).await? {
        return Err(Failure::field(Code::UNAUTHORIZED, "old", "this is not the present password"));
    }
    password::check(name, new)?;
    let hash = password::hash(shared, new).await?;
    let work = Change::begin(shared).await?;
    let mut row = row.into_active_model();
    row.password = Set(hash);
    row.update(&work.txn).await?;
    audit::record(&work.txn, actor, Deed::done("user.password", name)).await?;
    work.commit().await
}

/// Somebody with a password who may log in: the credential, with the digest of the stored password in the token's
/// place, so that a session ends when the password changes.
///
/// # Errors
/// As the database reports them.
pub async fn log_in(shared: &Shared, name: &str, given: &str) -> Result<Option<Credential>, Failure> {
    let row = users::Entity::find_by_id(name).one(shared.db.read()).await?;
    let matches = password::matches(shared, given, row.as_ref().map(|row| row.password.as_str())).await?;
    Ok(row.filter(|_| matches).and_then(|row| credential(&row)))
}

/// The user of a session, while the password is the one that began it.
///
/// # Errors
/// As the database reports them.
pub async fn still_valid(shared: &Shared, name: &str, digest: &str) -> Result<Option<Credential>, Failure> {
    let row = users::Entity::find_by_id(name).one(shared.db.read()).await?;
    Ok(row.and_then(|row| credential(&row)).filter(|credential| credential.token_sha256 == digest))
}

fn credential(row: &users::Model) -> Option<Credential> {
    if row.disabled {
        return None;
    }
    let role = contract::access::Role::of_person(&row.role)?;
    let mut credential = Credential::new(&row.name, role, hash_token(&row.password));
    credential.groups = names(row.groups.as_deref());
    Some(credential)
}

fn view(row: users::Model) -> UserView {
    UserView {
        groups: names(row.groups.as_deref()),
        name: row.name,
        role: row.role,
        disabled: row.disabled,
        created_at: Timestamp::from_micros(row.created_at),
    }
}
