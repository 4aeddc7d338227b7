//! Who did what. Triggers refuse to change or remove a row.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Unique: what is delivered twice is stored once.
    #[sea_orm(unique)]
    pub record: String,
    /// µs.
    pub at: i64,
    pub actor: String,
    pub role: String,
    pub source: String,
    pub address: Option<String>,
    pub action: String,
    pub target: String,
    pub result: String,
    /// JSON.
    pub detail: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
