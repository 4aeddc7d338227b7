//! ONNX operators that put data together or around: Concat, Pad; and functions
//! of single elements.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::{Attributes, axis};
use super::onnx::Importer;
use super::resample;
use super::value::Activation;
use crate::ir::{Op, Unary};

impl Importer {
    pub(super) fn unary(&mut self, node: &NodeProto, function: Unary) -> Result<Activation, Fault> {
        if ![0.5, 1.0].iter().all(|x| function.apply(*x).is_finite()) {
            return Err(Fault::Bad("its attributes are not finite".into()));
        }
        let value = self.input(node, 0)?;
        let tensor = self.push(Op::Unary { function }, vec![value.tensor], value.stored_dims())?;
        Ok(Activation { tensor, ..value })
    }

    pub(super) fn concat(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let first = self.input(node, 0)?;
        let first = match first.rebased() {
            Some(first) => first,
            None => self.plain(&first)?,
        };
        let at = axis(attributes.int("axis", 1), first.shape.len())?;
        let order = first.order.clone();
        let place = order.iter().position(|axis| *axis == at).unwrap_or(0);
        let mut shape = first.shape.clone();
        shape[at] = 0;
        let mut inner = Vec::with_capacity(node.input.len());
        let mut tensors = Vec::with_capacity(node.input.len());
        for index in 0..node.input.len() {
            let operand = self.input(node, index)?;
            let mut rest = operand.shape.clone();
            if let Some(dim) = rest.get_mut(at) {
                shape[at] += *dim;
                *dim = first.shape[at];
            }
            if rest != first.shape {
                return Err(Fault::Bad(format!(
                    "operands of shapes {:?} and {:?} along axis {at}",
                    first.shape, operand.shape
                )));
            }
            let operand = self.arranged(&operand, &order)?;
            inner.push(operand.stored_dims()[place..].iter().product());
            tensors.push(operand.tensor);
        }
        let outer = first.stored_dims()[..place].iter().product();
        let stored = order.iter().map(|axis| shape[*axis]).collect();
        let tensor = self.push(Op::Concat { outer, inner }, tensors, stored)?;
        Ok(Activation { tensor, base: shape.clone(), order, shape })
    }

    pub(super) fn pad(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let only =
            "padding before and behind the axes of a tensor with at most four, in mode constant, reflect, edge, wrap";
        let mode = attributes.text("mode").unwrap_or_default();
        let fill =
            if Self::has(node, 2) { self.constant(node, 2)?.to_f32() } else { vec![attributes.float("value", 0.0)] };
        let fill = fill.first().copied().unwrap_or(0.0);
        if fill.is_nan() {
            return Err(Fault::Bad("the value is not a number".into()));
        }
        let value = self.input(node, 0)?;
        let value = match value.rebased() {
            Some(value) => value,
            None => self.plain(&value)?,
        };
        let rank = value.shape.len();
        let pads = if Self::has(node, 1) {
            self.constant(node, 1)?.as_ints()?.to_vec()
        } else {
            attributes.ints("pads").unwrap_or_default().to_vec()
        };
        let axes: Vec<usize> = if Self::has(node, 3) {
            let listed = self.constant(node, 3)?.as_ints()?;
            listed.iter().map(|at| axis(*at, rank)).collect::<Result<_, _>>()?
        } else {
            (0..rank).collect()
        };
        let possible = pads.len() == 2 * axes.len() && pads.iter().all(|pad| (0..=4_096).contains(pad));
        if !possible || rank > 4 {
            return Err(Fault::unsupported(format!("pads {pads:?} around a tensor of shape {:?}", value.shape), only));
        }
        let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
        for (index, at) in axes.iter().enumerate() {
            before[*at] = pads[index] as usize;
            after[*at] = pads[axes.len() + index] as usize;
        }
        if !matches!(mode.as_str(), "" | "constant") {
            let mut value = value;
            for at in 0..rank {
                let (len, pads) = (value.shape[at], (before[at], after[at]));
                if pads == (0, 0) {
                    continue;
                }
                let places = (0..pads.0 + len + pads.1).map(|place| place as isize - pads.0 as isize);
                let indices = match mode.as_str() {
                    "reflect" => resample::mirrored(len, pads.0, pads.1, false)?,
                    "edge" => places.map(|place| place.clamp(0, len as isize - 1).unsigned_abs()).collect(),
                    "wrap" => places.map(|place| place.rem_euclid(len as isize).unsigned_abs()).collect(),
                    _ => return Err(Fault::unsupported(format!("mode {}", super::shown(&mode)), only)),
                };
                value = self.picked(&value, at, indices)?;
            }
            return Ok(value);
        }
        let shape: Vec<usize> = (0..rank).map(|at| before[at] + value.shape[at] + after[at]).collect();
        // Storage order, with leading axes of size 1 up to four.
        let stored = |values: &[usize], missing: usize| {
            let mut all = [missing; 4];
            for (slot, axis) in all[4 - rank..].iter_mut().zip(&value.order) {
                *slot = values[*axis];
            }
            all
        };
        let op = Op::Pad { dims: stored(&value.shape, 1), before: stored(&before, 0), after: stored(&after, 0), fill };
        let dims = value.order.iter().map(|axis| shape[*axis]).collect();
        let tensor = self.push(op, vec![value.tensor], dims)?;
        Ok(Activation { tensor, base: shape.clone(), order: value.order, shape })
    }
}
