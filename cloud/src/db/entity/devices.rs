//! Devices: what their relay last reported, and their latest reading.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "devices")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub relay_id: i64,
    /// Unique on its relay.
    pub name: String,
    /// Whether the relay's last inventory has it.
    pub listed: bool,
    /// JSON of the last `Device`.
    #[sea_orm(column_type = "Text", nullable)]
    pub state: Option<String>,
    /// JSON of the newest `Reading`.
    #[sea_orm(column_type = "Text", nullable)]
    pub last_reading: Option<String>,
    /// Stored in all, purged ones included.
    pub readings: i64,
    /// Of the labelled ones, how many were right.
    pub correct: i64,
    /// How many had a right label.
    pub labelled: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::relays::Entity", from = "Column::RelayId", to = "super::relays::Column::Id")]
    Relay,
}

impl Related<super::relays::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Relay.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
