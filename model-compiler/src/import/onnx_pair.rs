//! ONNX operators of two operands: arithmetic with constants that vary along
//! several axes, and between computed values.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::constant::Constant;
use super::onnx::Importer;
use super::value::{Activation, Value};
use crate::ir::{Binary, Clamp, Op, Unary};
use crate::strided::Broadcast;

impl Importer {
    /// Two computed operands of shapes that meet.
    pub(super) fn pair(&mut self, function: Binary, a: &Activation, b: &Activation) -> Result<Activation, Fault> {
        let Some((_, shape)) = Broadcast::of(&a.shape, &b.shape) else {
            return Err(Fault::Bad(format!("shapes {:?} and {:?} do not meet", a.shape, b.shape)));
        };
        let rank = shape.len();
        let padded =
            |value: &Activation| value.reshaped([vec![1; rank - value.shape.len()], value.shape.clone()].concat());
        let (a, b) = (padded(a), padded(b));
        // The larger operand keeps its storage.
        let order = match (a.rebased(), b.rebased()) {
            (Some(a), _) if a.shape == shape => a.order,
            (_, Some(b)) if b.shape == shape => b.order,
            (Some(a), _) => a.order,
            _ => (0..rank).collect(),
        };
        let (a, b) = (self.arranged(&a, &order)?, self.arranged(&b, &order)?);
        let clamp = Clamp::NONE;
        let op = match Broadcast::of(&a.stored_dims(), &b.stored_dims()) {
            _ if function == Binary::Add && a.shape == b.shape => Op::Add { clamp },
            Some((meet, _)) => Op::Binary { function, meet, constant: None, clamp },
            None => return Err(Fault::Bad(format!("shapes {:?} and {:?} do not meet", a.shape, b.shape))),
        };
        let stored = order.iter().map(|axis| shape[*axis]).collect();
        let tensor = self.push(op, vec![a.tensor, b.tensor], stored)?;
        Ok(Activation { tensor, base: shape.clone(), order, shape })
    }

    /// A computed operand with a constant that is not larger.
    pub(super) fn with_constant(
        &mut self,
        function: Binary,
        value: &Activation,
        constant: &Constant,
    ) -> Result<Activation, Fault> {
        let rank = value.shape.len();
        let meets = Broadcast::of(&value.shape, &constant.shape).filter(|(_, shape)| *shape == value.shape);
        if meets.is_none() {
            return Err(Fault::unsupported(
                format!("a constant of shape {:?} with an operand of shape {:?}", constant.shape, value.shape),
                "a constant that is repeated to the operand's shape",
            ));
        }
        let value = match value.rebased() {
            Some(value) => value,
            None => self.plain(value)?,
        };
        let dims = [vec![1; rank - constant.shape.len()], constant.shape.clone()].concat();
        let constant = constant.reshaped(dims).transposed(&value.order);
        let Some((meet, _)) = Broadcast::of(&value.stored_dims(), &constant.shape) else {
            return Err(Fault::Bad(format!("a constant of shape {:?}", constant.shape)));
        };
        let values = constant.to_f32();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Fault::Bad("its constant is not finite".into()));
        }
        let op = Op::Binary { function, meet, constant: Some(values), clamp: Clamp::NONE };
        let tensor = self.push(op, vec![value.tensor], value.stored_dims())?;
        Ok(Activation { tensor, ..value })
    }

    /// Max and Min of two operands; with one number they are bounds.
    pub(super) fn extreme(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let function = if node.op_type == "Max" { Binary::Maximum } else { Binary::Minimum };
        if node.input.len() != 2 {
            return Err(Fault::unsupported(format!("{} operands", node.input.len()), "two operands"));
        }
        let (value, constant) = match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Activation(a), Value::Activation(b)) => {
                let (a, b) = (a.clone(), b.clone());
                return self.pair(function, &a, &b);
            }
            (Value::Activation(a), Value::Constant(c)) | (Value::Constant(c), Value::Activation(a)) => {
                (a.clone(), c.clone())
            }
            _ => return Err(Fault::Bad("both operands are constants".into())),
        };
        if let [bound] = constant.to_f32().as_slice()
            && !bound.is_nan()
        {
            let clamp = match function {
                Binary::Maximum => Clamp { low: *bound, ..Clamp::NONE },
                _ => Clamp { high: *bound, ..Clamp::NONE },
            };
            let tensor = self.push(Op::Clamp { clamp }, vec![value.tensor], value.stored_dims())?;
            return Ok(Activation { tensor, ..value });
        }
        self.with_constant(function, &value, &constant)
    }

    pub(super) fn prelu(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let slopes = self.constant(node, 1)?.clone();
        if let [alpha] = slopes.to_f32().as_slice() {
            return self.unary(node, Unary::LeakyRelu { alpha: *alpha });
        }
        let value = self.input(node, 0)?;
        self.with_constant(Binary::PRelu, &value, &slopes)
    }
}
