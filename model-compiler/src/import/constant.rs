//! Constants of a model file: decoding with checks, and the arithmetic that
//! exporters leave in the graph although all operands are constant.

use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

use super::flatbuffer::words;
use super::{Budget, Fault};
use crate::ir::transposed;

/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// Elements of a constant: all integer types become i64, all floats f32.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

/// A constant tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constant {
    pub shape: Vec<usize>,
    pub data: Data,
    /// True for 8-bit integers without sign.
    pub unsigned: bool,
}

impl Constant {
    pub fn floats(shape: Vec<usize>, data: Vec<f32>) -> Self {
        Self { shape, data: Data::Float(data), unsigned: false }
    }

    pub fn ints(data: Vec<i64>) -> Self {
        Self { shape: vec![data.len()], data: Data::Int(data), unsigned: false }
    }

    pub fn len(&self) -> usize {
        match &self.data {
            Data::Float(data) => data.len(),
            Data::Int(data) => data.len(),
        }
    }

    /// The elements as floats.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::Float(data) => data.clone(),
            Data::Int(data) => data.iter().map(|v| *v as f32).collect(),
        }
    }

    /// The elements as integers, if they are stored so.
    pub fn as_ints(&self) -> Result<&[i64], Fault> {
        match &self.data {
            Data::Int(data) => Ok(data),
            Data::Float(_) => Err(Fault::Bad("expects integers and gets floats".into())),
        }
    }

    /// Reads a tensor of the file. External data and non-numeric types are refused.
    pub fn decode(tensor: &TensorProto, budget: &mut Budget) -> Result<Self, Fault> {
        let bad = |reason: String| Fault::Bad(format!("constant `{}`: {reason}", super::shown(&tensor.name)));
        if tensor.data_location.unwrap_or(0) != 0 || !tensor.external_data.is_empty() {
            return Err(bad("its data is in another file; save the model as one file".into()));
        }
        if tensor.segment.is_some() {
            return Err(bad("segmented tensors are not in use".into()));
        }
        let shape = checked_shape(&tensor.dims).map_err(bad)?;
        let len = checked_len(&shape).map_err(bad)?;
        budget.take(len, "elements of the model")?;
        let raw = &tensor.raw_data;
        let kind = DataType::try_from(tensor.data_type)
            .map_err(|_| bad(format!("element type {} does not exist", tensor.data_type)))?;
        let check = |found: usize, what: &str| {
            if found == len {
                return Ok(());
            }
            Err(bad(format!("shape {shape:?} needs {len} elements, {what} holds {found}")))
        };
        let from_raw = |size: usize| {
            if !raw.len().is_multiple_of(size) {
                return Err(bad(format!("raw data of {} bytes is cut", raw.len())));
            }
            check(raw.len() / size, "the raw data")
        };
        let data = match kind {
            DataType::Float if raw.is_empty() => {
                check(tensor.float_data.len(), "the tensor")?;
                Data::Float(tensor.float_data.clone())
            }
            DataType::Float => {
                from_raw(4)?;
                Data::Float(words(raw).map(f32::from_le_bytes).collect())
            }
            DataType::Double if raw.is_empty() => {
                check(tensor.double_data.len(), "the tensor")?;
                Data::Float(tensor.double_data.iter().map(|v| *v as f32).collect())
            }
            DataType::Double => {
                from_raw(8)?;
                Data::Float(words(raw).map(|w| f64::from_le_bytes(w) as f32).collect())
            }
            DataType::Int64 if raw.is_empty() => {
                check(tensor.int64_data.len(), "the tensor")?;
                Data::Int(tensor.int64_data.clone())
            }
            DataType::Int64 => {
                from_raw(8)?;
                Data::Int(words(raw).map(i64::from_le_bytes).collect())
            }
            DataType::Int32 | DataType::Int8 | DataType::Uint8 if raw.is_empty() => {
                check(tensor.int32_data.len(), "the tensor")?;
                Data::Int(tensor.int32_data.iter().map(|v| i64::from(*v)).collect())
            }
            DataType::Int32 => {
                from_raw(4)?;
                Data::Int(words(raw).map(|w| i64::from(i32::from_le_bytes(w))).collect())
            }
            DataType::Int8 => {
                from_raw(1)?;
                Data::Int(raw.iter().map(|b| i64::from(b.cast_signed())).collect())
            }
            DataType::Uint8 => {
                from_raw(1)?;
                Data::Int(raw.iter().map(|b| i64::from(*b)).collect())
            }
            other => {
                return Err(bad(format!(
                    "element type {} is not supported; float, double, int8, uint8, int32 and int64 are",
                    other.as_str_name()
                )));
            }
        };
        if let Data::Float(values) = &data
            && let Some(value) = values.iter().find(|v| v.is_nan())
        {
            return Err(bad(format!("holds {value}")));
        }
        Ok(Self { shape, data, unsigned: kind == DataType::Uint8 })
    }

    /// The elements of a tensor of floats of 32 or 64 bits, all bits kept.
    pub fn doubles(tensor: &TensorProto, budget: &mut Budget) -> Result<Vec<f64>, Fault> {
        // Checks shape, size and kind.
        let narrow = Self::decode(tensor, budget)?;
        let double = tensor.data_type == DataType::Double as i32;
        Ok(match (double, tensor.raw_data.is_empty()) {
            (true, true) => tensor.double_data.clone(),
            (true, false) => words(&tensor.raw_data).map(f64::from_le_bytes).collect(),
            _ => narrow.to_f32().into_iter().map(f64::from).collect(),
        })
    }

    /// The same elements in another shape.
    pub fn reshaped(&self, shape: Vec<usize>) -> Self {
        Self { shape, ..self.clone() }
    }

    /// Axes permuted.
    pub fn transposed(&self, perm: &[usize]) -> Self {
        let sources = transposed(&self.shape, perm);
        let data = match &self.data {
            Data::Float(data) => Data::Float(sources.iter().map(|i| data[*i]).collect()),
            Data::Int(data) => Data::Int(sources.iter().map(|i| data[*i]).collect()),
        };
        Self { shape: perm.iter().map(|axis| self.shape[*axis]).collect(), data, unsigned: self.unsigned }
    }

    /// The inverse of [`Self::dequantized`]: `round(self / scale) + zero_point`, half to even, saturated.
    pub fn quantized(&self, scale: &Self, zero_point: Option<&Self>, axis: usize) -> Result<Self, Fault> {
        // Dequantizing ones gives the factor of each element, zeros their offset.
        let unsigned = zero_point.is_none_or(|zero| zero.unsigned);
        let same = |value: i64| Self { data: Data::Int(vec![value; self.len()]), ..self.clone() };
        let factors = same(1).dequantized(scale, None, axis)?.to_f32();
        let zero_points: Vec<i64> = match zero_point {
            None => vec![0; self.len()],
            Some(zero) => {
                let ones = Self { data: Data::Float(vec![-1.0; zero.len()]), ..zero.clone() };
                let offsets = same(0).dequantized(&ones, Some(zero), axis)?.to_f32();
                offsets.iter().map(|offset| *offset as i64).collect()
            }
        };
        let (low, high) = if unsigned { (0.0, 255.0) } else { (-128.0, 127.0) };
        let steps = self.to_f32().into_iter().zip(factors).zip(zero_points);
        let data = steps
            .map(|((value, factor), zero)| ((value / factor).round_ties_even() + zero as f32).clamp(low, high) as i64)
            .collect();
        Ok(Self { shape: self.shape.clone(), data: Data::Int(data), unsigned })
    }

    /// `(self - zero_point) * scale`, per tensor or along `axis`.
    pub fn dequantized(&self, scale: &Self, zero_point: Option<&Self>, axis: usize) -> Result<Self, Fault> {
        let values = self.as_ints()?;
        let scales = scale.to_f32();
        let zeros = match zero_point {
            Some(zero_point) => zero_point.as_ints()?.to_vec(),
            None => vec![0; scales.len()],
        };
        let channels = self.shape.get(axis).copied().unwrap_or(1);
        if zeros.len() != scales.len() || (scales.len() != 1 && scales.len() != channels) {
            return Err(Fault::Bad(format!(
                "{} scales and {} zero points for {channels} channels",
                scales.len(),
                zeros.len()
            )));
        }
        let inner: usize = self.shape.iter().skip(axis + 1).product();
        let data = values
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let channel = if scales.len() == 1 { 0 } else { index / inner.max(1) % channels };
                value.saturating_sub(zeros[channel]) as f32 * scales[channel]
            })
            .collect();
        Ok(Self::floats(self.shape.clone(), data))
    }

    /// Element-wise arithmetic with ONNX broadcasting.
    pub fn binary(&self, op: &str, other: &Self, budget: &mut Budget) -> Result<Self, Fault> {
        let rank = self.shape.len().max(other.shape.len());
        let padded = |shape: &[usize]| {
            let mut dims = vec![1; rank - shape.len()];
            dims.extend_from_slice(shape);
            dims
        };
        let (a, b) = (padded(&self.shape), padded(&other.shape));
        let mut shape = Vec::with_capacity(rank);
        for (x, y) in a.iter().zip(&b) {
            if x != y && *x != 1 && *y != 1 {
                return Err(Fault::Bad(format!("shapes {:?} and {:?} do not broadcast", self.shape, other.shape)));
            }
            shape.push(*x.max(y));
        }
        let len = checked_len(&shape).map_err(Fault::Bad)?;
        budget.take(len, "elements of the model")?;
        let index_in = |dims: &[usize], mut flat: usize| {
            let (mut index, mut stride) = (0, 1);
            for axis in (0..rank).rev() {
                let at = flat % shape[axis];
                flat /= shape[axis];
                index += if dims[axis] == 1 { 0 } else { at * stride };
                stride *= dims[axis];
            }
            index
        };
        let pairs = (0..len).map(|i| (index_in(&a, i), index_in(&b, i)));
        let data = match (&self.data, &other.data) {
            (Data::Int(x), Data::Int(y)) => Data::Int(
                pairs
                    .map(|(i, j)| match op {
                        "Add" => x[i].saturating_add(y[j]),
                        "Sub" => x[i].saturating_sub(y[j]),
                        "Mul" => x[i].saturating_mul(y[j]),
                        _ => x[i].checked_div(y[j]).unwrap_or(0),
                    })
                    .collect(),
            ),
            _ => {
                let (x, y) = (self.to_f32(), other.to_f32());
                Data::Float(
                    pairs
                        .map(|(i, j)| match op {
                            "Add" => x[i] + y[j],
                            "Sub" => x[i] - y[j],
                            "Mul" => x[i] * y[j],
                            _ => x[i] / y[j],
                        })
                        .collect(),
                )
            }
        };
        Ok(Self { shape, data, unsigned: false })
    }
}

/// Dimensions as sizes; zero and negative ones are refused.
pub(crate) fn checked_shape(dims: &[i64]) -> Result<Vec<usize>, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("{} dimensions, at most {MAX_RANK} are possible", dims.len()));
    }
    dims.iter()
        .map(|dim| match usize::try_from(*dim) {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(format!("dimension {dim} in shape {dims:?}")),
        })
        .collect()
}

/// Number of elements of a shape.
pub(crate) fn checked_len(shape: &[usize]) -> Result<usize, String> {
    shape.iter().try_fold(1_usize, |len, dim| len.checked_mul(*dim)).ok_or_else(|| format!("shape {shape:?} overflows"))
}
