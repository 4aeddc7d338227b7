//! ONNX operators that move data along regular paths: slices, splits,
//! nearest-neighbour resizing, channels to blocks of pixels.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::{Attributes, axis};
use super::constant::{Constant, Data};
use super::onnx::Importer;
use super::tflite_move::{checked_slice, strided_slice};
use super::value::Activation;
use crate::ir::Op;
use crate::strided::Strided;

impl Importer {
    pub(super) fn slice(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.storable(node)?;
        let (begins, ends, steps) = self.slice_bounds(node, attributes, &value.shape)?;
        // Axes in the order in which they are stored.
        let stored = |list: &[i64]| -> Vec<i64> { value.order.iter().map(|axis| list[*axis]).collect() };
        let path = strided_slice(&value.stored_dims(), [&stored(&begins), &stored(&ends), &stored(&steps)], [0; 3])
            .ok_or_else(|| Fault::Bad(format!("a slice without elements of shape {:?}", value.shape)))?;
        self.moved(&value, path)
    }

    /// Begin, end and step for each axis.
    #[expect(clippy::type_complexity, reason = "three lists that belong together")]
    fn slice_bounds(
        &self,
        node: &NodeProto,
        attributes: &Attributes<'_>,
        shape: &[usize],
    ) -> Result<(Vec<i64>, Vec<i64>, Vec<i64>), Fault> {
        let list = |index: usize, name: &str| -> Result<Option<Vec<i64>>, Fault> {
            if Self::has(node, index) {
                return Ok(Some(self.constant(node, index)?.as_ints()?.to_vec()));
            }
            Ok(attributes.ints(name).map(<[i64]>::to_vec))
        };
        let missing = || Fault::Bad("starts and ends are missing".into());
        let starts = list(1, "starts")?.ok_or_else(missing)?;
        let stops = list(2, "ends")?.ok_or_else(missing)?;
        let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let strides = list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if [stops.len(), axes.len(), strides.len()].iter().any(|len| *len != starts.len()) {
            return Err(Fault::Bad("starts, ends, axes and steps differ in length".into()));
        }
        let mut begins = vec![0; shape.len()];
        let mut ends: Vec<i64> = shape.iter().map(|dim| *dim as i64).collect();
        let mut steps = vec![1; shape.len()];
        for (index, value) in axes.iter().enumerate() {
            let at = axis(*value, shape.len())?;
            (begins[at], ends[at], steps[at]) = (starts[index], stops[index], strides[index]);
        }
        Ok((begins, ends, steps))
    }

    /// A slice of a constant.
    pub(super) fn slice_constant(
        &self,
        node: &NodeProto,
        attributes: &Attributes<'_>,
        value: &Constant,
    ) -> Result<Constant, Fault> {
        let (begins, ends, steps) = self.slice_bounds(node, attributes, &value.shape)?;
        let path = strided_slice(&value.shape, [&begins, &ends, &steps], [0; 3])
            .ok_or_else(|| Fault::Bad(format!("a slice without elements of shape {:?}", value.shape)))?;
        let sources = path.sources();
        let data = match &value.data {
            Data::Float(data) => Data::Float(sources.iter().map(|at| data[*at]).collect()),
            Data::Int(data) => Data::Int(sources.iter().map(|at| data[*at]).collect()),
        };
        Ok(Constant { shape: path.counts, data, unsigned: value.unsigned })
    }

