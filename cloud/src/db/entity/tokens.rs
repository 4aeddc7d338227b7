//! Tokens of services, people and relays. A revoked one stays, so that an old credential file cannot bring it back.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_sha256: String,
    /// Unique among those that are not revoked.
    pub name: String,
    pub role: String,
    /// Of a relay.
    pub relay: Option<String>,
    /// List of names; null: all relays.
    pub groups: Option<String>,
    /// The user that it belongs to.
    pub owner: Option<String>,
    /// µs.
    pub created_at: i64,
    /// µs.
    pub expires_at: Option<i64>,
    /// µs.
    pub revoked_at: Option<i64>,
    /// The token as a plain Mosquitto checks it; null where it was made before this was kept.
    pub token_pbkdf2: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
