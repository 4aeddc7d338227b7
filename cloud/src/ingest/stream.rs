//! The three streams: each message once, whatever the network does.

use contract::event::EventBody;
use sea_orm::{DatabaseTransaction, DbErr, Set};

use super::batch::{After, Batch};
use super::cache::Cache;
use super::incoming::{StreamBody, StreamMessage};
use super::watermark::Verdict;
use super::{device, event};
use crate::db::entity::{events, logs};

/// Takes in a message of a stream.
pub async fn apply(
    txn: &DatabaseTransaction,
    cache: &mut Cache,
    batch: &mut Batch,
    message: &StreamMessage,
) -> Result<(), DbErr> {
    let head = &message.head;
    let relay = cache.relay(txn, &head.relay).await?;
    let relay_id = relay.id;
    let present = relay.journal.as_deref() == Some(head.journal.as_str());
    if !present || !relay.online || head.epoch.cast_signed() > relay.epoch {
        // It speaks, so it lives, and its birth was missed. What is only late says so by its epoch.
        let late = present && head.epoch.cast_signed() <= relay.epoch && relay.presence_at != 0;
        if !late {
            batch.after.push(After::AskForRebirth { relay: head.relay.clone() });
        }
    }
    let journal_id = cache.journal(txn, relay_id, &head.journal).await?;
    let mark = cache.mark(txn, journal_id, message.stream()).await?;
    let before = mark.clone();
    let verdict = mark.note(head.seq, head.floor);
    let mark = mark.clone();
    if mark != before {
        batch.moved.insert((journal_id, message.stream()));
    }
    if present {
        let (relay, journal) = (head.relay.clone(), head.journal.clone());
        batch.after.push(After::Stored { relay, journal, stream: message.stream(), mark });
    }
    match verdict {
        Verdict::Store => {}
        Verdict::Duplicate => {
            batch.count("duplicates");
            return Ok(());
        }
        Verdict::Refuse => {
            batch.count("refused_beyond_gap");
            return Ok(());
        }
    }
    let (at, seq, body) = (head.at.as_micros(), head.seq.cast_signed(), message.text.clone());
    match &message.body {
        StreamBody::Unreadable(_) => batch.count("unreadable"),
        StreamBody::Event(sent) => {
            let report = match &sent.body {
                EventBody::Command(report) => Some(report),
                EventBody::Device(_) | EventBody::Notice(_) | EventBody::Unknown => None,
            };
            batch.events.push(events::ActiveModel {
                relay_id: Set(relay_id),
                journal_id: Set(journal_id),
                seq: Set(seq),
                command: Set(report.map(|report| report.command.as_str().to_owned())),
                at: Set(at),
                body: Set(body),
                ..Default::default()
            });
            if let Some(report) = report {
                event::apply(txn, batch, relay_id, journal_id, head, report).await?;
            }
            batch.count("events");
        }
        StreamBody::Logs(lines) => {
            let Some(device) = cache.device(txn, relay_id, &lines.device).await? else {
                batch.count("devices_over_limit");
                return Ok(());
            };
            batch.logs.push(logs::ActiveModel {
                device_id: Set(device.id),
                journal_id: Set(journal_id),
                seq: Set(seq),
                command: Set(lines.command.as_ref().map(|command| command.as_str().to_owned())),
                at: Set(at),
                body: Set(body),
                ..Default::default()
            });
            batch.count("logs");
        }
        StreamBody::Reading(reading) => {
            let Some(entry) = cache.device(txn, relay_id, &reading.device).await? else {
                batch.count("devices_over_limit");
                return Ok(());
            };
            device::reading(batch, entry, journal_id, reading, body);
            batch.count("readings");
        }
    }
    Ok(())
}