    /// All parts of a Split, in order.
    pub(super) fn split(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Vec<Activation>, Fault> {
        let value = self.storable(node)?;
        let at = axis(attributes.int("axis", 0), value.shape.len())?;
        let parts = node.output.len();
        let lengths: Vec<usize> = if Self::has(node, 1) {
            self.constant(node, 1)?.as_ints()?.iter().map(|len| usize::try_from(*len).unwrap_or(0)).collect()
        } else if let Some(lengths) = attributes.ints("split") {
            lengths.iter().map(|len| usize::try_from(*len).unwrap_or(0)).collect()
        } else {
            let each = value.shape[at].div_ceil(parts.max(1));
            (0..parts).map(|part| value.shape[at].saturating_sub(part * each).min(each)).collect()
        };
        if lengths.len() != parts {
            return Err(Fault::Bad(format!("{} lengths for {parts} results", lengths.len())));
        }
        let place = value.order.iter().position(|axis| *axis == at).unwrap_or(0);
        let dims = value.stored_dims();
        let mut begin = 0_usize;
        let mut results = Vec::with_capacity(parts);
        for length in lengths {
            let (mut begins, mut counts) = (vec![0; dims.len()], dims.clone());
            begins[place] = begin;
            counts[place] = length;
            begin = begin.saturating_add(length);
            let path = checked_slice(&dims, &begins, &counts, &vec![1; dims.len()])
                .ok_or_else(|| Fault::Bad(format!("a part of {length} of shape {:?}", value.shape)))?;
            results.push(self.moved(&value, path)?);
        }
        Ok(results)
    }

    /// Resize and Upsample: nearest neighbour by whole factors.
    pub(super) fn resize(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let only = "mode nearest with a whole factor for each axis";
        let mode = attributes.text("mode").unwrap_or_else(|| "nearest".into());
        let at = attributes.text("coordinate_transformation_mode").unwrap_or_default();
        if mode != "nearest" || matches!(at.as_str(), "align_corners" | "tf_crop_and_resize") {
            return Err(Fault::unsupported(format!("mode {} {}", super::shown(&mode), super::shown(&at)), only));
        }
        let value = self.storable(node)?;
        let scales_at = if node.op_type == "Resize" && self.opset >= 11 { 2 } else { 1 };
        let factors: Vec<f64> = if Self::has(node, 3) && node.op_type == "Resize" {
            let sizes = self.constant(node, 3)?.as_ints()?;
            sizes.iter().zip(&value.shape).map(|(size, dim)| *size as f64 / *dim as f64).collect()
        } else if Self::has(node, scales_at) {
            self.constant(node, scales_at)?.to_f32().iter().map(|scale| f64::from(*scale)).collect()
        } else {
            attributes.floats("scales").unwrap_or_default().iter().map(|scale| f64::from(*scale)).collect()
        };
        let whole = factors.iter().all(|factor| factor.fract() == 0.0 && (1.0..=4_096.0).contains(factor));
        if factors.len() != value.shape.len() || !whole {
            return Err(Fault::unsupported(format!("factors {factors:?} for shape {:?}", value.shape), only));
        }
        // With whole factors only `round_prefer_ceil` on half pixels could look elsewhere, and only at ties.
        let stored: Vec<usize> = value.order.iter().map(|axis| factors[*axis] as usize).collect();
        let path = Strided::repeated(&value.stored_dims(), &stored);
        let shape: Vec<usize> =
            value.shape.iter().zip(&factors).map(|(dim, factor)| dim.saturating_mul(*factor as usize)).collect();
        let dims: Vec<usize> = value.order.iter().map(|axis| shape[*axis]).collect();
        let tensor = self.push(Op::Strided { path }, vec![value.tensor], dims)?;
        Ok(Activation { tensor, base: shape.clone(), order: value.order, shape })
    }

    pub(super) fn blocks(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        let size = usize::try_from(attributes.int("blocksize", 0)).unwrap_or(0);
        let &[1, c, h, w] = value.shape.as_slice() else {
            return Err(Fault::Bad(format!("an input of shape {:?}", value.shape)));
        };
        let to_space = node.op_type == "DepthToSpace";
        let area = size.checked_mul(size).filter(|area| *area > 0 && *area <= 1 << 16);
        let Some(area) = area.filter(|area| if to_space { c % area == 0 } else { h % size == 0 && w % size == 0 })
        else {
            return Err(Fault::Bad(format!("blocks of {size} for shape {:?}", value.shape)));
        };
        let value = self.plain(&value)?;
        let column_first = attributes.text("mode").as_deref() == Some("CRD");
        let (path, shape) = if to_space {
            let path = if column_first {
                Strided::transposed(&[c / area, size, size, h, w], &[0, 3, 1, 4, 2])
            } else {
                Strided::transposed(&[size, size, c / area, h, w], &[2, 3, 0, 4, 1])
            };
            (path, vec![1, c / area, h * size, w * size])
        } else {
            let path = Strided::transposed(&[c, h / size, size, w / size, size], &[2, 4, 0, 1, 3]);
            (path, vec![1, c * area, h / size, w / size])
        };
        let tensor = self.push(Op::Strided { path: path.simplified() }, vec![value.tensor], shape.clone())?;
        Ok(Activation::plain(tensor, shape))
    }

    /// The first operand with axes of its own shape in storage.
    fn storable(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        match value.rebased() {
            Some(value) => Ok(value),
            None => self.plain(&value),
        }
    }

    /// The elements along a path through the storage, whose axes stay in their order.
    fn moved(&mut self, value: &Activation, path: Strided) -> Result<Activation, Fault> {
        let mut shape = value.shape.clone();
        for (axis, count) in value.order.iter().zip(&path.counts) {
            shape[*axis] = *count;
        }
        if path.is_identity(value.len()) {
            return Ok(value.clone());
        }
        let dims = path.counts.clone();
        let tensor = self.push(Op::Strided { path: path.simplified() }, vec![value.tensor], dims)?;
        Ok(Activation { tensor, base: shape.clone(), order: value.order.clone(), shape })
    }
}
