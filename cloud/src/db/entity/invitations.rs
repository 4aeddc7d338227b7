//! Join tokens of users and relays.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "invitations")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    #[sea_orm(unique)]
    pub secret_sha256: String,
    /// `user` or `relay`.
    pub guest: String,
    pub name: String,
    pub role: Option<String>,
    /// List of names; null: all relays.
    pub groups: Option<String>,
    pub created_by: String,
    /// µs.
    pub created_at: i64,
    /// µs.
    pub expires_at: i64,
    /// µs; used or withdrawn.
    pub used_at: Option<i64>,
    /// SHA-256 of the token that a relay joined with: the same request again is no replay.
    pub used_for: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
