//! Artifacts; their files are `artifacts/<hex>.tar`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "artifacts")]
pub struct Model {
    /// `sha256:…`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Bytes.
    pub size: i64,
    /// JSON of the `ModelMeta`.
    #[sea_orm(column_type = "Text")]
    pub meta: String,
    /// µs.
    pub created_at: i64,
    /// JSON of the `SignedManifest`; of the newest version of a model where several came out as this artifact.
    #[sea_orm(column_type = "Text", nullable)]
    pub manifest: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
