//! How far each stream of each journal is stored.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "watermarks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub journal_id: i64,
    /// `events`, `logs` or `telemetry`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub stream: String,
    /// Everything up to here is stored or was given up by the relay.
    pub through: i64,
    /// JSON of the ranges above `through` that are stored as well.
    #[sea_orm(column_type = "Text")]
    pub ahead: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
