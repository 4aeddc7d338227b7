//! Journals of relays: the streams of each count from 1 on their own.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "journals")]
pub struct Model {
    /// Grows in the order in which journals were first seen.
    #[sea_orm(primary_key)]
    pub id: i64,
    pub relay_id: i64,
    /// The random id that the relay gave it.
    pub journal: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
