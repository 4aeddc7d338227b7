//! Which examples calibrate a model, measure it, and go into its artifact.

use contract::artifact::{Calibration, Sample};

use crate::compile::{CompileError, CompileOptions, Data};
use crate::dataset::{Dataset, Row, Split};
use crate::evaluate::{Expected, quantize_input};
use crate::import::Model;
use crate::qir::{Element, QuantGraph};
use crate::reference;

/// Most golden vectors of random bytes.
const RANDOM_GOLDEN: usize = 8;

/// Inputs of a random calibration.
const RANDOM_CALIBRATION: usize = 64;

/// What the examples say of the right answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    /// One label per output, or two for a single output.
    Labels,
    /// One target per output.
    Targets,
    /// The model gives its input back.
    Itself,
    /// Nothing: float and int8 are compared.
    Unknown,
}

/// The examples of one compilation, checked against the model.
pub(crate) struct Examples<'a> {
    data: Data<'a>,
    options: &'a CompileOptions,
    truth: Truth,
    inputs: usize,
}

impl<'a> Examples<'a> {
    /// Checks that data and model go together.
    ///
    /// # Errors
    /// [`CompileError::Mismatch`] says what differs.
    pub fn new(model: &Model, data: Data<'a>, options: &'a CompileOptions) -> Result<Self, CompileError> {
        let (shape, inputs, outputs) = match model {
            Model::Int8(graph) => {
                (&graph.input_shape, graph.tensors[graph.input].len(), graph.tensors[graph.output].len())
            }
            Model::Float(graph) => {
                (&graph.input_shape, graph.tensors[graph.input].len(), graph.tensors[graph.output].len())
            }
        };
        let truth = match data {
            Data::Examples(dataset) => truth(dataset, shape, inputs, outputs)?,
            Data::Random | Data::None => Truth::Unknown,
        };
        Ok(Self { data, options, truth, inputs })
    }

    /// Labels of the model's outputs; none where it is no classifier.
    pub fn labels(&self) -> &[String] {
        match self.data {
            Data::Examples(dataset) if self.truth == Truth::Labels => &dataset.labels,
            _ => &[],
        }
    }

    /// What calibrated the model, if it was float.
    pub fn source(&self, float: bool) -> Calibration {
        match self.data {
            _ if !float => Calibration::None,
            Data::None => Calibration::None,
            Data::Random => Calibration::Random,
            Data::Examples(_) => Calibration::Dataset,
        }
    }

    /// What people should know before they rely on the model.
    pub fn warnings(&self, float: bool, labelled: usize) -> Vec<String> {
        let mut all = Vec::new();
        match self.data {
            Data::Random if float => all.push(
                "calibrated with random inputs: the ranges are guesses, and the accuracy is unknown; calibrate with \
                 real data before you rely on it"
                    .to_owned(),
            ),
            Data::Examples(dataset) if dataset.split(Split::Test).next().is_none() => {
                all.push("no example is held out, so nothing is measured; give some rows the split `test`".to_owned());
            }
            Data::Examples(_) if self.truth == Truth::Labels && (1..50).contains(&labelled) => {
                all.push(format!("the accuracy comes from {labelled} held-out rows only"));
            }
            _ => {}
        }
        all
    }

    /// At most `most` scaled inputs of the train split, or random ones; `None` without any data.
    pub fn calibration(&self, most: usize) -> Option<Vec<Vec<f32>>> {
        match self.data {
            Data::None => None,
            Data::Random => {
                let mut random = Random::new();
                let inputs = RANDOM_CALIBRATION.min(most);
                let input = |random: &mut Random| (0..self.inputs).map(|_| self.scaled(random.signed_unit())).collect();
                Some((0..inputs).map(|_| input(&mut random)).collect())
            }
            Data::Examples(dataset) => {
                let rows = spread(dataset, Split::Train, self.options.calibration_rows.min(most));
                Some(rows.into_iter().map(|row| self.input(row)).collect())
            }
        }
    }

