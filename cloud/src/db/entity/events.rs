//! Events of relays, purged from the oldest on.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    /// In order of arrival.
    #[sea_orm(primary_key)]
    pub id: i64,
    pub relay_id: i64,
    pub journal_id: i64,
    pub seq: i64,
    pub command: Option<String>,
    /// µs, by the relay's clock.
    pub at: i64,
    /// JSON of the `Event`.
    #[sea_orm(column_type = "Text")]
    pub body: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
