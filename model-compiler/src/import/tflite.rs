//! TFLite files: int8 ones to [`QuantGraph`], with their own scales, float ones to
//! [`Graph`](crate::ir::Graph).

use super::tflite_file::{File, malformed};
use super::{ImportError, ImportLimits, Model, tflite_float, tflite_int8};
use crate::qir::QuantGraph;

/// True if the bytes carry TFLite's file identifier.
pub fn is_tflite(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"TFL3")
}

/// Reads an int8 or float TFLite file with one input and one output. Where an int8
/// model has a float or uint8 input or output behind a QUANTIZE or DEQUANTIZE, the
/// int8 form is input and output.
///
/// # Errors
/// [`ImportError`] names the operator that cannot be used, or the limit that was
/// passed. No file makes it panic.
pub fn import_any(bytes: &[u8], limits: &ImportLimits) -> Result<Model, ImportError> {
    let file = open(bytes, limits)?;
    if tflite_float::is_float(&file).map_err(|fault| fault.at("operators", "operator"))? {
        return tflite_float::import(file, limits).map(Model::Float);
    }
    tflite_int8::import(file, limits).map(Model::Int8)
}

/// As [`import_any`], for int8 files only.
///
/// # Errors
/// As [`import_any`].
pub fn import(bytes: &[u8], limits: &ImportLimits) -> Result<QuantGraph, ImportError> {
    tflite_int8::import(open(bytes, limits)?, limits)
}

fn open<'a>(bytes: &'a [u8], limits: &ImportLimits) -> Result<File<'a>, ImportError> {
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
    Ok(file)
}