    /// At most `most` scaled inputs of the test split with what is known of their answers.
    pub fn held_out(&self, most: usize) -> Vec<(Vec<f32>, Expected<'a>)> {
        let Data::Examples(dataset) = self.data else { return Vec::new() };
        let expected = |row: &'a Row| match (self.truth, row.label) {
            (Truth::Labels, Some(label)) => Expected::Label(label),
            (Truth::Targets, _) => Expected::Targets(&row.targets),
            (Truth::Itself, _) => Expected::Itself,
            _ => Expected::Unknown,
        };
        spread(dataset, Split::Test, most).into_iter().map(|row| (self.input(row), expected(row))).collect()
    }

    /// Inputs from the train split, zeros and random bytes, with the answers of the reference.
    pub fn golden(&self, graph: &QuantGraph) -> Vec<(Vec<i8>, Vec<i8>)> {
        let mut inputs: Vec<Vec<i8>> = match self.data {
            Data::Examples(dataset) => spread(dataset, Split::Train, self.options.golden_vectors)
                .into_iter()
                .map(|row| quantize_input(graph, &self.input(row)))
                .collect(),
            Data::Random | Data::None => vec![quantize_input(graph, &vec![0.0; self.inputs])],
        };
        let mut random = Random::new();
        for _ in 0..self.options.golden_vectors.min(RANDOM_GOLDEN) {
            let input = &graph.tensors[graph.input];
            inputs.push(match input.element {
                Element::Int8 => (0..self.inputs).map(|_| random.byte()).collect(),
                // Any bytes could be no numbers at all.
                Element::Float32 => input.stored((0..self.inputs).map(|_| self.scaled(16.0 * random.signed_unit()))),
            });
        }
        inputs.into_iter().filter_map(|input| reference::run(graph, &input).map(|output| (input, output))).collect()
    }

    /// Held-out inputs for the board to be observed with.
    pub fn samples(&self, graph: &QuantGraph) -> Vec<(Vec<i8>, Sample)> {
        let Data::Examples(dataset) = self.data else { return Vec::new() };
        let label = |row: &Row| {
            let label = row.label.filter(|_| self.truth == Truth::Labels);
            label.and_then(|label| dataset.labels.get(label)).cloned().unwrap_or_default()
        };
        spread(dataset, Split::Test, self.options.samples)
            .into_iter()
            .map(|row| {
                let sample = Sample { label: label(row), source: format!("test/{}", row.index) };
                (quantize_input(graph, &self.input(row)), sample)
            })
            .collect()
    }

    fn input(&self, row: &Row) -> Vec<f32> {
        row.values.iter().map(|value| self.scaled(*value)).collect()
    }

    fn scaled(&self, value: f32) -> f32 {
        value * self.options.input_scale + self.options.input_offset
    }
}

/// The data set must have the model's input length; what it says of the outputs must have theirs.
fn truth(dataset: &Dataset, shape: &[usize], inputs: usize, outputs: usize) -> Result<Truth, CompileError> {
    let mismatch = |reason: String| Err(CompileError::Mismatch { reason });
    if dataset.input_len() != inputs {
        return mismatch(format!(
            "a row has {} values, the model's input {shape:?} takes {inputs}{}",
            dataset.input_len(),
            if dataset.input_len() == inputs + 1 { "; is one column the label? Name it `label`" } else { "" }
        ));
    }
    if dataset.split(Split::Train).next().is_none() {
        return mismatch(
            "no row has the split `train`; some are needed to calibrate the quantization and to make golden vectors"
                .into(),
        );
    }
    let targets = dataset.rows.first().map_or(0, |row| row.targets.len());
    if targets > 0 {
        if targets != outputs {
            return mismatch(format!("a row has {targets} targets, the model has {outputs} outputs"));
        }
        return Ok(Truth::Targets);
    }
    match dataset.labels.len() {
        labels if labels > 0 && (labels == outputs || (labels == 2 && outputs == 1)) => Ok(Truth::Labels),
        _ if inputs == outputs => Ok(Truth::Itself),
        0 => Ok(Truth::Unknown),
        labels => mismatch(format!(
            "the data set has {labels} labels, the model has {outputs} outputs; leave the column `label` out where the \
             outputs are no classes"
        )),
    }
}

/// At most `most` rows of a split, evenly spread over it; at least one of the train split.
fn spread(dataset: &Dataset, split: Split, most: usize) -> Vec<&Row> {
    let rows: Vec<&Row> = dataset.split(split).collect();
    let taken = rows.len().min(most.max(usize::from(split == Split::Train)));
    (0..taken).map(|at| rows[at * rows.len() / taken]).collect()
}

/// The same numbers every time (xorshift64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    fn byte(&mut self) -> i8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as i8
    }

    /// From -1 to 1.
    fn signed_unit(&mut self) -> f32 {
        (f32::from(self.byte()) + f32::from(self.byte()) / 256.0) / 128.5
    }
}
