//! ONNX and TFLite models to static, heap-free int8 C.
//!
//! # Layout
//! Bytes go one way through the modules:
//! 1. [`import`] reads a model file into the float representation [`ir`].
//! 2. [`float`](mod@float) runs that, for calibration and for the float accuracy.
//! 3. [`mod@quantize`] turns it into the int8 representation [`qir`], in which every rounding is decided; [`search`]
//!    finds the [`ranges`] with the least error, equalizes layers and leaves some float ([`mixed`]).
//! 4. [`reference`](mod@reference) executes the int8 representation bit for bit; [`mod@evaluate`] measures it.
//! 5. [`optimize`] takes out what is dead and orders the rest; [`mod@plan`] gives every activation a place in one arena, band
//!    by band where that is smaller; `records` shortens the constants of channels; [`codegen`] writes C99.
//! 6. [`estimate`](mod@estimate) says what boards it fits; [`artifact`] packs sources, golden vectors and samples.
//!
//! [`compile()`] does all of it. [`dataset`] and [`samples`] read the examples that it needs,
//! [`real`] is what runs in 32-bit floats inside an int8 network or instead of one (tree ensembles of [`forest`]),
//! [`fixed`] holds the integer arithmetic that the interpreter and the C share,
//! [`functions`] what is tabulated of it, [`strided`] the geometry of moved and repeated data.
//!
//! [`tflm`] writes a .tflite file as an array for those who go on with TFLite Micro.
//!
//! The crate opens no files and starts nothing: bytes in, bytes out.

pub mod artifact;
pub mod codegen;
pub mod compile;
pub mod dataset;
mod equalize;
pub mod estimate;
pub mod evaluate;
mod examples;
pub mod fixed;
pub mod float;
pub mod forest;
pub mod functions;
mod half;
pub mod import;
pub mod ir;
mod lower;
pub mod mixed;
pub mod optimize;
pub mod plan;
mod qbinary;
pub mod qir;
pub mod quantize;
pub mod ranges;
pub mod real;
mod records;
pub mod reference;
mod report;
pub mod samples;
pub mod search;
pub mod strided;
pub mod tflm;
mod unary;

pub use compile::{CompileError, CompileOptions, Compiled, Data, Progress, Step, compile};
