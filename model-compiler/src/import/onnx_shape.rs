//! ONNX operators that only move or reshape data, and constant expressions.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::{Attributes, axis};
use super::constant::{Constant, Data, checked_len, checked_shape};
use super::onnx::Importer;
use super::value::{Activation, Value};

impl Importer {
    /// The constant that a node makes, or `None` if it depends on the input.
    pub(super) fn constant_node(
        &mut self,
        node: &NodeProto,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Constant>, Fault> {
        match node.op_type.as_str() {
            "Constant" => return self.constant_literal(attributes).map(Some),
            "Shape" => {
                let shape = match self.value(node, 0)? {
                    Value::Constant(value) => &value.shape,
                    Value::Activation(value) => &value.shape,
                };
                return Ok(Some(Constant::ints(shape.iter().map(|dim| *dim as i64).collect())));
            }
            _ => {}
        }
        let mut operands = Vec::with_capacity(node.input.len());
        for index in 0..node.input.len() {
            if !Self::has(node, index) {
                continue;
            }
            match self.value(node, index)? {
                Value::Constant(value) => operands.push(value),
                Value::Activation(_) => return Ok(None),
            }
        }
        let Some(first) = operands.first().copied() else {
            return Ok(None);
        };
        let result = match node.op_type.as_str() {
            "Identity" | "Dropout" => first.clone(),
            "Cast" => cast(first, attributes.int("to", 1))?,
            op @ ("DequantizeLinear" | "QuantizeLinear") => {
                let scale = self.constant(node, 1)?;
                let zero_point = operands.get(2).copied();
                let channel = axis(attributes.int("axis", 1), first.shape.len().max(2))?;
                if op == "QuantizeLinear" {
                    first.quantized(scale, zero_point, channel)?
                } else {
                    first.dequantized(scale, zero_point, channel)?
                }
            }
            "Concat" => concat(&operands, attributes)?,
            "Gather" => gather(first, self.constant(node, 1)?, attributes)?,
            "ConstantOfShape" => {
                let shape = checked_shape(first.as_ints()?).map_err(Fault::Bad)?;
                let len = checked_len(&shape).map_err(Fault::Bad)?;
                self.budget.take(len, "elements of the model")?;
                let fill = match attributes.tensor("value") {
                    Some(tensor) => Constant::decode(tensor, &mut self.budget)?,
                    None => Constant::floats(vec![1], vec![0.0]),
                };
                let data = match &fill.data {
                    Data::Float(fill) => Data::Float(vec![fill.first().copied().unwrap_or(0.0); len]),
                    Data::Int(fill) => Data::Int(vec![fill.first().copied().unwrap_or(0); len]),
                };
                return Ok(Some(Constant { shape, data, unsigned: fill.unsigned }));
            }
            "Slice" => self.slice_constant(node, attributes, first)?,
            "Transpose" => first.transposed(&permutation(attributes, first.shape.len())?),
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => {
                let shape = self.new_shape(node, attributes, &first.shape)?;
                first.reshaped(shape)
            }
            op @ ("Add" | "Sub" | "Mul" | "Div") => {
                let (a, b) = (first.clone(), self.constant(node, 1)?.clone());
                return a.binary(op, &b, &mut self.budget).map(Some);
            }
            _ => return Ok(None),
        };
        self.budget.take(result.len(), "elements of the model")?;
        Ok(Some(result))
    }

    fn constant_literal(&mut self, attributes: &Attributes<'_>) -> Result<Constant, Fault> {
        if let Some(tensor) = attributes.tensor("value") {
            return Constant::decode(tensor, &mut self.budget);
        }
        if let Some(values) = attributes.ints("value_ints") {
            return Ok(Constant::ints(values.to_vec()));
        }
        if let Some(values) = attributes.floats("value_floats") {
            return Ok(Constant::floats(vec![values.len()], values.to_vec()));
        }
        if attributes.has("value_int") {
            return Ok(Constant::ints(vec![attributes.int("value_int", 0)]).reshaped(Vec::new()));
        }
        if attributes.has("value_float") {
            let value = attributes.float("value_float", 0.0);
            return Ok(Constant::floats(Vec::new(), vec![value]));
        }
        Err(Fault::unsupported("it holds no number", "value, value_int, value_ints, value_float, value_floats"))
    }

    /// Reshapes and transpositions of an activation: only its view changes.
    pub(super) fn shape_node(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        if node.op_type != "Transpose" {
            let shape = self.new_shape(node, attributes, &value.shape)?;
            return Ok(value.reshaped(shape));
        }
        let perm = permutation(attributes, value.shape.len())?;
        let value = match value.rebased() {
            Some(value) => value,
            None => self.plain(&value)?,
        };
        // Axis k of the result is axis perm[k] of the operand; storage stays.
        let shape: Vec<usize> = perm.iter().map(|axis| value.shape[*axis]).collect();
        let order = value.order.iter().filter_map(|stored| perm.iter().position(|axis| axis == stored)).collect();
        Ok(Activation { tensor: value.tensor, base: shape.clone(), order, shape })
    }

    /// The shape that Flatten, Reshape, Squeeze or Unsqueeze gives to `shape`.
    fn new_shape(&self, node: &NodeProto, attributes: &Attributes<'_>, shape: &[usize]) -> Result<Vec<usize>, Fault> {
        let axes = || -> Result<Option<Vec<i64>>, Fault> {
            if Self::has(node, 1) {
                return Ok(Some(self.constant(node, 1)?.as_ints()?.to_vec()));
            }
            Ok(attributes.ints("axes").map(<[i64]>::to_vec))
        };
        let new = match node.op_type.as_str() {
            "Flatten" => {
                let at = attributes.int("axis", 1);
                let at = if at == shape.len() as i64 { shape.len() } else { axis(at, shape.len())? };
                vec![shape[..at].iter().product(), shape[at..].iter().product()]
            }
            "Squeeze" => match axes()? {
                None => shape.iter().copied().filter(|dim| *dim != 1).collect(),
                Some(axes) => {
                    let mut gone = vec![false; shape.len()];
                    for value in axes {
                        let at = axis(value, shape.len())?;
                        if shape[at] != 1 {
                            return Err(Fault::Bad(format!("cannot drop axis {value} of shape {shape:?}")));
                        }
                        gone[at] = true;
                    }
                    let kept = shape.iter().zip(gone).filter(|(_, gone)| !gone);
                    kept.map(|(dim, _)| *dim).collect()
                }
            },
            "Unsqueeze" => {
                let axes = axes()?.unwrap_or_default();
                let rank = shape.len() + axes.len();
                if rank > 8 {
                    return Err(Fault::Bad(format!("{rank} dimensions, at most 8 are possible")));
                }
                let mut new = vec![0; rank];
                for value in axes {
                    new[axis(value, rank)?] = 1;
                }
                let mut rest = shape.iter().copied();
                for dim in new.iter_mut().filter(|dim| **dim == 0) {
                    *dim = rest.next().unwrap_or(1);
                }
                new
            }
            _ => reshaped(shape, self.target(node, attributes)?, attributes.int("allowzero", 0))?,
        };
        if checked_len(&new).ok() != checked_len(shape).ok() {
            return Err(Fault::Bad(format!("cannot reshape {shape:?} to {new:?}")));
        }
        Ok(new)
    }

    fn target<'a>(&'a self, node: &NodeProto, attributes: &Attributes<'a>) -> Result<&'a [i64], Fault> {
        if Self::has(node, 1) {
            return self.constant(node, 1)?.as_ints();
        }
        attributes.ints("shape").ok_or_else(|| Fault::Bad("the new shape is missing".into()))
    }
}

/// Resolves `0` (keep) and `-1` (what is left) of a Reshape.
fn reshaped(shape: &[usize], target: &[i64], allow_zero: i64) -> Result<Vec<usize>, Fault> {
    if target.len() > 8 {
        return Err(Fault::Bad(format!("{} dimensions, at most 8 are possible", target.len())));
    }
    let mut new = Vec::with_capacity(target.len());
    let mut open = None;
    for (at, dim) in target.iter().enumerate() {
        new.push(match *dim {
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            0 if allow_zero == 0 && at < shape.len() => shape[at],
            size if size > 0 => size as usize,
            _ => return Err(Fault::Bad(format!("the new shape is {target:?}"))),
        });
    }
    if let Some(open) = open {
        let known = checked_len(&new).map_err(Fault::Bad)?;
        new[open] = shape.iter().product::<usize>() / known;
    }
    Ok(new)
}

/// The attribute `perm`, checked; reversed axes if absent.
fn permutation(attributes: &Attributes<'_>, rank: usize) -> Result<Vec<usize>, Fault> {
    let Some(perm) = attributes.ints("perm") else {
        return Ok((0..rank).rev().collect());
    };
    let mut seen = vec![false; rank];
    for value in perm {
        let at = usize::try_from(*value).unwrap_or(usize::MAX);
        match seen.get_mut(at) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(Fault::Bad(format!("perm {perm:?} is no permutation of {rank} axes"))),
        }
    }
    if perm.len() != rank {
        return Err(Fault::Bad(format!("perm {perm:?} is no permutation of {rank} axes")));
    }
    Ok(perm.iter().map(|value| *value as usize).collect())
}

