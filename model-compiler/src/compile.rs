//! The whole way in one call: model file and data set in, artifact and report out.

use std::time::Instant;

use contract::artifact::{CompileReport, ModelMeta, Sample, TensorMeta};
use thiserror::Error;

use crate::artifact::{self, Artifact, Contents};
use crate::codegen::{self, COMPILER};
use crate::dataset::{Dataset, Row, Split};
use crate::evaluate::{self, quantize_input};
use crate::import::{self, ImportError, ImportLimits, Model};
use crate::plan;
use crate::qir::QuantGraph;
use crate::quantize::{QuantizeError, QuantizeOptions, quantize};
use crate::reference;
use crate::report::{self, Findings, count, without_batch};

/// Most golden vectors of random bytes.
const RANDOM_GOLDEN: usize = 8;

/// Most multiply-accumulates of all calibration runs together: some tens of seconds.
const CALIBRATION_WORK: u64 = 20_000_000_000;

/// Most multiply-accumulates of all evaluation runs together: about two minutes. A
/// report says how many rows were evaluated.
const EVALUATION_WORK: u64 = 100_000_000_000;

/// What [`compile`] needs to know beside model and data.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// Name of the model in the fleet; goes into `TML_MODEL_NAME` (escaped).
    pub name: String,
    /// Raw data times this is the model's input (digits: 1/16).
    pub input_scale: f32,
    /// Most rows of the train split that calibrate the quantization.
    pub calibration_rows: usize,
    /// Most golden vectors taken from the train split; as many random ones, at most 8, come on top.
    pub golden_vectors: usize,
    /// Most held-out samples in the artifact.
    pub samples: usize,
    /// Share of a tensor's values that its quantized range must hold; `1.0` is plain min-max.
    pub percentile: f64,
    /// Bounds on the model file.
    pub limits: ImportLimits,
}

impl CompileOptions {
    /// Defaults for a model of this name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            input_scale: 1.0,
            calibration_rows: 256,
            golden_vectors: 16,
            samples: 100,
            percentile: 1.0,
            limits: ImportLimits::default(),
        }
    }
}

/// A step of [`compile`] that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Reading the model file.
    Import,
    /// Recording ranges on the train split and quantizing.
    Quantize,
    /// Measuring float and int8 accuracy on the held-out split.
    Evaluate,
    /// Planning memory and writing C.
    Generate,
    /// Packing the artifact.
    Pack,
}

impl Step {
    /// The part of the whole that the step takes, from and to, 0 to 1.
    fn share(self) -> (f32, f32) {
        match self {
            Self::Import => (0.0, 0.05),
            Self::Quantize => (0.05, 0.3),
            Self::Evaluate => (0.3, 0.9),
            Self::Generate => (0.9, 0.95),
            Self::Pack => (0.95, 1.0),
        }
    }

    /// A few words for a progress display.
    pub fn text(self) -> &'static str {
        match self {
            Self::Import => "importing the model",
            Self::Quantize => "quantizing to int8",
            Self::Evaluate => "measuring accuracy",
            Self::Generate => "generating C",
            Self::Pack => "packing the artifact",
        }
    }
}

/// Progress of [`compile`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The step that begins or goes on.
    pub step: Step,
    /// Share of the whole that is done, 0 to 1.
    pub fraction: f32,
}

/// What [`compile`] makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// To be stored, signed and installed.
    pub artifact: Artifact,
    /// To be shown before anybody flashes.
    pub report: CompileReport,
}

/// Why a model cannot be compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The model file.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Model and data set do not go together.
    #[error("model and data set do not match: {reason}")]
    Mismatch {
        /// What differs and how to mend it.
        reason: String,
    },
    /// The model cannot be expressed in int8.
    #[error("cannot quantize: {0}")]
    Quantize(#[from] QuantizeError),
    /// An option is out of range.
    #[error("option `{option}`: {reason}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is possible.
        reason: String,
    },
    /// Packing failed.
    #[error("cannot pack the artifact: {0}")]
    Pack(#[from] std::io::Error),
}

