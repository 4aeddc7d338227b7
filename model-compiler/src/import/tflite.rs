//! TFLite files: int8 ones to [`QuantGraph`](crate::qir::QuantGraph), with their own scales.

use super::tflite_file::{File, malformed};
use super::{ImportError, ImportLimits, tflite_int8};
use crate::qir::QuantGraph;

/// True if the bytes carry TFLite's file identifier.
pub fn is_tflite(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"TFL3")
}

/// Reads an int8 TFLite file with one input and one output. Where they are float
/// or uint8 behind a QUANTIZE or DEQUANTIZE, the int8 form is input and output.
///
/// # Errors
/// [`ImportError`] names the operator that cannot be used, or the limit that was
/// passed. No file makes it panic.
pub fn import(bytes: &[u8], limits: &ImportLimits) -> Result<QuantGraph, ImportError> {
    let limit = |what: &str, found: usize, limit: usize| {
        if found <= limit {
            return Ok(());
        }
        Err(ImportError::Limit { what: what.to_owned(), found: found as u64, limit: limit as u64 })
    };
    limit("size of the model file in bytes", bytes.len(), limits.max_bytes)?;
    if !is_tflite(bytes) {
        return Err(malformed("it does not carry the identifier TFL3".into()));
    }
    let file = File::open(bytes)?;
    limit("nodes of the graph", file.operator_count, limits.max_nodes)?;
    tflite_int8::import(file, limits)
}
