//! The whole way in one call: model file and data set in, artifact and report out.

use std::time::Instant;

use contract::artifact::{CompileReport, ModelMeta, StepTime, TensorMeta};
use thiserror::Error;

use crate::artifact::{self, Artifact, Contents};
use crate::codegen::{self, COMPILER};
use crate::dataset::Dataset;
use crate::evaluate;
use crate::examples::Examples;
use crate::import::{self, ImportError, ImportLimits, Model};
use crate::mixed::Mixed;
use crate::optimize::{self, Optimize};
use crate::qir::{Element, QuantGraph};
use crate::quantize::QuantizeError;
use crate::ranges::Method;
use crate::report::{self, Findings, count, without_batch};
use crate::search;

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
    /// Raw data times this, plus `input_offset`, is the model's input (digits: 1/16).
    pub input_scale: f32,
    /// See `input_scale`.
    pub input_offset: f32,
    /// Most rows of the train split that calibrate the quantization.
    pub calibration_rows: usize,
    /// Most golden vectors taken from the train split; as many random ones, at most 8, come on top.
    pub golden_vectors: usize,
    /// Most held-out samples in the artifact.
    pub samples: usize,
    /// How the ranges of activations are chosen.
    pub method: Method,
    /// Which layers stay in 32-bit floats.
    pub mixed: Mixed,
    /// What the generated code shall be best at.
    pub optimize: Optimize,
    /// Bounds on the model file.
    pub limits: ImportLimits,
}

impl CompileOptions {
    /// Defaults for a model of this name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            input_scale: 1.0,
            input_offset: 0.0,
            calibration_rows: 256,
            golden_vectors: 16,
            samples: 100,
            method: Method::Auto,
            mixed: Mixed::Auto,
            optimize: Optimize::Speed,
            limits: ImportLimits::default(),
        }
    }
}

/// What calibrates and measures a model.
#[derive(Debug, Clone, Copy, Default)]
pub enum Data<'a> {
    /// Nothing, which is enough for models that are int8 already.
    #[default]
    None,
    /// Random inputs between -1 and 1: ranges are guesses, and accuracy stays unknown.
    Random,
    /// Examples: the train split calibrates, the test split measures.
    Examples(&'a Dataset),
}

impl<'a> From<&'a Dataset> for Data<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        Self::Examples(dataset)
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
    /// A float model without data.
    #[error(
        "a float model needs examples of its input to choose the ranges of its int8 values, and there are none; give a \
         dataset, or ask for random calibration and live with an unknown accuracy"
    )]
    NoData,
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

