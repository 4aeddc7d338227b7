//! Tests of the compiler as a whole: real models, real C compilers, damaged files.
#![allow(clippy::unwrap_used)]

#[path = "all/board.rs"]
mod board;
#[path = "all/book.rs"]
mod book;
#[path = "all/c_code.rs"]
mod c_code;
#[path = "../benches/chip/mod.rs"]
mod chip;
#[path = "all/common.rs"]
mod common;
#[path = "all/corrupt.rs"]
mod corrupt;
#[path = "all/digits.rs"]
mod digits;
#[path = "all/exports.rs"]
mod exports;
#[path = "all/import.rs"]
mod import;
#[path = "all/poison.rs"]
mod poison;
#[path = "all/quantization.rs"]
mod quantization;
#[path = "all/random.rs"]
mod random;
#[path = "all/tables.rs"]
mod tables;
#[path = "all/tflite.rs"]
mod tflite;
#[path = "all/unlabelled.rs"]
mod unlabelled;
