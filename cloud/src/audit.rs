//! The audit log: who did what, from where, and what came of it. Rows are added, never changed; what they tell of is
//! written in the same transaction wherever it is in the database.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::Timestamp;
use contract::api::AuditView;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set, TryInsertResult,
};
use serde_json::Value;

use crate::db::Db;
use crate::db::entity::audit;

/// Longest name, target or result that is kept, in characters.
const MAX_CHARS: usize = 256;

/// Who does something, and from where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The name of a user or token; empty for somebody unknown.
    pub name: String,
    /// The role; empty for somebody unknown.
    pub role: String,
    /// `api`, `page`, `cli` or `mqtt`.
    pub source: &'static str,
    /// The address, where it is known.
    pub address: Option<IpAddr>,
    /// Whether what is being done was recorded.
    recorded: Arc<AtomicBool>,
}

impl Actor {
    /// Somebody.
    pub fn new(
        name: impl Into<String>,
        role: impl Into<String>,
        source: &'static str,
        address: Option<IpAddr>,
    ) -> Self {
        Self { name: name.into(), role: role.into(), source, address, recorded: Arc::default() }
    }

    /// The same from there, now that it is known who it is.
    pub fn known_as(&self, name: &str, role: &str) -> Self {
        Self { name: name.to_owned(), role: role.to_owned(), ..self.clone() }
    }

    /// Whether anything was recorded of this request.
    pub fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Relaxed)
    }
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct Deed {
    /// Noun and verb, such as `token.create`.
    pub action: String,
    /// On what.
    pub target: String,
    /// `ok`, or the code of the refusal.
    pub result: String,
    /// More about it; never a secret.
    pub detail: Option<Value>,
}

impl Deed {
    /// Something that was done.
    pub fn done(action: &str, target: &str) -> Self {
        Self { action: action.to_owned(), target: target.to_owned(), result: "ok".to_owned(), detail: None }
    }

    /// Something that was refused.
    pub fn refused(action: &str, target: &str, code: &str) -> Self {
        Self { result: code.to_owned(), ..Self::done(action, target) }
    }

    /// With more about it.
    pub fn with(self, detail: Value) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

/// Records what somebody does, in the transaction that does it.
///
/// # Errors
/// As the database reports them.
pub async fn record<C: ConnectionTrait>(connection: &C, actor: &Actor, deed: Deed) -> Result<(), DbErr> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    record_once(connection, &id, Timestamp::now(), actor, deed).await
}

/// The same with an id and a time from elsewhere; what is recorded already is not recorded again.
///
/// # Errors
/// As the database reports them.
pub async fn record_once<C: ConnectionTrait>(
    connection: &C,
    id: &str,
    at: Timestamp,
    actor: &Actor,
    deed: Deed,
) -> Result<(), DbErr> {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect::<String>();
    let row = audit::ActiveModel {
        record: Set(short(id)),
        at: Set(at.as_micros()),
        actor: Set(short(&actor.name)),
        role: Set(short(&actor.role)),
        source: Set(actor.source.to_owned()),
        address: Set(actor.address.map(|address| address.to_string())),
        action: Set(short(&deed.action)),
        target: Set(short(&deed.target)),
        result: Set(short(&deed.result)),
        detail: Set(deed.detail.map(|detail| detail.to_string())),
        ..Default::default()
    };
    let inserted =
        audit::Entity::insert(row).on_conflict_do_nothing_on([audit::Column::Record]).exec(connection).await?;
    actor.recorded.store(true, Ordering::Relaxed);
    if !matches!(inserted, TryInsertResult::Inserted(_)) {
        tracing::debug!("it was recorded before");
    }
    Ok(())
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only actions that begin so.
    pub action: Option<String>,
    /// Only on this target.
    pub target: Option<String>,
    /// Only with this result.
    pub result: Option<String>,
    /// Only by this way.
    pub source: Option<String>,
    /// Only from then on.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// Only numbers below this one.
    pub before: Option<i64>,
}

impl Query {
    fn select(&self) -> sea_orm::Select<audit::Entity> {
        use audit::Column;
        let mut find = audit::Entity::find();
        for (column, wanted) in [
            (Column::Actor, &self.actor),
            (Column::Target, &self.target),
            (Column::Result, &self.result),
            (Column::Source, &self.source),
        ] {
            if let Some(wanted) = wanted {
                find = find.filter(column.eq(wanted.as_str()));
            }
        }
        if let Some(action) = &self.action {
            // A range instead of LIKE: nothing to escape. '\u{10ffff}' comes behind every text with this beginning.
            find = find
                .filter(Column::Action.gte(action.as_str()))
                .filter(Column::Action.lt(format!("{action}\u{10ffff}")));
        }
        if let Some(since) = self.since {
            find = find.filter(Column::At.gte(since.as_micros()));
        }
        if let Some(until) = self.until {
            find = find.filter(Column::At.lt(until.as_micros()));
        }
        if let Some(before) = self.before {
            find = find.filter(Column::Id.lt(before));
        }
        find
    }
}

/// Lines of the log, newest first.
///
/// # Errors
/// As the database reports them.
pub async fn list(db: &Db, query: &Query, limit: u64) -> Result<Vec<AuditView>, DbErr> {
    let rows = query.select().order_by_desc(audit::Column::Id).limit(limit).all(db.read()).await?;
    Ok(rows.into_iter().map(view).collect())
}

/// Lines of the log after the number `after`, oldest first: an export asks for one batch after the other.
///
/// # Errors
/// As the database reports them.
pub async fn batch(db: &Db, query: &Query, after: i64, limit: u64) -> Result<Vec<AuditView>, DbErr> {
    let find = query.select().filter(audit::Column::Id.gt(after));
    let rows = find.order_by_asc(audit::Column::Id).limit(limit).all(db.read()).await?;
    Ok(rows.into_iter().map(view).collect())
}

fn view(row: audit::Model) -> AuditView {
    AuditView {
        id: row.id,
        at: Timestamp::from_micros(row.at),
        actor: row.actor,
        role: row.role,
        source: row.source,
        address: row.address,
        action: row.action,
        target: row.target,
        result: row.result,
        detail: row.detail.as_deref().and_then(|text| serde_json::from_str(text).ok()),
    }
}
