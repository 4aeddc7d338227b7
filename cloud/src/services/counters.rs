//! Counters: what was refused, repeated or dropped. Kept in memory and stored every two seconds, so a killed cloud
//! forgets at most the last two seconds of them; nothing else depends on them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sea_orm::sea_query::OnConflict;
use sea_orm::{DbErr, EntityTrait, Set};

use crate::db::Db;
use crate::db::entity::counters;

/// All counters by name.
#[derive(Debug, Default)]
pub struct Counters {
    values: Mutex<BTreeMap<&'static str, u64>>,
    /// Sum of what was stored before this start.
    stored: Mutex<BTreeMap<String, u64>>,
}

impl Counters {
    /// Reads what was stored.
    ///
    /// # Errors
    /// As the database reports them.
    pub async fn load(db: &Db) -> Result<Self, DbErr> {
        let rows = counters::Entity::find().all(db.read()).await?;
        let stored = rows.into_iter().map(|row| (row.name, row.value.cast_unsigned())).collect();
        Ok(Self { values: Mutex::default(), stored: Mutex::new(stored) })
    }

    /// Counts.
    pub fn add(&self, name: &'static str, count: u64) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(name).or_default();
        *value = value.saturating_add(count);
    }

    /// All of them, since the database was made.
    pub fn all(&self) -> BTreeMap<String, u64> {
        let mut all = self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, value) in &*self.values.lock().unwrap_or_else(PoisonError::into_inner) {
            let sum = all.entry((*name).to_owned()).or_default();
            *sum = sum.saturating_add(*value);
        }
        all
    }

    /// Stores those that changed.
    ///
    /// # Errors
    /// As the database reports them; the next time stores them then.
    pub async fn store(&self, db: &Db) -> Result<(), DbErr> {
        let changed: Vec<&'static str> = {
            let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.iter().filter(|(_, value)| **value > 0).map(|(name, _)| *name).collect()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let all = self.all();
        let rows = changed.iter().map(|name| counters::ActiveModel {
            name: Set((*name).to_owned()),
            value: Set(all.get(*name).copied().unwrap_or(0).cast_signed()),
        });
        counters::Entity::insert_many(rows)
            .on_conflict(OnConflict::column(counters::Column::Name).update_column(counters::Column::Value).to_owned())
            .exec_without_returning(db.write())
            .await?;
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        for name in changed {
            let now = all.get(name).copied().unwrap_or(0);
            let before = stored.insert(name.to_owned(), now).unwrap_or(0);
            // What was counted while this was being stored stays for the next time.
            if let Some(value) = values.get_mut(name) {
                *value = value.saturating_sub(now.saturating_sub(before));
            }
        }
        Ok(())
    }
}
