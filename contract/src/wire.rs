//! Encoding and decoding, and the one decision about what fits.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::code::Code;
use crate::ids::CommandId;
use crate::limits::MAX_PACKET_BYTES;

/// Why a payload was refused: what its sender is told, as far as there is one to tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    /// The machine-readable reason.
    pub code: Code,
    /// The field at fault, where one can be named.
    pub field: Option<String>,
    /// What is wrong, the limit, and the way out.
    pub message: String,
    /// The command's id, where it could be read in spite of the fault: then the sender gets an answer.
    pub id: Option<CommandId>,
}

impl Malformed {
    /// A refusal without field and id.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into(), id: None }
    }

    /// The same, naming the field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

/// Decodes a payload of at most `limit` bytes.
///
/// # Errors
/// [`Malformed`] with `too_large` or `malformed`.
pub fn decode<T: DeserializeOwned>(payload: &[u8], limit: usize) -> Result<T, Malformed> {
    check_size(payload, limit)?;
    serde_json::from_slice(payload)
        .map_err(|error| Malformed::new(Code::MALFORMED, format!("the payload cannot be read: {}", brief(&error))))
}

/// Most characters of a decoder's error that are shown from its beginning and from its end.
const SHOWN: usize = 120;

/// A decoder's error, shortened and escaped: it quotes the offending text whole, and that may be the whole payload.
pub(crate) fn brief(error: &serde_json::Error) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    let text: Vec<char> = error.to_string().chars().map(shown).collect::<String>().chars().collect();
    if text.len() <= 2 * SHOWN + 3 {
        return text.into_iter().collect();
    }
    let (head, tail) = (&text[..SHOWN], &text[text.len() - SHOWN..]);
    head.iter().chain(&[' ', '…', ' ']).chain(tail).collect()
}

/// Refuses a payload over `limit` bytes.
///
/// # Errors
/// [`Malformed`] with `too_large`, naming both sizes.
pub fn check_size(payload: &[u8], limit: usize) -> Result<(), Malformed> {
    if payload.len() > limit {
        let message = format!("the payload has {} bytes, the limit is {limit}", payload.len());
        return Err(Malformed::new(Code::TOO_LARGE, message));
    }
    Ok(())
}

/// A message that is over the packet limit and was therefore not enqueued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes for '{topic}' is over the packet limit of {MAX_PACKET_BYTES} bytes")]
pub struct Oversize {
    /// The topic that it was meant for.
    pub topic: String,
    /// Its size on the wire, in bytes.
    pub bytes: usize,
}

/// The size of a PUBLISH on the wire, in bytes: fixed header (at most 5), topic with length, packet id, payload.
/// MQTT 5 adds one byte for an empty property list.
pub const fn publish_size(topic: &str, payload: &[u8]) -> usize {
    5 + 2 + topic.len() + 2 + 1 + payload.len()
}

/// Encodes a message, or refuses it before it can be enqueued. Everything that is ever published passes here: an
/// oversize message in a client's queue is never accepted by the peer and blocks all that follow.
///
/// # Errors
/// [`Oversize`].
pub fn encode<T: Serialize>(topic: &str, message: &T) -> Result<Vec<u8>, Oversize> {
    // Maps with string keys and plain structs only: serialization to memory cannot fail.
    let payload = serde_json::to_vec(message).unwrap_or_default();
    fits(topic, &payload)?;
    Ok(payload)
}

/// Refuses a payload that is ready but too large for a packet.
///
/// # Errors
/// [`Oversize`].
pub fn fits(topic: &str, payload: &[u8]) -> Result<(), Oversize> {
    let bytes = publish_size(topic, payload);
    if bytes > MAX_PACKET_BYTES {
        return Err(Oversize { topic: topic.to_owned(), bytes });
    }
    Ok(())
}
