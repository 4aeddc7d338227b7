//! Commands to the cloud itself: the journal that makes a repeated id harmless.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "cloud_commands")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub verb: String,
    /// JSON of the command.
    #[sea_orm(column_type = "Text")]
    pub body: String,
    pub state: String,
    pub code: String,
    #[sea_orm(column_type = "Text")]
    pub message: String,
    pub progress: f32,
    pub artifact: Option<String>,
    /// µs.
    pub created_at: i64,
    /// µs.
    pub updated_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
