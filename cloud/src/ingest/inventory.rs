//! A relay's state: the inventory of its devices.

use std::collections::BTreeMap;

use contract::state::RelayState;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter, Set,
};

use super::batch::{After, Batch};
use super::cache::{Cache, MAX_DEVICES, new_device};
use crate::db::entity::{devices, relays};

/// Whether a state is at least as new as the one that is known.
fn counts(row: &relays::Model, state: &RelayState) -> bool {
    let (epoch, version) = (state.epoch.cast_signed(), state.version.cast_signed());
    match &row.journal {
        Some(journal) if *journal == state.journal => {
            epoch >= row.epoch && (epoch, version) >= (row.state_epoch, row.state_version)
        }
        // Presence is what says which life of a relay is the present one.
        Some(_) => false,
        None => true,
    }
}

/// Takes in a state.
pub async fn apply(
    txn: &DatabaseTransaction,
    cache: &mut Cache,
    batch: &mut Batch,
    state: &RelayState,
) -> Result<(), DbErr> {
    let row = cache.relay(txn, &state.relay).await?;
    if !counts(row, state) {
        batch.count("stale_state");
        if row.journal.as_deref() != Some(state.journal.as_str()) {
            batch.after.push(After::AskForRebirth { relay: state.relay.clone() });
        }
        return Ok(());
    }
    row.state = serde_json::to_string(state).ok();
    row.state_epoch = state.epoch.cast_signed();
    row.state_version = state.version.cast_signed();
    let relay_id = row.id;
    row.clone().into_active_model().reset_all().update(txn).await?;
    let known = devices::Entity::find().filter(devices::Column::RelayId.eq(relay_id)).all(txn).await?;
    let mut known: BTreeMap<String, devices::Model> = known.into_iter().map(|row| (row.name.clone(), row)).collect();
    let mut count = known.len() as u64;
    for device in &state.devices {
        let text = serde_json::to_string(device).ok();
        match known.remove(device.device.as_str()) {
            Some(row) if row.listed && row.state == text => {}
            Some(row) => {
                let mut row = row.into_active_model();
                row.state = Set(text);
                row.listed = Set(true);
                row.update(txn).await?;
            }
            None if count >= MAX_DEVICES => batch.count("devices_over_limit"),
            None => {
                count += 1;
                let mut row = new_device(relay_id, &device.device);
                row.state = Set(text);
                row.listed = Set(true);
                row.insert(txn).await?;
            }
        }
    }
    // What the relay does not list any more keeps its history, and is shown no more.
    for row in known.into_values().filter(|row| row.listed) {
        let mut row = row.into_active_model();
        row.listed = Set(false);
        row.update(txn).await?;
    }
    batch.after.push(After::Inventory { relay: state.relay.clone() });
    Ok(())
}
