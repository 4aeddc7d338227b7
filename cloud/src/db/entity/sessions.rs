//! Sessions of people; only the hash of a session's token is stored.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_sha256: String,
    /// Of the user or the token.
    pub name: String,
    /// SHA-256 of the token, or of the stored password: a session ends when that is replaced.
    pub identity_sha256: String,
    /// µs.
    pub created_at: i64,
    /// µs.
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