fn cast(value: &Constant, to: i64) -> Result<Constant, Fault> {
    let data = match (to, &value.data) {
        (1 | 11, _) => Data::Float(value.to_f32()),
        (2 | 3 | 6 | 7, Data::Int(values)) => Data::Int(values.clone()),
        (2 | 3 | 6 | 7, Data::Float(values)) => Data::Int(values.iter().map(|v| *v as i64).collect()),
        _ => {
            return Err(Fault::unsupported(
                format!("a cast to element type {to}"),
                "casts to float, double, int8, uint8, int32 and int64",
            ));
        }
    };
    Ok(Constant { shape: value.shape.clone(), data, unsigned: to == 2 })
}

/// Concatenation of one-dimensional constants (shapes put together by exporters).
fn concat(operands: &[&Constant], attributes: &Attributes<'_>) -> Result<Constant, Fault> {
    let flat = operands.iter().all(|operand| operand.shape.len() == 1);
    if !flat || !matches!(attributes.int("axis", 0), 0 | -1) {
        return Err(Fault::unsupported("constants with more than one dimension", "constants with one dimension"));
    }
    let mut all = Vec::new();
    for operand in operands {
        all.extend_from_slice(operand.as_ints()?);
    }
    Ok(Constant::ints(all))
}

/// Elements of a one-dimensional constant.
fn gather(value: &Constant, indices: &Constant, attributes: &Attributes<'_>) -> Result<Constant, Fault> {
    if value.shape.len() != 1 || !matches!(attributes.int("axis", 0), 0 | -1) {
        return Err(Fault::unsupported("a constant with more than one dimension", "constants with one dimension"));
    }
    let from = value.as_ints()?;
    let picked: Result<Vec<i64>, Fault> =
        indices.as_ints()?.iter().map(|index| axis(*index, from.len()).map(|at| from[at])).collect();
    Ok(Constant { shape: indices.shape.clone(), data: Data::Int(picked?), unsigned: false })
}
