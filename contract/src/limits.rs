//! Every size limit of the contract, in one place.

/// Largest MQTT packet that any participant sends or accepts, in bytes (fixed header, topic and payload together).
pub const MAX_PACKET_BYTES: usize = 256 * 1024;

/// Largest payload on a `commands` topic, in bytes.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// Raw size of an artifact block before base64, in bytes. The last block of an artifact may be shorter.
pub const BLOCK_BYTES: usize = 32 * 1024;

/// Largest artifact that a relay accepts, in bytes.
pub const MAX_ARTIFACT_BYTES: u64 = 64 * 1024 * 1024;

/// Longest command id, in bytes.
pub const MAX_COMMAND_ID_BYTES: usize = 64;

/// Longest name of a relay, device, model, dataset or identity, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Largest model input that a reading carries along for drawing, in bytes.
pub const MAX_READING_INPUT_BYTES: usize = 1024;

/// Longest free text (a message, a log line) that a payload carries, in bytes; longer text is cut with an ellipsis.
pub const MAX_TEXT_BYTES: usize = 4 * 1024;

/// Most lines in one log message.
pub const MAX_LOG_LINES: usize = 100;

/// Most bytes of text in all lines of one log message; with every byte escaped it still fits a packet.
pub const MAX_LOG_BYTES: usize = 32 * 1024;

/// Longest time that a command may take, in seconds (one day).
pub const MAX_TIMEOUT_S: u32 = 86_400;

/// Cuts `text` to at most [`MAX_TEXT_BYTES`] bytes at a character boundary and marks the cut with an ellipsis.
pub fn clip(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    let mut end = MAX_TEXT_BYTES - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
