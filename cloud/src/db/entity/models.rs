//! Versions of models; their files are `models/<sha256>.onnx` and `.tflite`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "models")]
pub struct Model {
    /// In order of import.
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    /// Unique per name, from 1.
    pub version: i32,
    pub format: String,
    /// Bytes.
    pub size: i64,
    pub sha256: String,
    pub dataset: Option<String>,
    /// µs.
    pub created_at: i64,
    /// What it was compiled to.
    pub artifact: Option<String>,
    /// SHA-256 of data set and settings that the artifact was compiled with.
    pub compiled_from: Option<String>,
    /// JSON of the `SignedManifest`.
    #[sea_orm(column_type = "Text", nullable)]
    pub manifest: Option<String>,
    /// JSON of the `CompileReport`.
    #[sea_orm(column_type = "Text", nullable)]
    pub report: Option<String>,
    pub problem_code: Option<String>,
    /// Why it could not be compiled.
    #[sea_orm(column_type = "Text", nullable)]
    pub problem: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
