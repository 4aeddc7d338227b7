//! Linear models of the operator set ai.onnx.ml and what stands around them, as scikit-learn's converter writes them.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::{Attributes, axis};
use super::constant::Constant;
use super::onnx::Importer;
use super::value::Activation;
use crate::ir::{Clamp, Norm, Op, Unary, Window};

/// Operators of ai.onnx.ml that are known, as messages list them.
pub(super) const SUPPORTED_ML: &str = "of ai.onnx.ml ArrayFeatureExtractor, FeatureVectorizer, LinearClassifier, LinearRegressor, \
Normalizer, Scaler, TreeEnsemble, TreeEnsembleClassifier, TreeEnsembleRegressor, ZipMap; probabilities, not labels, are the output";

impl Importer {
    pub(super) fn ml_node(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        match node.op_type.as_str() {
            "ZipMap" => self.input(node, 0),
            "Scaler" => {
                let value = self.input(node, 0)?;
                let last = value.shape.last().copied().unwrap_or(0);
                let spread = |name: &str, default: f32| -> Result<Vec<f32>, Fault> {
                    match attributes.floats(name) {
                        None | Some([]) => Ok(vec![default; last]),
                        Some([one]) => Ok(vec![*one; last]),
                        Some(all) if all.len() == last => Ok(all.to_vec()),
                        Some(all) => Err(Fault::Bad(format!("`{name}` has {} values for {last} features", all.len()))),
                    }
                };
                let (scale, offset) = (spread("scale", 1.0)?, spread("offset", 0.0)?);
                let add = scale.iter().zip(&offset).map(|(scale, offset)| -offset * scale).collect();
                let at = value.shape.len().checked_sub(1).ok_or_else(|| Fault::Bad("a scalar".into()))?;
                self.affine(&value, at, scale, add)
            }
            "LinearClassifier" | "LinearRegressor" => self.linear_model(node, attributes),
            "Normalizer" => {
                let value = self.input(node, 0)?;
                let norm = attributes.text("norm").unwrap_or_else(|| "MAX".into());
                let norm = match norm.as_str() {
                    // Probabilities of a softmax add up to one already.
                    "L1" if self.made_by_softmax(value.tensor) => return Ok(value),
                    "L1" => Norm::L1,
                    "L2" => Norm::L2,
                    "MAX" => Norm::Max,
                    _ => return Err(Fault::unsupported(format!("norm {}", super::shown(&norm)), SUPPORTED_ML)),
                };
                self.by_rows(&value, norm)
            }
            "FeatureVectorizer" => self.concat(node, attributes),
            "ArrayFeatureExtractor" => {
                let value = self.storable(node)?;
                let at = value.shape.len().checked_sub(1).ok_or_else(|| Fault::Bad("a scalar".into()))?;
                let listed = self.constant(node, 1)?.as_ints()?.to_vec();
                let indices =
                    listed.iter().map(|index| axis(*index, value.shape[at])).collect::<Result<Vec<_>, _>>()?;
                if indices.is_empty() {
                    return Err(Fault::Bad("it extracts nothing".into()));
                }
                self.picked(&value, at, indices)
            }
            "TreeEnsembleClassifier" | "TreeEnsembleRegressor" | "TreeEnsemble" => self.trees(node, attributes),
            op if op.starts_with("SVM") => Err(Fault::unsupported(
                "a support vector machine keeps its training examples, which no small board has room for",
                "linear models (LinearSVC without a kernel, LogisticRegression, SGDClassifier) and tree ensembles",
            )),
            _ => Err(Fault::unsupported("the compiler does not have this operator", SUPPORTED_ML)),
        }
    }

    fn linear_model(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let weights = attributes.floats("coefficients").unwrap_or_default();
        let value = self.input(node, 0)?;
        let features = value.shape.last().copied().unwrap_or(0);
        if features == 0 || weights.is_empty() || !weights.len().is_multiple_of(features) {
            return Err(Fault::Bad(format!("{} coefficients for {features} features", weights.len())));
        }
        let outputs = weights.len() / features;
        let bias = match attributes.floats("intercepts") {
            None | Some([]) => vec![0.0; outputs],
            Some(bias) => bias.to_vec(),
        };
        let classes = attributes.ints("classlabels_ints").map_or(0, <[i64]>::len);
        let classes = classes.max(attributes.texts("classlabels_strings").len());
        let weights = Constant::floats(vec![outputs, features], weights.to_vec());
        let mut scores = self.dense(node, &weights, bias, 1.0)?;
        let post = attributes.text("post_transform").unwrap_or_default();
        if node.op_type == "LinearClassifier" && outputs == 1 && classes == 2 {
            // The first class has what the second one has not.
            scores = self.two_classes(&scores, [-1.0, 0.0])?;
        }
        self.transformed(scores, &post)
    }

    /// Scores of two classes from that of the second: the first one's is `factor` times it plus `add`.
    pub(super) fn two_classes(&mut self, score: &Activation, [factor, add]: [f32; 2]) -> Result<Activation, Fault> {
        let rows = score.len();
        let plain = self.plain(score)?;
        let (weights, bias, clamp) = (vec![factor, 1.0], vec![add, 0.0], Clamp::NONE);
        let op = if rows == 1 {
            Op::Dense { inputs: 1, outputs: 2, weights, bias, clamp }
        } else {
            Op::Conv2d { window: Window::pointwise(rows, 1), out_c: 2, weights, bias, clamp }
        };
        let tensor = self.push(op, vec![plain.tensor], vec![rows, 2])?;
        Ok(Activation::plain(tensor, vec![rows, 2]))
    }

    /// Scores after the function that classifiers and regressors end with.
    pub(super) fn transformed(&mut self, scores: Activation, post: &str) -> Result<Activation, Fault> {
        let function = match post {
            "" | "NONE" => return Ok(scores),
            "SOFTMAX" => {
                let depth = scores.shape.last().copied().unwrap_or(1);
                let scores = self.plain(&scores)?;
                let op = Op::Softmax { rows: scores.len() / depth, depth };
                let tensor = self.push(op, vec![scores.tensor], scores.stored_dims())?;
                return Ok(Activation { tensor, ..scores });
            }
            "SOFTMAX_ZERO" => return self.by_rows(&scores, Norm::SoftmaxOfNonzero),
            "LOGISTIC" => Unary::Sigmoid,
            "PROBIT" => Unary::Probit,
            other => {
                return Err(Fault::unsupported(
                    format!("post_transform {}", super::shown(other)),
                    "post_transform NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO, PROBIT",
                ));
            }
        };
        let tensor = self.push(Op::Unary { function }, vec![scores.tensor], scores.stored_dims())?;
        Ok(Activation { tensor, ..scores })
    }

    /// A function of each row along the last axis.
    fn by_rows(&mut self, value: &Activation, norm: Norm) -> Result<Activation, Fault> {
        let value = self.plain(value)?;
        let depth = value.shape.last().copied().unwrap_or(1);
        let op = Op::Normalize { rows: value.len() / depth, depth, norm };
        let tensor = self.push(op, vec![value.tensor], value.stored_dims())?;
        Ok(Activation { tensor, ..value })
    }
}
