//! ONNX operators that move data along regular paths: slices, splits,
//! resizing, channels to blocks of pixels.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::{Attributes, axis};
use super::constant::{Constant, Data};
use super::onnx::Importer;
use super::resample::Coordinates;
use super::tflite_move::{checked_slice, strided_slice};
use super::tflite_step::Pick;
use super::value::{Activation, channels_last_order};
use crate::ir::{Blend, Op};
use crate::strided::Strided;

/// What becomes of one axis that is resized.
#[derive(Debug, Clone, Copy)]
struct Factor {
    /// Its new length.
    to: usize,
    /// How far apart in the operand two neighbours of the result are.
    ratio: f64,
}

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

    /// Resize and Upsample: the nearest neighbour, or linear between two.
    pub(super) fn resize(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let only = "modes nearest and linear, with coordinates half_pixel, pytorch_half_pixel, asymmetric, align_corners; \
             tf_half_pixel_for_nn with nearest";
        let old = node.op_type == "Upsample" || self.opset < 11;
        let mode = attributes.text("mode").unwrap_or_else(|| "nearest".into());
        let named = attributes.text("coordinate_transformation_mode").filter(|_| !old);
        let named = named.unwrap_or_else(|| if old { "asymmetric" } else { "half_pixel" }.into());
        let coordinates = match named.as_str() {
            "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric" => Coordinates::HalfPixel,
            "asymmetric" => Coordinates::Asymmetric,
            "align_corners" => Coordinates::AlignCorners,
            "tf_half_pixel_for_nn" if mode == "nearest" => Coordinates::Between,
            _ => return Err(Fault::unsupported(format!("coordinates {}", super::shown(&named)), only)),
        };
        let antialias = attributes.int("antialias", 0) != 0;
        if antialias || !matches!(mode.as_str(), "nearest" | "linear") {
            let mode = format!("mode {}{}", super::shown(&mode), if antialias { " with antialias" } else { "" });
            return Err(Fault::unsupported(mode, only));
        }
        let mut value = self.storable(node)?;
        let factors = self.factors(node, attributes, &value.shape)?;
        let rounding = attributes.text("nearest_mode").filter(|_| !old);
        let rounding = rounding.unwrap_or_else(|| if old { "floor" } else { "round_prefer_floor" }.into());
        let round: fn(f64) -> f64 = match rounding.as_str() {
            "floor" => f64::floor,
            "ceil" => f64::ceil,
            "round_prefer_ceil" => |place| (place + 0.5).floor(),
            _ => |place| (place - 0.5).ceil(),
        };
        let resized: Vec<usize> = (0..value.shape.len())
            .filter(|axis| (factors[*axis].to, factors[*axis].ratio) != (value.shape[*axis], 1.0))
            .collect();
        if mode == "linear" && !resized.is_empty() {
            return self.interpolated(&value, &resized, &factors, coordinates);
        }
        for axis in resized {
            let (from, Factor { to, ratio }) = (value.shape[axis], factors[axis]);
            let indices: Vec<usize> = (0..to)
                .map(|at| round(coordinates.place_by(at, from, to, ratio)).clamp(0.0, (from - 1) as f64) as usize)
                .collect();
            value = self.picked(&value, axis, indices)?;
        }
        Ok(value)
    }

    /// For each axis the length of the result, and how far apart its positions are.
    fn factors(&self, node: &NodeProto, attributes: &Attributes<'_>, shape: &[usize]) -> Result<Vec<Factor>, Fault> {
        let scales_at = if node.op_type == "Resize" && self.opset >= 11 { 2 } else { 1 };
        let axes: Vec<usize> = match attributes.ints("axes") {
            Some(axes) if !axes.is_empty() => {
                axes.iter().map(|value| axis(*value, shape.len())).collect::<Result<_, _>>()?
            }
            _ => (0..shape.len()).collect(),
        };
        let possible = |value: f64| value.is_finite() && (1.0 / 4_096.0..=4_096.0).contains(&value);
        let mut factors: Vec<Factor> = shape.iter().map(|dim| Factor { to: *dim, ratio: 1.0 }).collect();
        if Self::has(node, 3) && node.op_type == "Resize" {
            let sizes = self.constant(node, 3)?.as_ints()?;
            if sizes.len() != axes.len() || attributes.text("keep_aspect_ratio_policy").is_some_and(|p| p != "stretch")
            {
                return Err(Fault::Bad(format!("sizes {sizes:?} for shape {shape:?}")));
            }
            for (axis, size) in axes.iter().zip(sizes) {
                let to = usize::try_from(*size).ok().filter(|to| possible(*to as f64 / shape[*axis] as f64));
                let to = to.ok_or_else(|| Fault::Bad(format!("sizes {sizes:?} for shape {shape:?}")))?;
                factors[*axis] = Factor { to, ratio: shape[*axis] as f64 / to as f64 };
            }
            return Ok(factors);
        }
        let scales = if Self::has(node, scales_at) {
            self.constant(node, scales_at)?.to_f32()
        } else {
            attributes.floats("scales").unwrap_or_default().to_vec()
        };
        if scales.len() != axes.len() || !scales.iter().all(|scale| possible(f64::from(*scale))) {
            return Err(Fault::Bad(format!("scales {scales:?} for shape {shape:?}")));
        }
        for (axis, scale) in axes.iter().zip(scales) {
            let to = (shape[*axis] as f64 * f64::from(scale)).floor() as usize;
            if to == 0 {
                return Err(Fault::Bad(format!("scale {scale} leaves nothing of {}", shape[*axis])));
            }
            factors[*axis] = Factor { to, ratio: 1.0 / f64::from(scale) };
        }
        Ok(factors)
    }

    /// Linear interpolation along the last two axes of an image or the last one of a signal.
    fn interpolated(
        &mut self,
        value: &Activation,
        resized: &[usize],
        factors: &[Factor],
        coordinates: Coordinates,
    ) -> Result<Activation, Fault> {
        let rank = value.shape.len();
        if !(3..=4).contains(&rank) || resized.iter().any(|axis| *axis < 2) || value.shape[0] != 1 {
            return Err(Fault::unsupported(
                format!("linear interpolation along axes {resized:?} of shape {:?}", value.shape),
                "linear interpolation of height and width of images [1, channels, height, width], and of signals",
            ));
        }
        let value = self.arranged(value, &channels_last_order(rank))?;
        let blends = |axis: usize| {
            let Factor { to, ratio } = factors[axis];
            super::resample::blends_by(value.shape[axis], to, coordinates, ratio)
        };
        let columns = blends(rank - 1);
        let rows = if rank == 4 { blends(2) } else { vec![Blend { low: 0, high: 0, share: 0.0 }] };
        if value.shape[2..].iter().chain([&rows.len(), &columns.len()]).any(|len| *len > 1 << 14) {
            return Err(Fault::unsupported("an image of more than 16384 rows or columns", "smaller images"));
        }
        let channels = value.shape[1];
        let mut shape = value.shape.clone();
        shape[rank - 1] = columns.len();
        if rank == 4 {
            shape[2] = rows.len();
        }
        let stored = vec![1, rows.len(), columns.len(), channels];
        let op = Op::Interpolate { width: value.shape[rank - 1], channels, rows, columns };
        let tensor = self.push(op, vec![value.tensor], stored)?;
        Ok(Activation::channels_last(tensor, shape))
    }

    /// Entries of one axis.
    pub(super) fn picked(&mut self, value: &Activation, axis: usize, indices: Vec<usize>) -> Result<Activation, Fault> {
        let place = value.order.iter().position(|stored| *stored == axis).unwrap_or(0);
        let mut dims = value.stored_dims();
        let mut shape = value.shape.clone();
        shape[axis] = indices.len();
        let from = dims[place];
        if indices.iter().enumerate().all(|(at, index)| at == *index) && indices.len() == from {
            return Ok(value.clone());
        }
        let factor = indices.len() / from;
        let op = if factor > 0
            && factor * from == indices.len()
            && indices.iter().enumerate().all(|(at, index)| *index == at / factor)
        {
            let mut factors = vec![1; dims.len()];
            factors[place] = factor;
            dims[place] = indices.len();
            let stored: Vec<usize> = value.stored_dims();
            Op::Strided { path: Strided::repeated(&stored, &factors) }
        } else {
            let Pick { outer, count, inner, indices } = Pick::along(&mut dims, place, indices)?;
            Op::Gather { outer, count, inner, indices }
        };
        let tensor = self.push(op, vec![value.tensor], dims)?;
        Ok(Activation { tensor, base: shape.clone(), order: value.order.clone(), shape })
    }

    /// Gather with constant indices.
    pub(super) fn gather(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.storable(node)?;
        let at = axis(attributes.int("axis", 0), value.shape.len())?;
        let constant = self.constant(node, 1)?;
        let listed = constant.as_ints()?.to_vec();
        let scalar = constant.shape.is_empty();
        if constant.shape.len() > 1 || listed.is_empty() {
            return Err(Fault::unsupported(format!("indices of shape {:?}", constant.shape), "a list of indices"));
        }
        let indices = listed.iter().map(|index| axis(*index, value.shape[at])).collect::<Result<Vec<_>, _>>()?;
        let picked = self.picked(&value, at, indices)?;
        if !scalar {
            return Ok(picked);
        }
        let mut shape = picked.shape.clone();
        shape.remove(at);
        Ok(picked.reshaped(shape))
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
    pub(super) fn storable(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
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
