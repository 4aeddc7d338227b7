//! Rows that every message needs, kept in memory so that a message costs no query. It runs ahead of the database
//! inside of a transaction, so it is dropped whenever one fails.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use contract::reading::Reading;
use contract::stream::Stream;
use contract::{DeviceId, RelayId, Timestamp};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait, QueryFilter, Set,
};

use super::watermark::Watermark;
use crate::db::entity::{devices, journals, relays, watermarks};

/// Above this many entries of one kind the cache starts anew.
const MAX_ENTRIES: usize = 50_000;

/// Most devices of one relay; what comes from more is refused.
pub const MAX_DEVICES: u64 = 4096;

/// The newest reading of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Its journal.
    pub journal: String,
    /// Its number.
    pub seq: u64,
}

/// A device's row, as far as readings need it.
#[derive(Debug, Clone)]
pub struct DeviceEntry {
    /// Its key.
    pub id: i64,
    /// Its newest reading.
    pub newest: Option<Newest>,
}

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    relays: HashMap<RelayId, relays::Model>,
    journals: HashMap<(i64, String), i64>,
    marks: HashMap<(i64, Stream), Watermark>,
    devices: HashMap<(i64, DeviceId), DeviceEntry>,
}

impl Cache {
    /// Forgets everything where it has grown too large.
    pub fn bound(&mut self) {
        let largest = self.relays.len().max(self.journals.len()).max(self.marks.len()).max(self.devices.len());
        if largest > MAX_ENTRIES {
            *self = Self::default();
        }
    }

    /// The relay's row, made where there is none.
    pub async fn relay(&mut self, txn: &DatabaseTransaction, relay: &RelayId) -> Result<&mut relays::Model, DbErr> {
        if !self.relays.contains_key(relay) {
            let found = relays::Entity::find().filter(relays::Column::Name.eq(relay.as_str())).one(txn).await?;
            let row = match found {
                Some(row) => row,
                None => {
                    let row = relays::ActiveModel {
                        name: Set(relay.as_str().to_owned()),
                        online: Set(false),
                        epoch: Set(0),
                        last_seen: Set(Timestamp::now().as_micros()),
                        presence_at: Set(0),
                        state_epoch: Set(0),
                        state_version: Set(0),
                        ..Default::default()
                    };
                    row.insert(txn).await?
                }
            };
            self.relays.insert(relay.clone(), row);
        }
        self.relays.get_mut(relay).ok_or_else(|| DbErr::Custom("a relay's row vanished from the cache".into()))
    }

    /// The key of a journal, made where there is none.
    pub async fn journal(&mut self, txn: &DatabaseTransaction, relay_id: i64, journal: &str) -> Result<i64, DbErr> {
        let key = (relay_id, journal.to_owned());
        if let Some(id) = self.journals.get(&key) {
            return Ok(*id);
        }
        let found = journals::Entity::find()
            .filter(journals::Column::RelayId.eq(relay_id))
            .filter(journals::Column::Journal.eq(journal))
            .one(txn)
            .await?;
        let id = match found {
            Some(row) => row.id,
            None => {
                let row = journals::ActiveModel {
                    relay_id: Set(relay_id),
                    journal: Set(journal.to_owned()),
                    ..Default::default()
                };
                row.insert(txn).await?.id
            }
        };
        self.journals.insert(key, id);
        Ok(id)
    }

    /// The watermark of a stream.
    pub async fn mark(
        &mut self,
        txn: &DatabaseTransaction,
        journal_id: i64,
        stream: Stream,
    ) -> Result<&mut Watermark, DbErr> {
        Ok(match self.marks.entry((journal_id, stream)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let row = watermarks::Entity::find_by_id((journal_id, stream.as_str().to_owned())).one(txn).await?;
                entry.insert(row.as_ref().map(read_mark).unwrap_or_default())
            }
        })
    }

    /// Stores watermarks that moved.
    pub async fn store_marks(&self, txn: &DatabaseTransaction, moved: &[(i64, Stream)]) -> Result<(), DbErr> {
        let rows: Vec<_> = moved
            .iter()
            .filter_map(|key| {
                let mark = self.marks.get(key)?;
                Some(watermarks::ActiveModel {
                    journal_id: Set(key.0),
                    stream: Set(key.1.as_str().to_owned()),
                    through: Set(mark.through.cast_signed()),
                    ahead: Set(serde_json::to_string(&mark.ahead).unwrap_or_default()),
                })
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let update = OnConflict::columns([watermarks::Column::JournalId, watermarks::Column::Stream])
            .update_columns([watermarks::Column::Through, watermarks::Column::Ahead])
            .to_owned();
        watermarks::Entity::insert_many(rows).on_conflict(update).exec_without_returning(txn).await?;
        Ok(())
    }

    /// The device's row, made where there is none. `None`: the relay has too many devices already.
    pub async fn device(
        &mut self,
        txn: &DatabaseTransaction,
        relay_id: i64,
        device: &DeviceId,
    ) -> Result<Option<&mut DeviceEntry>, DbErr> {
        let key = (relay_id, device.clone());
        if !self.devices.contains_key(&key) {
            let found = devices::Entity::find()
                .filter(devices::Column::RelayId.eq(relay_id))
                .filter(devices::Column::Name.eq(device.as_str()))
                .one(txn)
                .await?;
            let row = match found {
                Some(row) => row,
                None => {
                    let count =
                        devices::Entity::find().filter(devices::Column::RelayId.eq(relay_id)).count(txn).await?;
                    if count >= MAX_DEVICES {
                        return Ok(None);
                    }
                    new_device(relay_id, device).insert(txn).await?
                }
            };
            let last: Option<Reading> = row.last_reading.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let newest = last.map(|reading| Newest { journal: reading.head.journal, seq: reading.head.seq });
            self.devices.insert(key.clone(), DeviceEntry { id: row.id, newest });
        }
        Ok(self.devices.get_mut(&key))
    }
}

/// A device that nothing is known of yet.
pub fn new_device(relay_id: i64, device: &DeviceId) -> devices::ActiveModel {
    devices::ActiveModel {
        relay_id: Set(relay_id),
        name: Set(device.as_str().to_owned()),
        listed: Set(false),
        readings: Set(0),
        correct: Set(0),
        labelled: Set(0),
        ..Default::default()
    }
}

/// The watermark in a row.
pub fn read_mark(row: &watermarks::Model) -> Watermark {
    Watermark {
        through: row.through.cast_unsigned(),
        // Written by us; were it damaged, what is above `through` would come again and be refused as a duplicate row.
        ahead: serde_json::from_str(&row.ahead).unwrap_or_default(),
    }
}

/// The stream of that name.
pub fn parse_stream(text: &str) -> Option<Stream> {
    Stream::ALL.into_iter().find(|stream| stream.as_str() == text)
}