/// Compiles a model file, float ONNX or int8 TFLite, with a labelled data set.
///
/// The `train` split calibrates a float model, the `test` split measures. The same bytes and
/// options give the same artifact.
///
/// # Errors
/// [`CompileError`] says what part of which input cannot be used.
pub fn compile(
    model: &[u8],
    dataset: &Dataset,
    options: &CompileOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Compiled, CompileError> {
    let started = Instant::now();
    let mut tell = |step: Step, done: f32| {
        let (from, to) = step.share();
        progress(Progress { step, fraction: from + (to - from) * done });
    };
    check(options)?;
    tell(Step::Import, 0.0);
    let scaled = |row: &Row| -> Vec<f32> { row.values.iter().map(|v| v * options.input_scale).collect() };
    let (graph, quantized, calibration) = match import::model(model, &options.limits)? {
        Model::Int8(quantized) => {
            let sizes = (quantized.tensors[quantized.input].len(), quantized.tensors[quantized.output].len());
            check_match(&quantized.input_shape, sizes, dataset)?;
            (None, quantized, Vec::new())
        }
        Model::Float(graph) => {
            let sizes = (graph.tensors[graph.input].len(), graph.tensors[graph.output].len());
            check_match(&graph.input_shape, sizes, dataset)?;
            tell(Step::Quantize, 0.0);
            let work: u64 = graph.nodes.iter().map(|node| node.op.work()).sum();
            let rows = options.calibration_rows.min(affordable(CALIBRATION_WORK, work));
            let calibration: Vec<Vec<f32>> = spread(dataset, Split::Train, rows).into_iter().map(&scaled).collect();
            let quantize_options = QuantizeOptions { percentile: options.percentile };
            let quantized = quantize(&graph, &calibration, &quantize_options)?;
            (Some(graph), quantized, calibration)
        }
    };

    let work: u64 = quantized.nodes.iter().map(|node| node.op.work()).sum();
    let rows = affordable(EVALUATION_WORK, work);
    let held_out: Vec<(Vec<f32>, usize)> =
        spread(dataset, Split::Test, rows).into_iter().map(|row| (scaled(row), row.label)).collect();
    let examples = held_out.iter().map(|(input, label)| (input.as_slice(), *label));
    let evaluation = evaluate::evaluate(graph.as_ref(), &quantized, examples, &mut |done| {
        tell(Step::Evaluate, done);
    });
    let measured = calibration.len().min(32);
    let sqnr_db = match &graph {
        Some(graph) => evaluate::sqnr_db(graph, &quantized, &calibration[..measured]),
        None => Vec::new(),
    };

    tell(Step::Generate, 0.0);
    let plan = plan::plan(&quantized);
    let sources = codegen::c99(&quantized, &plan, &options.name);

    tell(Step::Pack, 0.0);
    let golden = golden_vectors(&quantized, dataset, options);
    let samples: Vec<(Vec<i8>, Sample)> = spread(dataset, Split::Test, options.samples)
        .into_iter()
        .map(|row| {
            let sample = Sample { label: dataset.labels[row.label].clone(), source: format!("test/{}", row.index) };
            (quantize_input(&quantized, &scaled(row)), sample)
        })
        .collect();
    let artifact = artifact::build(Contents {
        model_c: &sources.model_c,
        model_h: &sources.model_h,
        meta: ModelMeta {
            name: options.name.clone(),
            input: tensor_meta(&quantized, quantized.input, &input_shape(&quantized)),
            output: tensor_meta(&quantized, quantized.output, &quantized.output_shape),
            labels: dataset.labels.clone(),
            input_scale: options.input_scale,
            golden_count: 0,
            sample_count: 0,
            arena_bytes: count(plan.arena_bytes),
            weights_bytes: count(report::weights_bytes(&quantized)),
            macs: report::macs(&quantized),
            compiler: COMPILER.to_owned(),
        },
        golden: &golden,
        samples: &samples,
    })?;
    let report = report::report(&Findings {
        graph: graph.as_ref(),
        quantized: &quantized,
        plan: &plan,
        sources: &sources,
        evaluation: &evaluation,
        sqnr_db: &sqnr_db,
        labels: &dataset.labels,
        calibrated: calibration.len(),
        source_bytes: model.len(),
        compile_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    tell(Step::Pack, 1.0);
    Ok(Compiled { artifact, report })
}

fn check(options: &CompileOptions) -> Result<(), CompileError> {
    if !options.input_scale.is_finite() || options.input_scale == 0.0 {
        return Err(CompileError::Option {
            option: "input_scale",
            reason: format!("{} is no usable factor; try 1 or 1/255", options.input_scale),
        });
    }
    if !(0.5..=1.0).contains(&options.percentile) {
        return Err(CompileError::Option {
            option: "percentile",
            reason: format!("{} is not within 0.5 to 1", options.percentile),
        });
    }
    Ok(())
}

/// The data set must have the model's input length and a label per output (`sizes`).
fn check_match(
    input_shape: &[usize],
    (inputs, outputs): (usize, usize),
    dataset: &Dataset,
) -> Result<(), CompileError> {
    let mismatch = |reason: String| CompileError::Mismatch { reason };
    if dataset.input_len() != inputs {
        return Err(mismatch(format!(
            "a row has {} values, the model's input {input_shape:?} takes {inputs}",
            dataset.input_len(),
        )));
    }
    if dataset.labels.len() != outputs {
        return Err(mismatch(format!(
            "the data set has {} labels, the model has {outputs} outputs",
            dataset.labels.len()
        )));
    }
    if dataset.split(Split::Train).next().is_none() {
        return Err(mismatch(
            "no row has the split `train`; some are needed to calibrate the quantization and to make golden vectors"
                .into(),
        ));
    }
    Ok(())
}

/// Number of runs that stay within a total of work, at least one.
fn affordable(total: u64, of_one: u64) -> usize {
    usize::try_from(total / of_one.max(1)).unwrap_or(usize::MAX).max(1)
}

/// At most `most` rows of a split, evenly spread over it.
fn spread(dataset: &Dataset, split: Split, most: usize) -> Vec<&Row> {
    let rows: Vec<&Row> = dataset.split(split).collect();
    let taken = rows.len().min(most.max(usize::from(split == Split::Train)));
    (0..taken).map(|at| rows[at * rows.len() / taken]).collect()
}

/// Inputs from the train split and random bytes, with the answers of the reference.
fn golden_vectors(graph: &QuantGraph, dataset: &Dataset, options: &CompileOptions) -> Vec<(Vec<i8>, Vec<i8>)> {
    let rows = spread(dataset, Split::Train, options.golden_vectors);
    let mut inputs: Vec<Vec<i8>> = rows
        .into_iter()
        .map(|row| {
            let scaled: Vec<f32> = row.values.iter().map(|v| v * options.input_scale).collect();
            quantize_input(graph, &scaled)
        })
        .collect();
    let len = graph.tensors[graph.input].len();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..options.golden_vectors.min(RANDOM_GOLDEN) {
        inputs.push(
            (0..len)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (random >> 32) as i8
                })
                .collect(),
        );
    }
    inputs.into_iter().filter_map(|input| reference::run(graph, &input).map(|output| (input, output))).collect()
}

/// Shape of the input as its bytes lie: height, width, channels if an operator
/// reads it as an image, else as the model file declares it.
fn input_shape(graph: &QuantGraph) -> Vec<usize> {
    let reader = graph.nodes.iter().find(|node| node.inputs[0] == graph.input);
    match reader.and_then(|node| node.op.window()) {
        Some(window) => vec![1, window.in_h, window.in_w, window.in_c],
        None => graph.input_shape.clone(),
    }
}

fn tensor_meta(graph: &QuantGraph, tensor: usize, shape: &[usize]) -> TensorMeta {
    let tensor = &graph.tensors[tensor];
    TensorMeta {
        name: tensor.name.clone(),
        shape: without_batch(shape),
        dtype: "int8".into(),
        scale: tensor.scale,
        zero_point: tensor.zero_point,
    }
}
