//! Machine-readable codes: why a command stands where it stands, why a payload was refused.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A machine-readable reason. Codes are only ever added, so a reader treats one that it does not know as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// The code as it is written on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $meaning:literal;)*) => {
        impl Code {
            $(#[doc = $meaning] pub const $name: Code = Code(Cow::Borrowed($text));)*

            /// Every code with its meaning, for the documentation.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$(($text, $meaning)),*];
        }
    };
}

codes! {
    OK = "ok", "Nothing is wrong.";
    DUPLICATE = "duplicate", "This id was seen before; the answer repeats its present state and nothing was done again.";
    RESUMED = "resumed", "The relay restarted and goes on with this command.";
    MALFORMED = "malformed", "The payload is no JSON of the documented shape.";
    MISSING_FIELD = "missing_field", "A required field is absent.";
    INVALID_FIELD = "invalid_field", "A field has the wrong type or an impossible value.";
    TOO_LARGE = "too_large", "The payload is over its size limit.";
    UNKNOWN_VERB = "unknown_verb", "No such verb; the message lists those that exist.";
    UNKNOWN_DEVICE = "unknown_device", "The relay has no device of that name.";
    UNKNOWN_BOARD = "unknown_board", "No board type of that name.";
    UNKNOWN_MODEL = "unknown_model", "The cloud has no such model or version.";
    UNKNOWN_COMMAND = "unknown_command", "No command with that id.";
    NOT_SUPPORTED = "not_supported", "This board or relay cannot do that.";
    QUEUE_FULL = "queue_full", "Too many commands wait for this device.";
    EXPIRED = "expired", "The command's expires_at had passed before it began.";
    EXPECT_MISMATCH = "expect_mismatch", "The state changed since the version that the command expects.";
    TIMED_OUT = "timed_out", "The command took longer than its timeout_s.";
    CANCELLED = "cancelled", "Cancelled on request.";
    CANCEL_REFUSED = "cancel_refused", "Too late or unsafe to cancel; the message says why.";
    ARTIFACT_NOT_FOUND = "artifact_not_found", "The cloud has no such artifact.";
    FETCH_TIMEOUT = "fetch_timeout", "The cloud did not answer in time.";
    DIGEST_MISMATCH = "digest_mismatch", "What arrived is not what its digest says.";
    SIGNATURE_INVALID = "signature_invalid", "The manifest is not signed by a key that this relay trusts.";
    ARTIFACT_INVALID = "artifact_invalid", "The artifact's content is not of the documented form.";
    DOES_NOT_FIT = "does_not_fit", "The model needs more flash or RAM than the board has.";
    TOOLCHAIN_MISSING = "toolchain_missing", "The compiler for this board is not installed on the relay's host.";
    BUILD_FAILED = "build_failed", "The compiler reported errors; see the device's log.";
    BUILD_TIMEOUT = "build_timeout", "The build was killed at its time limit.";
    PORT_BUSY = "port_busy", "Another program holds the serial port.";
    PORT_DENIED = "port_denied", "The relay may not open the serial port.";
    DEVICE_LOST = "device_lost", "The device is not connected any more.";
    FLASH_FAILED = "flash_failed", "The board did not take the new firmware.";
    SELF_TEST_FAILED = "self_test_failed", "The board's answers differ from the reference.";
    ROLLED_BACK = "rolled_back", "The new firmware failed and the previous one runs again.";
    NO_FIRMWARE = "no_firmware", "There is no firmware of ours on the board.";
    INTERRUPTED = "interrupted", "The relay was stopped too often during this command and gave up.";
    STORAGE_FULL = "storage_full", "The disk is full.";
    BROKER_REFUSED = "broker_refused", "The broker refused the connection or the topic.";
    UNAUTHORIZED = "unauthorized", "No valid credential was given.";
    FORBIDDEN = "forbidden", "The credential does not allow this.";
    RATE_LIMITED = "rate_limited", "Too many requests of this kind; the message says when to try again.";
    NOT_FOUND = "not_found", "There is no such thing.";
    CONFLICT = "conflict", "It exists already with other content.";
    UNSUPPORTED_MODEL = "unsupported_model", "The model uses an operator or a shape that the compiler does not support; the message names it.";
    INVALID_MODEL = "invalid_model", "The file is no model that the compiler can read.";
    INVALID_DATASET = "invalid_dataset", "The dataset cannot be read; the message names line and column.";
    UNAVAILABLE = "unavailable", "A part of the system that is needed for this does not answer; try again.";
    INTERNAL = "internal", "A fault of ours; the log has the details.";
}
