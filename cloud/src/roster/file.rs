//! The credential file: what the broker needs to know of the database, so that it runs without the cloud.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::access::{Credential, CredentialFile, Role};
use contract::{RelayId, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set,
};

use super::{column, names, rank};
use crate::credentials;
use crate::db::entity::{groups, tokens, users};
use crate::services::Failure;
use crate::shared::Shared;

/// Writes the file, if its content is not what the database says. Tokens that somebody else has added to the file
/// (`tinymlaas up`, before the cloud has started) are taken into the database first. The caller has the turn.
///
/// # Errors
/// As database and file system report them.
pub async fn write(shared: &Shared) -> Result<(), Failure> {
    let path = shared.config.credentials.clone();
    let locked = tokio::task::spawn_blocking({
        let path = path.clone();
        move || credentials::lock(&path)
    });
    let lock = locked.await?.map_err(|error| Failure::Internal(error.to_string()))?;
    let before = credentials::ensure(&path).map_err(|error| Failure::Internal(error.to_string()))?;
    let txn = shared.db.begin().await?;
    for credential in &before.identities {
        adopt(&txn, credential).await?;
    }
    let after = project(&txn).await?;
    txn.commit().await?;
    if after != before {
        let saved = tokio::task::spawn_blocking(move || credentials::save(&path, &after));
        saved.await?.map_err(|error| Failure::Internal(error.to_string()))?;
    }
    drop(lock);
    Ok(())
}

/// A token of the file that the database has never seen takes the place of the one with its name. One that it knows
/// gets what the database lacks of it.
async fn adopt(txn: &DatabaseTransaction, credential: &Credential) -> Result<(), Failure> {
    let token_pbkdf2 = credential.token_pbkdf2.clone().filter(|hash| Credential::is_mosquitto_hash(hash));
    if let Some(row) = tokens::Entity::find_by_id(credential.token_sha256.as_str()).one(txn).await? {
        if row.token_pbkdf2.is_none() && token_pbkdf2.is_some() {
            let mut row = row.into_active_model();
            row.token_pbkdf2 = Set(token_pbkdf2);
            row.update(txn).await?;
        }
        return Ok(());
    }
    let relay = match &credential.role {
        Role::Relay(relay) => Some(relay.as_str().to_owned()),
        _ => None,
    };
    super::tokens::revoke_named(txn, &credential.name).await?;
    let row = tokens::ActiveModel {
        token_sha256: Set(credential.token_sha256.clone()),
        name: Set(credential.name.clone()),
        role: Set(credential.role.as_str().to_owned()),
        relay: Set(relay),
        groups: Set(column(credential.groups.as_ref())),
        owner: Set(None),
        created_at: Set(Timestamp::now().as_micros()),
        expires_at: Set(credential.expires_at.map(Timestamp::as_micros)),
        revoked_at: Set(None),
        token_pbkdf2: Set(token_pbkdf2),
    };
    row.insert(txn).await?;
    tracing::info!(name = credential.name, "took a token of the credential file into the database");
    Ok(())
}

/// What the file has to be.
async fn project(txn: &DatabaseTransaction) -> Result<CredentialFile, Failure> {
    let rows = tokens::Entity::find()
        .filter(tokens::Column::RevokedAt.is_null())
        .order_by_asc(tokens::Column::Name)
        .all(txn)
        .await?;
    let users: HashMap<String, users::Model> =
        users::Entity::find().all(txn).await?.into_iter().map(|user| (user.name.clone(), user)).collect();
    let identities = rows.into_iter().filter_map(|row| credential(row, &users)).collect();
    let mut known = BTreeMap::new();
    for group in groups::Entity::find().all(txn).await? {
        let relays: BTreeSet<RelayId> = serde_json::from_str(&group.relays).unwrap_or_default();
        known.insert(group.name, relays);
    }
    Ok(CredentialFile { identities, groups: known })
}

/// A token as far as its owner reaches; `None` where it is not accepted at all.
fn credential(row: tokens::Model, users: &HashMap<String, users::Model>) -> Option<Credential> {
    let mut role = match (row.role.as_str(), &row.relay) {
        ("relay", Some(relay)) => Role::Relay(RelayId::new(relay).ok()?),
        ("cloud", _) => Role::Cloud,
        (role, _) => Role::of_person(role)?,
    };
    let mut groups = names(row.groups.as_deref());
    if let Some(owner) = &row.owner {
        let owner = users.get(owner).filter(|owner| !owner.disabled)?;
        let most = Role::of_person(&owner.role)?;
        if rank(&role) > rank(&most) {
            role = most;
        }
        groups = match (groups, names(owner.groups.as_deref())) {
            (Some(own), Some(most)) => Some(own.intersection(&most).cloned().collect()),
            (own, most) => own.or(most),
        };
    }
    Some(Credential {
        name: row.name,
        role,
        token_sha256: row.token_sha256,
        token_pbkdf2: row.token_pbkdf2,
        groups,
        expires_at: row.expires_at.map(Timestamp::from_micros),
    })
}
