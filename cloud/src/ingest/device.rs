//! A reading of a device: its row, and what it adds to the device's own.

use contract::reading::Reading;
use sea_orm::Set;

use super::batch::Batch;
use super::cache::{DeviceEntry, Newest};
use crate::db::entity::readings;

/// Adds a reading to the batch.
pub fn reading(batch: &mut Batch, device: &mut DeviceEntry, journal_id: i64, reading: &Reading, body: String) {
    let tally = batch.tallies.entry(device.id).or_default();
    tally.readings += 1;
    if let Some(expected) = &reading.expected {
        tally.labelled += 1;
        if reading.prediction.as_ref().is_some_and(|prediction| prediction.label == *expected) {
            tally.correct += 1;
        }
    }
    let head = &reading.head;
    let newer = device.newest.as_ref().is_none_or(|newest| newest.journal != head.journal || newest.seq < head.seq);
    if newer {
        device.newest = Some(Newest { journal: head.journal.clone(), seq: head.seq });
        tally.newest = Some(body.clone());
    }
    batch.readings.push(readings::ActiveModel {
        device_id: Set(device.id),
        journal_id: Set(journal_id),
        seq: Set(head.seq.cast_signed()),
        at: Set(head.at.as_micros()),
        body: Set(body),
        ..Default::default()
    });
}
