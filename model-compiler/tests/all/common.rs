//! What the tests share: the digits, a C compiler harness, ONNX by hand.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use model_compiler::codegen::Sources;
use model_compiler::dataset::{Dataset, DatasetLimits, Split, from_csv};
use model_compiler::import::{self, ImportLimits};
use model_compiler::ir::Graph;
use model_compiler::qir::QuantGraph;
use model_compiler::quantize::{QuantizeOptions, quantize};
use prost::Message;
use tract_onnx::pb;

/// A file of `models/digits`.
pub fn digits_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits").join(name);
    std::fs::read(path).unwrap()
}

/// The digits model, imported and quantized with its train split.
pub struct Digits {
    pub onnx: Vec<u8>,
    pub dataset: Dataset,
    pub graph: Graph,
    pub quantized: QuantGraph,
}

/// The digits, made once.
pub static DIGITS: LazyLock<Digits> = LazyLock::new(|| {
    let onnx = digits_file("digits.onnx");
    let dataset = from_csv(&digits_file("digits.csv"), &DatasetLimits::default()).unwrap();
    let graph = import::onnx(&onnx, &ImportLimits::default()).unwrap();
    let calibration: Vec<Vec<f32>> = scaled(&dataset, Split::Train).into_iter().take(256).collect();
    let quantized = quantize(&graph, &calibration, &QuantizeOptions::default()).unwrap();
    Digits { onnx, dataset, graph, quantized }
});

/// Inputs of a split as the digits model takes them.
pub fn scaled(dataset: &Dataset, split: Split) -> Vec<Vec<f32>> {
    dataset.split(split).map(|row| row.values.iter().map(|v| v / 16.0).collect()).collect()
}

/// Directory of models that are not part of the project, if it is there.
pub fn shared_models() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
    path.is_dir().then_some(path)
}

/// The first of these programs that runs here.
pub fn compiler(name: &str) -> Option<String> {
    let runs = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !runs {
        eprintln!("SKIPPED: no `{name}` on this machine, its part of the test did not run");
    }
    runs.then(|| name.to_owned())
}

