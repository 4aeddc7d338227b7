//! Relays: who is there, and what they last said of themselves.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "relays")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Unique.
    pub name: String,
    /// By its last presence.
    pub online: bool,
    /// Of the last presence or message that counted.
    pub epoch: i64,
    /// Of the same.
    pub journal: Option<String>,
    /// µs; when the cloud last heard of it.
    pub last_seen: i64,
    /// µs, by the relay's clock; of the last presence that counted.
    pub presence_at: i64,
    /// JSON of the last `RelayState` that counted.
    #[sea_orm(column_type = "Text", nullable)]
    pub state: Option<String>,
    /// Its epoch.
    pub state_epoch: i64,
    /// Its version.
    pub state_version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
