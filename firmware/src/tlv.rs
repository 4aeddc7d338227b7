//! Tag-length-value lists, the payload of `INFO` and `BL_INFO`: `tag u8, length u8, value`.
//! Unknown tags are skipped, so that newer boards and older hosts understand each other.

use crate::message::ParseError;

/// Calls `field` with each tag and value.
pub(crate) fn read(
    what: &'static str,
    mut payload: &[u8],
    mut field: impl FnMut(u8, &[u8]) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    while let [tag, len, rest @ ..] = payload {
        let len = usize::from(*len);
        if rest.len() < len {
            return Err(ParseError::Truncated { what });
        }
        field(*tag, &rest[..len])?;
        payload = &rest[len..];
    }
    if payload.is_empty() { Ok(()) } else { Err(ParseError::Truncated { what }) }
}

/// Appends a value; what is longer than 255 bytes is cut (texts only can be).
pub(crate) fn put(payload: &mut Vec<u8>, tag: u8, value: &[u8]) {
    let value = &value[..value.len().min(255)];
    payload.extend_from_slice(&[tag, value.len() as u8]);
    payload.extend_from_slice(value);
}

/// An unsigned little-endian number of 1 to 4 bytes.
pub(crate) fn number(what: &'static str, value: &[u8]) -> Result<u32, ParseError> {
    if value.is_empty() || value.len() > 4 {
        return Err(ParseError::Length { what, expected: "1 to 4 bytes", got: value.len() });
    }
    Ok(value.iter().rev().fold(0, |sum, &byte| (sum << 8) | u32::from(byte)))
}

/// Text; broken UTF-8 is replaced rather than refused.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).collect()
}
