//! Attributes of ONNX nodes, read with checks.

use tract_onnx::pb::{NodeProto, TensorProto};

use super::Fault;

/// The attributes of one node.
pub(crate) struct Attributes<'a>(pub &'a NodeProto);

impl<'a> Attributes<'a> {
    fn get(&self, name: &str) -> Option<&'a tract_onnx::pb::AttributeProto> {
        self.0.attribute.iter().find(|a| a.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.get(name).map_or(default, |a| a.i)
    }

    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.get(name).map_or(default, |a| a.f)
    }

    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.get(name).map(|a| a.ints.as_slice())
    }

    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.get(name).map(|a| a.floats.as_slice())
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|a| String::from_utf8_lossy(&a.s).into_owned())
    }

    /// A list of texts; absent and empty are one.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let all = self.get(name).map(|a| a.strings.as_slice()).unwrap_or_default();
        all.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    pub fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.get(name).and_then(|a| a.t.as_ref())
    }

    /// Positive sizes of a known count, such as `strides`; all `1` if absent.
    pub fn sizes(&self, name: &str, count: usize) -> Result<Vec<usize>, Fault> {
        let Some(values) = self.ints(name).filter(|v| !v.is_empty()) else {
            return Ok(vec![1; count]);
        };
        if values.len() != count {
            return Err(Fault::Bad(format!("attribute `{name}` has {} values, {count} are needed", values.len())));
        }
        values
            .iter()
            .map(|v| match usize::try_from(*v) {
                Ok(size @ 1..=4_096) => Ok(size),
                _ => Err(Fault::Bad(format!("attribute `{name}` holds {v}, values of 1 to 4096 are possible"))),
            })
            .collect()
    }
}

/// An axis that may count from the end, as an index below `rank`.
pub(crate) fn axis(value: i64, rank: usize) -> Result<usize, Fault> {
    let signed = if value < 0 { value.saturating_add(rank as i64) } else { value };
    usize::try_from(signed)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| Fault::Bad(format!("axis {value} of a tensor with {rank} dimensions")))
}
