//! What a relay reports on a command.

use contract::event::CommandReport;
use contract::stream::Head;
use contract::{Code, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter, Set,
};

use super::batch::{After, Batch};
use crate::db::entity::commands;

/// Brings the command's row up to what the event says, unless a later one was there before.
pub async fn apply(
    txn: &DatabaseTransaction,
    batch: &mut Batch,
    relay_id: i64,
    journal_id: i64,
    head: &Head,
    report: &CommandReport,
) -> Result<(), DbErr> {
    let now = Timestamp::now().as_micros();
    let found = commands::Entity::find()
        .filter(commands::Column::RelayId.eq(relay_id))
        .filter(commands::Column::Command.eq(report.command.as_str()))
        .one(txn)
        .await?;
    let known = found.is_some();
    let seq = head.seq.cast_signed();
    let (mut row, newer, repeats) = match found {
        Some(row) => {
            let newer = (row.event_journal, row.event_seq) < (journal_id, seq);
            let repeats = report.code == Code::DUPLICATE && row.state.as_deref() == Some(report.state.as_str());
            (row.into_active_model(), newer, repeats)
        }
        None => (unseen(relay_id, report, now), true, false),
    };
    row.publish_at = Set(None);
    if newer {
        row.event_journal = Set(journal_id);
        row.event_seq = Set(seq);
        // An answer to a repeated id says nothing new, least of all why the command stands where it does.
        if !repeats {
            row.state = Set(Some(report.state.as_str().to_owned()));
            row.code = Set(Some(report.code.as_str().to_owned()));
            row.message = Set(report.message.clone());
            row.progress = Set(report.progress);
            row.updated_at = Set(now);
        }
    }
    if known {
        row.update(txn).await?;
    } else {
        row.insert(txn).await?;
    }
    batch.after.push(After::Answered { relay: head.relay.clone(), command: report.command.clone() });
    Ok(())
}

/// A command that the cloud learns of by its event: it was sent while the cloud was away.
fn unseen(relay_id: i64, report: &CommandReport, now: i64) -> commands::ActiveModel {
    commands::ActiveModel {
        relay_id: Set(relay_id),
        command: Set(report.command.as_str().to_owned()),
        verb: Set(report.verb.clone()),
        device: Set(report.device.as_ref().map(|device| device.as_str().to_owned())),
        origin: Set("wire".into()),
        message: Set(String::new()),
        progress: Set(0.0),
        created_at: Set(now),
        updated_at: Set(now),
        event_journal: Set(0),
        event_seq: Set(0),
        attempts: Set(0),
        ..Default::default()
    }
}