/// Whether a compiler has the libraries of its sanitizers; says so where it has not.
pub fn sanitizes(compiler: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("main.c"), "int main(void) { return 0; }").unwrap();
    let built = Command::new(compiler)
        .args(["-fsanitize=address,undefined", "-o", "run", "main.c"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    if !built.status.success() {
        eprintln!("SKIPPED: {compiler} has no sanitizers on this machine, their part of the test did not run");
    }
    built.status.success()
}

/// Flags under which generated C must be silent.
pub const STRICT: [&str; 6] = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"];

const HARNESS: &str = r#"
#include <stdio.h>
#include <string.h>
#include "model.h"
int main(void)
{
    static unsigned char frame[TML_INPUT_BYTES];
    tml_init();
    while (fread(frame, 1, TML_INPUT_BYTES, stdin) == TML_INPUT_BYTES) {
        memcpy(tml_input(), frame, TML_INPUT_BYTES);
        if (tml_invoke() != 0) {
            return 2;
        }
        if (fwrite(tml_output(), 1, TML_OUTPUT_BYTES, stdout) != TML_OUTPUT_BYTES) {
            return 3;
        }
    }
    return 0;
}
"#;

/// Compiles generated C with a harness and runs it over `inputs`; returns the concatenated outputs.
pub fn run_c(compiler: &str, flags: &[&str], sources: &Sources, inputs: &[Vec<i8>]) -> Vec<i8> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("model.c", &sources.model_c);
    write("model.h", &sources.model_h);
    write("main.c", HARNESS);
    let built = Command::new(compiler)
        .args(flags)
        .args(["-o", "run", "model.c", "main.c"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{compiler} {flags:?}:\n{}", String::from_utf8_lossy(&built.stderr));
    let mut child = Command::new(folder.path().join("run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = inputs.iter().flatten().map(|v| v.cast_unsigned()).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "generated code failed: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout.into_iter().map(u8::cast_signed).collect()
}

/// Settings of a property test: this many cases, more where `PROPTEST_CASES` says so (a soak).
pub fn cases(usual: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    proptest::test_runner::Config {
        cases: cases.unwrap_or(usual),
        max_shrink_iters: 100,
        failure_persistence: None,
        ..Default::default()
    }
}

/// Deterministic bytes.
pub fn random_inputs(count: usize, len: usize, mut seed: u64) -> Vec<Vec<i8>> {
    (0..count)
        .map(|_| {
            (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 40) as i8
                })
                .collect()
        })
        .collect()
}

/// An ONNX model written by hand: one float input and output, constants, nodes.
#[derive(Default)]
pub struct OnnxFile {
    graph: pb::GraphProto,
    opset: i64,
}

impl OnnxFile {
    pub fn new(input: &[i64], output: &str) -> Self {
        let info = |name: &str, dims: &[i64]| pb::ValueInfoProto {
            name: name.into(),
            r#type: Some(pb::TypeProto {
                value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                    elem_type: 1,
                    shape: Some(pb::TensorShapeProto {
                        dim: dims
                            .iter()
                            .map(|dim| pb::tensor_shape_proto::Dimension {
                                value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(*dim)),
                                ..Default::default()
                            })
                            .collect(),
                    }),
                })),
                ..Default::default()
            }),
            ..Default::default()
        };
        let graph = pb::GraphProto {
            name: "by hand".into(),
            input: vec![info("x", input)],
            output: vec![pb::ValueInfoProto { name: output.into(), ..Default::default() }],
            ..Default::default()
        };
        Self { graph, opset: 13 }
    }

    pub fn floats(mut self, name: &str, dims: &[i64], data: Vec<f32>) -> Self {
        self.graph.initializer.push(pb::TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 1,
            float_data: data,
            ..Default::default()
        });
        self
    }

    pub fn ints(mut self, name: &str, data: Vec<i64>) -> Self {
        self.graph.initializer.push(pb::TensorProto {
            name: name.into(),
            dims: vec![data.len() as i64],
            data_type: 7,
            int64_data: data,
            ..Default::default()
        });
        self
    }

    /// An 8-bit constant, with sign or without.
    pub fn bytes8(mut self, name: &str, dims: &[i64], unsigned: bool, data: &[i32]) -> Self {
        self.graph.initializer.push(pb::TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: if unsigned { 2 } else { 3 },
            int32_data: data.to_vec(),
            ..Default::default()
        });
        self
    }

    pub fn node(mut self, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) -> Self {
        self.graph.node.push(pb::NodeProto {
            name: format!("the_{output}"),
            op_type: op.into(),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.into()],
            attribute: attributes
                .iter()
                .map(|(name, value)| {
                    let mut attribute = pb::AttributeProto { name: (*name).into(), ..Default::default() };
                    match value {
                        Attribute::Int(v) => {
                            attribute.i = *v;
                            attribute.r#type = 2;
                        }
                        Attribute::Text(v) => {
                            attribute.s = v.as_bytes().to_vec();
                            attribute.r#type = 3;
                        }
                        Attribute::Ints(v) => {
                            attribute.ints.clone_from(v);
                            attribute.r#type = 7;
                        }
                    }
                    attribute
                })
                .collect(),
            ..Default::default()
        });
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        pb::ModelProto {
            ir_version: 8,
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: self.opset }],
            graph: Some(self.graph),
            ..Default::default()
        }
        .encode_to_vec()
    }
}

/// The value of an attribute.
#[derive(Debug, Clone)]
pub enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
}

/// What tract, the float oracle, answers.
pub fn tract(file: &[u8], shape: &[usize], input: &[f32]) -> Vec<f32> {
    use tract_onnx::prelude::*;
    let model = tract_onnx::onnx()
        .model_for_read(&mut std::io::Cursor::new(file))
        .unwrap()
        .with_input_fact(0, f32::fact(shape).into())
        .unwrap()
        .into_typed()
        .unwrap()
        .into_runnable()
        .unwrap();
    let input: Tensor = tract_ndarray::ArrayD::from_shape_vec(shape, input.to_vec()).unwrap().into();
    let output = model.run(tvec!(input.into())).unwrap();
    output[0].to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}
