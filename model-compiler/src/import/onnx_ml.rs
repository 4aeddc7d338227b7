//! Linear models of the operator set ai.onnx.ml, as scikit-learn's converter
//! writes them.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::Attributes;
use super::constant::Constant;
use super::onnx::Importer;
use super::value::Activation;
use crate::ir::{Op, Unary};

/// Operators of ai.onnx.ml that are known, as messages list them.
pub(super) const SUPPORTED_ML: &str = "of ai.onnx.ml LinearClassifier, LinearRegressor, Normalizer (L1 behind a \
softmax), Scaler, ZipMap; probabilities, not labels, are the output";

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
            // Probabilities of a softmax add up to one already.
            "Normalizer" => {
                let value = self.input(node, 0)?;
                let norm = attributes.text("norm").unwrap_or_else(|| "MAX".into());
                if norm == "L1" && self.made_by_softmax(value.tensor) {
                    return Ok(value);
                }
                Err(Fault::unsupported(format!("norm {}", super::shown(&norm)), SUPPORTED_ML))
            }
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
        if node.op_type == "LinearClassifier" && outputs == 1 && classes == 2 {
            return Err(Fault::unsupported("one row of coefficients for two classes", "a row for each class"));
        }
        let weights = Constant::floats(vec![outputs, features], weights.to_vec());
        let scores = self.dense(node, &weights, bias, 1.0)?;
        match attributes.text("post_transform").as_deref() {
            None | Some("NONE" | "") => Ok(scores),
            Some("SOFTMAX") => {
                let op = Op::Softmax { rows: scores.len() / outputs, depth: outputs };
                let tensor = self.push(op, vec![scores.tensor], scores.stored_dims())?;
                Ok(Activation { tensor, ..scores })
            }
            Some("LOGISTIC") => {
                let op = Op::Unary { function: Unary::Sigmoid };
                let tensor = self.push(op, vec![scores.tensor], scores.stored_dims())?;
                Ok(Activation { tensor, ..scores })
            }
            Some(other) => Err(Fault::unsupported(
                format!("post_transform {}", super::shown(other)),
                "post_transform NONE, SOFTMAX, LOGISTIC",
            )),
        }
    }
}
