//! Data sets; their files are `datasets/<sha256>.csv`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "datasets")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub rows: i32,
    pub train_rows: i32,
    pub test_rows: i32,
    pub columns: i32,
    /// JSON array.
    #[sea_orm(column_type = "Text")]
    pub labels: String,
    pub input_scale: f32,
    pub sha256: String,
    /// µs.
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
