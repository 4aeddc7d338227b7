//! The keys that sign manifests: shown, replaced, and told to relays.

use std::sync::Arc;

use contract::keys::{Follower, KeyView, KeysView};
use contract::request::{Response, ResponseBody};
use contract::state::RelayState;
use contract::{RelayId, Topic};
use sea_orm::{EntityTrait, QueryOrder};
use serde_json::json;

use super::failure::Failure;
use crate::audit::{self, Actor, Deed};
use crate::db::entity::relays;
use crate::shared::Shared;
use crate::signing::{FleetKey, key_id, verifying};

/// Every key there ever was, and which relay follows which.
///
/// # Errors
/// As the database reports them.
pub async fn view(shared: &Shared) -> Result<KeysView, Failure> {
    let rows = relays::Entity::find().order_by_asc(relays::Column::Name).all(shared.db.read()).await?;
    let followers = rows.into_iter().filter_map(|row| {
        let state: Option<RelayState> = row.state.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let version = state.map_or(0, |state| state.key_list);
        Some(Follower { relay: RelayId::new(row.name).ok()?, online: row.online, version })
    });
    let relays = followers.collect();
    Ok(KeysView { keys: shared.signer.keys().into_iter().map(key).collect(), relays })
}

fn key(key: FleetKey) -> KeyView {
    let key_id = verifying(&key.public).as_ref().map(key_id).unwrap_or_default();
    KeyView { version: key.version, key_id, public: key.public, since: key.since, retired_at: key.retired }
}

/// Replaces the key and tells every relay.
///
/// # Errors
/// The disk's or the database's; a key that was replaced all the same is then told to relays when they ask.
pub async fn rotate(shared: &Arc<Shared>, actor: &Actor) -> Result<KeyView, Failure> {
    let txn = shared.db.begin().await?;
    let signing = Arc::clone(shared);
    let rotated = tokio::task::spawn_blocking(move || signing.signer.rotate()).await?;
    let new = key(rotated.map_err(|error| Failure::Internal(error.to_string()))?);
    let deed = Deed::done("key.rotate", &new.key_id).with(json!({ "version": new.version }));
    audit::record(&txn, actor, deed).await?;
    txn.commit().await?;
    tracing::info!(version = new.version, key_id = %new.key_id, "the signing key is another one now");
    if let Some(publisher) = shared.publisher.get() {
        let lists = shared.signer.lists(new.version - 1);
        for relay in relays::Entity::find().all(shared.db.read()).await? {
            let Ok(relay) = RelayId::new(relay.name) else { continue };
            let body = ResponseBody::Keys { lists: lists.clone() };
            publisher.publish(&Topic::Responses(relay), &Response { request: String::new(), body }).await;
        }
    }
    Ok(new)
}
