//! Commands to relays: accepted by the API, seen on the wire, or known from events alone.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    /// In the order in which they were first seen.
    #[sea_orm(primary_key)]
    pub id: i64,
    pub relay_id: i64,
    /// The id that its sender chose; unique on its relay.
    pub command: String,
    pub verb: String,
    pub device: Option<String>,
    /// `api`: the cloud sees to it that the relay gets it; `wire`: somebody else sent it.
    pub origin: String,
    /// Name of the API token that sent it.
    pub issued_by: Option<String>,
    /// JSON of the command, where it is known.
    #[sea_orm(column_type = "Text", nullable)]
    pub body: Option<String>,
    /// The last reported state.
    pub state: Option<String>,
    pub code: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub message: String,
    pub progress: f32,
    /// µs; when the cloud first saw it.
    pub created_at: i64,
    /// µs; when it last changed.
    pub updated_at: i64,
    /// µs.
    pub expires_at: Option<i64>,
    /// Journal and number of the event that the state is from; 0 before the first.
    pub event_journal: i64,
    pub event_seq: i64,
    /// µs; when to publish it next. None: the relay has answered, it expired, or it is not ours.
    pub publish_at: Option<i64>,
    /// How often it was published.
    pub attempts: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::relays::Entity", from = "Column::RelayId", to = "super::relays::Column::Id")]
    Relay,
}

impl Related<super::relays::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Relay.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
