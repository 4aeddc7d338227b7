//! Groups of relays, which operators and viewers can be limited to.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Code, RelayId, ids};
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, Set};
use serde_json::json;

use super::Change;
use crate::audit::{self, Actor, Deed};
use crate::db::entity::groups;
use crate::services::Failure;
use crate::shared::Shared;

/// Most relays of a group.
const MAX_RELAYS: usize = 1000;

/// All groups with their relays.
///
/// # Errors
/// As the database reports them.
pub async fn list(shared: &Shared) -> Result<BTreeMap<String, BTreeSet<RelayId>>, Failure> {
    let rows = groups::Entity::find().all(shared.db.read()).await?;
    Ok(rows.into_iter().map(|row| (row.name, serde_json::from_str(&row.relays).unwrap_or_default())).collect())
}

/// Makes a group of these relays, or changes one. Relays need not have connected yet.
///
/// # Errors
/// `invalid_field`.
pub async fn put(shared: &Shared, actor: &Actor, name: &str, relays: &BTreeSet<RelayId>) -> Result<(), Failure> {
    ids::check_plain_name("group name", name)?;
    if relays.len() > MAX_RELAYS {
        return Err(Failure::refuse(Code::TOO_LARGE, format!("a group has at most {MAX_RELAYS} relays")));
    }
    let work = Change::begin(shared).await?;
    let row = groups::ActiveModel { name: Set(name.to_owned()), relays: Set(json!(relays).to_string()) };
    groups::Entity::insert(row)
        .on_conflict(OnConflict::column(groups::Column::Name).update_column(groups::Column::Relays).to_owned())
        .exec_without_returning(&work.txn)
        .await?;
    audit::record(&work.txn, actor, Deed::done("group.set", name).with(json!({"relays": relays}))).await?;
    work.commit().await
}

/// Removes a group: whoever was limited to it alone reaches no relay.
///
/// # Errors
/// `not_found`.
pub async fn remove(shared: &Shared, actor: &Actor, name: &str) -> Result<(), Failure> {
    let work = Change::begin(shared).await?;
    if groups::Entity::delete_by_id(name).exec(&work.txn).await?.rows_affected == 0 {
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        return Err(Failure::field(Code::NOT_FOUND, "name", format!("there is no group '{shown}'")));
    }
    audit::record(&work.txn, actor, Deed::done("group.remove", name)).await?;
    work.commit().await
}
