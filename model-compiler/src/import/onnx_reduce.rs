//! ONNX operators that make one value of many along some axes.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::{Attributes, axis};
use super::onnx::Importer;
use super::tflite_move::reduced;
use super::value::Activation;
use crate::ir::{Clamp, Op, Window};

impl Importer {
    /// ReduceMean, ReduceSum and ReduceMax.
    pub(super) fn reduce(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        let mut value = match value.rebased() {
            Some(value) => value,
            None => self.plain(&value)?,
        };
        let rank = value.shape.len();
        let listed = if Self::has(node, 1) {
            self.constant(node, 1)?.as_ints()?.to_vec()
        } else {
            attributes.ints("axes").unwrap_or_default().to_vec()
        };
        let mut gone = vec![listed.is_empty() && attributes.int("noop_with_empty_axes", 0) == 0; rank];
        for at in listed {
            gone[axis(at, rank)?] = true;
        }
        let along = |value: &Activation| {
            let stored: Vec<bool> = value.order.iter().map(|axis| gone[*axis]).collect();
            reduced(&value.stored_dims(), &stored)
        };
        if along(&value).0.is_some() {
            // Axes that lie apart are brought together first.
            let (kept, rest): (Vec<usize>, Vec<usize>) = value.order.iter().copied().partition(|axis| !gone[*axis]);
            value = self.arranged(&value, &[kept, rest].concat())?;
        }
        let (_, outer, count, inner) = along(&value);
        let window = Window { in_h: outer, out_h: outer, out_w: 1, kernel_w: count, ..Window::pointwise(count, inner) };
        let keep = attributes.int("keepdims", 1) != 0;
        let left: Vec<usize> = (0..rank).filter(|at| keep || !gone[*at]).collect();
        let shape: Vec<usize> = left.iter().map(|at| if gone[*at] { 1 } else { value.shape[*at] }).collect();
        let order = value.order.iter().filter_map(|stored| left.iter().position(|at| at == stored)).collect();
        if node.op_type == "ReduceSum" && inner == 1 {
            // Neighbours are added: a dense layer of ones.
            let (weights, bias, clamp) = (vec![1.0; count], vec![0.0], Clamp::NONE);
            let op = if outer == 1 {
                Op::Dense { inputs: count, outputs: 1, weights, bias, clamp }
            } else {
                Op::Conv2d { window: Window::pointwise(outer, count), out_c: 1, weights, bias, clamp }
            };
            let tensor = self.push(op, vec![value.tensor], vec![1, outer, 1, 1])?;
            return Ok(Activation { tensor, base: shape.clone(), order, shape });
        }
        let op = if node.op_type == "ReduceMax" { Op::MaxPool { window } } else { Op::AveragePool { window } };
        let mut tensor = self.push(op, vec![value.tensor], vec![1, outer, 1, inner])?;
        if node.op_type == "ReduceSum" {
            // The mean, as often as there are values.
            let op = Op::DepthwiseConv2d {
                window: Window::pointwise(outer, inner),
                multiplier: 1,
                weights: vec![count as f32; inner],
                bias: vec![0.0; inner],
                clamp: Clamp::NONE,
            };
            tensor = self.push(op, vec![tensor], vec![1, outer, 1, inner])?;
        }
        Ok(Activation { tensor, base: shape.clone(), order, shape })
    }
}