/// Compiles a model file, float ONNX or int8 TFLite.
///
/// Examples calibrate a float model and measure it: by their labels, by their targets, and float against int8. The
/// same bytes and options give the same artifact.
///
/// # Errors
/// [`CompileError`] says what part of which input cannot be used.
pub fn compile<'a>(
    model: &[u8],
    data: impl Into<Data<'a>>,
    options: &CompileOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Compiled, CompileError> {
    let mut clock = Clock::start(progress);
    let data = data.into();
    check(options)?;
    clock.begin(Step::Import);
    let imported = import::model(model, &options.limits)?;
    let examples = Examples::new(&imported, data, options)?;

    clock.begin(Step::Quantize);
    let mut calibration = Vec::new();
    let mut quantization = None;
    let (graph, quantized) = match imported {
        Model::Int8(_) if matches!(options.mixed, Mixed::Layers(_)) => {
            return Err(CompileError::Option {
                option: "mixed",
                reason: "the file is int8 already and has no float weights; leave it at auto".into(),
            });
        }
        Model::Int8(quantized) => (None, quantized),
        Model::Float(graph) => {
            let work: u64 = graph.nodes.iter().map(|node| node.op.work()).sum();
            calibration = examples.calibration(affordable(CALIBRATION_WORK, work)).ok_or(CompileError::NoData)?;
            let found = search::search(&graph, &calibration, options.method, &options.mixed)?;
            let is_int8 = found.quantized.tensors.iter().any(|tensor| tensor.element == Element::Int8);
            quantization = is_int8.then_some(found.report);
            (Some(found.graph), found.quantized)
        }
    };

    clock.begin(Step::Evaluate);
    let work: u64 = quantized.nodes.iter().map(|node| node.op.work()).sum();
    let held_out = examples.held_out(affordable(EVALUATION_WORK, work));
    let questions = held_out.iter().map(|(input, expected)| (input.as_slice(), *expected));
    let evaluation = evaluate::evaluate(graph.as_ref(), &quantized, examples.labels().len(), questions, &mut |done| {
        clock.tell(done);
    });
    let measured = calibration.len().min(32);
    let sqnr = match &graph {
        Some(graph) => evaluate::sqnr(graph, &quantized, &calibration[..measured]),
        None => Vec::new(),
    };

    clock.begin(Step::Generate);
    let (generated, plan) = optimize::optimized(&quantized, options.optimize);
    let sources = codegen::c99(&generated, &plan, &options.name);

    clock.begin(Step::Pack);
    let artifact = artifact::build(Contents {
        model_c: &sources.model_c,
        model_h: &sources.model_h,
        meta: ModelMeta {
            name: options.name.clone(),
            input: tensor_meta(&quantized, quantized.input, &input_shape(&quantized)),
            output: tensor_meta(&quantized, quantized.output, &quantized.output_shape),
            labels: examples.labels().to_vec(),
            input_scale: options.input_scale,
            input_offset: options.input_offset,
            golden_count: 0,
            sample_count: 0,
            arena_bytes: count(plan.arena_bytes),
            weights_bytes: count(report::weights_bytes(&generated)),
            macs: report::macs(&generated),
            compiler: COMPILER.to_owned(),
            optimize: options.optimize,
            mixed: options.mixed.clone(),
        },
        golden: &examples.golden(&quantized),
        samples: &examples.samples(&quantized),
    })?;
    let mut warnings = examples.warnings(graph.is_some(), evaluation.labelled);
    warnings.extend(report::advice(&quantized, &sqnr));
    let report = report::report(&Findings {
        graph: graph.as_ref(),
        quantized: &quantized,
        generated: &generated,
        plan: &plan,
        evaluation: &evaluation,
        quantization,
        sqnr: &sqnr,
        mixed: &options.mixed,
        labels: examples.labels(),
        calibration: (examples.source(graph.is_some()), calibration.len()),
        source_bytes: model.len(),
        warnings,
        times: clock.end(),
    });
    Ok(Compiled { artifact, report })
}

/// Says what is going on and keeps how long it took.
struct Clock<'a> {
    progress: &'a mut dyn FnMut(Progress),
    times: Vec<StepTime>,
    now: Option<(Step, Instant)>,
}

impl<'a> Clock<'a> {
    fn start(progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { progress, times: Vec::new(), now: None }
    }

    fn begin(&mut self, step: Step) {
        self.stop();
        self.now = Some((step, Instant::now()));
        self.tell(0.0);
    }

    /// Tells which share of the step is done.
    fn tell(&mut self, done: f32) {
        if let Some((step, _)) = self.now {
            let (from, to) = step.share();
            (self.progress)(Progress { step, fraction: from + (to - from) * done });
        }
    }

    fn stop(&mut self) {
        if let Some((step, begun)) = self.now.take() {
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.times.push(StepTime { step: step.text().to_owned(), ms });
        }
    }

    fn end(mut self) -> Vec<StepTime> {
        self.tell(1.0);
        self.stop();
        self.times
    }
}

fn check(options: &CompileOptions) -> Result<(), CompileError> {
    if !options.input_scale.is_finite() || options.input_scale == 0.0 {
        return Err(CompileError::Option {
            option: "input_scale",
            reason: format!("{} is no usable factor; try 1 or 1/255", options.input_scale),
        });
    }
    if !options.input_offset.is_finite() {
        return Err(CompileError::Option {
            option: "input_offset",
            reason: format!("{} is no usable summand; try 0 or -1", options.input_offset),
        });
    }
    if let Method::Percentile(share) = options.method
        && !(0.5..=1.0).contains(&share)
    {
        return Err(CompileError::Option {
            option: "method",
            reason: format!("a percentile of {} is not within 50 to 100", share * 100.0),
        });
    }
    Ok(())
}

/// Number of runs that stay within a total of work, at least one.
fn affordable(total: u64, of_one: u64) -> usize {
    usize::try_from(total / of_one.max(1)).unwrap_or(usize::MAX).max(1)
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
        dtype: tensor.element.name().into(),
        scale: tensor.scale,
        zero_point: tensor.zero_point,
    }
}
