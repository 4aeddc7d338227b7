//! What comes in over MQTT: acknowledged after everything that it asks for is on the disk.

use std::sync::Arc;

use contract::Code;
use contract::event::Notice;
use contract::limits::{MAX_COMMAND_BYTES, MAX_PACKET_BYTES};
use contract::request::{Response, ResponseBody};
use contract::stream::Sync;
use contract::topic::Topic;
use contract::wire::{self, Malformed};
use rumqttc::Publish;
use tokio::sync::mpsc;

use crate::error::{JournalError, RelayError};
use crate::mqtt::Incoming;
use crate::relay::Relay;
use crate::work::admit;

/// Takes messages for ever.
///
/// # Errors
/// Only if the journal fails.
pub async fn run(relay: Arc<Relay>, mut incoming: mpsc::Receiver<Incoming>) -> Result<(), RelayError> {
    while let Some(incoming) = incoming.recv().await {
        match incoming {
            Incoming::Message(message) => {
                take(&relay, &message).await?;
                relay.link.ack(&message).await;
            }
            Incoming::Refused(text) => {
                tracing::error!(relay = %relay.config.relay, "{text}");
                relay.outbox.notice(Notice { code: Code::BROKER_REFUSED, message: text, field: None });
            }
            Incoming::Shed(bytes) => {
                let message = format!(
                    "a message of {bytes} bytes could not be read; a command has at most {MAX_COMMAND_BYTES}. \
                     The session was given up to get rid of it: commands that waited behind it must be sent again"
                );
                relay.outbox.notice(Notice { code: Code::TOO_LARGE, message, field: None });
            }
        }
    }
    Err(RelayError::Part("inbox"))
}

async fn take(relay: &Arc<Relay>, message: &Publish) -> Result<(), JournalError> {
    match Topic::parse(&message.topic) {
        Some(Topic::Commands(_)) => admit::payload(relay, &message.payload).await,
        Some(Topic::Responses(_)) => {
            match wire::decode::<Response>(&message.payload, MAX_PACKET_BYTES) {
                // Unasked: the cloud has a new key. What it has to say about it is asked for, and checked.
                Ok(Response { body: ResponseBody::Keys { .. }, request }) if request.is_empty() => {
                    relay.trust.look.notify_one();
                }
                Ok(response) => {
                    if !relay.asker.answer(response) {
                        relay.counters.add("unexpected_responses", 1);
                    }
                }
                Err(malformed) => refuse(relay, "response", malformed),
            }
            Ok(())
        }
        Some(Topic::Sync(_)) => match wire::decode::<Sync>(&message.payload, MAX_COMMAND_BYTES) {
            Ok(sync) => self::sync(relay, &sync).await,
            Err(malformed) => {
                refuse(relay, "sync", malformed);
                Ok(())
            }
        },
        _ => {
            relay.counters.add("unexpected_topics", 1);
            Ok(())
        }
    }
}

async fn sync(relay: &Arc<Relay>, sync: &Sync) -> Result<(), JournalError> {
    relay.journal.confirm(sync).await?;
    if sync.resend {
        relay.outbox.signal().rewind();
    }
    if sync.rebirth {
        relay.rebirth.notify_one();
    }
    Ok(())
}

fn refuse(relay: &Relay, what: &str, malformed: Malformed) {
    relay.counters.add("malformed", 1);
    let message = contract::limits::clip(&format!("a {what} was refused: {malformed}"));
    relay.outbox.notice(Notice { code: malformed.code, message, field: malformed.field });
}
