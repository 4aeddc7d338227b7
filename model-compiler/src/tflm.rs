//! The TFLite Micro form of a .tflite file: a C array that a sketch includes.

use std::fmt::Write as _;

/// Declares the array.
pub const HEADER: &str = "\
/* A TensorFlow Lite model as an array, for tflite::GetModel(model_tflite). */
#ifndef MODEL_TFLITE_H
#define MODEL_TFLITE_H

#ifdef __cplusplus
extern \"C\" {
#endif

extern const unsigned char model_tflite[];
extern const unsigned int model_tflite_len;

#ifdef __cplusplus
}
#endif

#endif
";

/// The array's definition; aligned, because the interpreter reads wider numbers in place.
pub fn source(file: &[u8]) -> String {
    let mut c = String::with_capacity(6 * file.len() + 512);
    c += "#include \"model_tflite.h\"\n\n#if defined(__GNUC__)\n#define MODEL_ALIGNED __attribute__((aligned(16)))\n\
          #else\n#define MODEL_ALIGNED\n#endif\n\n";
    let _ = write!(c, "const unsigned char model_tflite[{}] MODEL_ALIGNED = {{", file.len());
    for (at, byte) in file.iter().enumerate() {
        c.push_str(if at % 16 == 0 { "\n    " } else { " " });
        let _ = write!(c, "0x{byte:02x},");
    }
    let _ = write!(c, "\n}};\n\nconst unsigned int model_tflite_len = {};\n", file.len());
    c
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_is_there() {
        let c = super::source(&[0, 255, 16]);
        assert!(c.contains("model_tflite[3] MODEL_ALIGNED = {\n    0x00, 0xff, 0x10,\n};"), "{c}");
        assert!(c.contains("model_tflite_len = 3;"));
    }
}
