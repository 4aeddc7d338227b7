//! ONNX and TFLite models to static, heap-free int8 C.
