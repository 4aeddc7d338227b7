//! ONNX and TFLite models to static, heap-free int8 C.
//!
//! # Layout
//! Bytes go one way through the modules: [`import`] reads a model file into the
//! float representation [`ir`]; [`float`](mod@float) runs it for calibration;
//! `quantize` turns it into the int8 representation; [`artifact`] packs what was
//! made. [`compile()`] does all of it.
//!
//! The crate opens no files and starts nothing: bytes in, bytes out.

pub mod artifact;
pub mod compile;
pub mod dataset;
pub mod estimate;
pub mod float;
pub mod import;
pub mod ir;

pub use compile::{CompileError, CompileOptions, Compiled, Progress, Step, compile};
