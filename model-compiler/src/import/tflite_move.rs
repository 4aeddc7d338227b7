//! Paths of the TFLite operators that only move data, and the order of axes for
//! those that reduce some.

use super::Fault;
use super::attributes::axis;
use super::tflite_file::{File, FileTensor, Operator};
use super::tflite_step::Step;
use crate::strided::Strided;

/// One path for each result of an operator.
pub(super) fn paths<'a>(file: &File<'a>, op: &Operator<'a>) -> Result<Step<'a>, Fault> {
    // SPLIT has its axis first.
    let from = op.input(usize::from(op.code == 49))?;
    let input = file.tensor(from)?;
    let dims = input.shape.clone();
    let operand = |at: usize| -> Result<Vec<i64>, Fault> { file.tensor(op.input(at)?)?.indices() };
    let outputs: Vec<FileTensor<'_>> =
        op.outputs.iter().map(|output| file.tensor(*output)).collect::<Result<_, _>>()?;
    let one = |path: Option<Strided>| {
        path.map(|path| vec![path]).ok_or_else(|| Fault::Bad(format!("it reaches outside of the shape {dims:?}")))
    };
    let paths = match op.code {
        39 => vec![Strided::transposed(&dims, &permutation(&operand(1)?, dims.len())?)],
        65 => {
            let (begins, sizes) = (operand(1)?, operand(2)?);
            same_rank(&[&begins, &sizes], dims.len())?;
            let begins: Vec<usize> = begins.iter().map(|at| usize::try_from(*at).unwrap_or(usize::MAX)).collect();
            let counts: Vec<usize> = (0..dims.len())
                .map(|at| match sizes[at] {
                    -1 => dims[at].saturating_sub(begins[at]),
                    size => usize::try_from(size).unwrap_or(0),
                })
                .collect();
            one(checked_slice(&dims, &begins, &counts, &vec![1; dims.len()]))?
        }
        45 => {
            let (begins, ends, steps) = (operand(1)?, operand(2)?, operand(3)?);
            same_rank(&[&begins, &ends, &steps], dims.len())?;
            if op.int(2, 0)? != 0 || op.int(3, 0)? != 0 {
                return Err(Fault::unsupported("an ellipsis or new axis", "begin, end, stride and dropped axes"));
            }
            one(strided_slice(&dims, [&begins, &ends, &steps], [op.int(0, 0)?, op.int(1, 0)?, op.int(4, 0)?]))?
        }
        49 | 102 => {
            let at = operand(if op.code == 49 { 0 } else { 2 })?;
            let at = axis(at.first().copied().unwrap_or(0), dims.len())?;
            let mut begin = 0;
            let mut paths = Vec::with_capacity(outputs.len());
            for output in &outputs {
                let mut counts = dims.clone();
                counts[at] = output.shape.get(at).copied().unwrap_or(0);
                let mut begins = vec![0; dims.len()];
                begins[at] = begin;
                begin += counts[at];
                paths.extend(one(checked_slice(&dims, &begins, &counts, &vec![1; dims.len()]))?);
            }
            paths
        }
        88 => {
            let at = axis(i64::from(op.int(1, 0)?), dims.len())?;
            let mut paths = Vec::with_capacity(outputs.len());
            for index in 0..outputs.len() {
                let mut counts = dims.clone();
                counts[at] = 1;
                let mut begins = vec![0; dims.len()];
                begins[at] = index;
                paths.extend(one(checked_slice(&dims, &begins, &counts, &vec![1; dims.len()]))?);
            }
            paths
        }
        5 | 26 => vec![blocks(&dims, op.int(0, 0)?, op.code == 5)?],
        _ => {
            let mut reversed = vec![false; dims.len()];
            for value in operand(1)? {
                reversed[axis(value, dims.len())?] = true;
            }
            let begins: Vec<usize> = (0..dims.len()).map(|at| if reversed[at] { dims[at] - 1 } else { 0 }).collect();
            let steps: Vec<isize> = reversed.iter().map(|reversed| if *reversed { -1 } else { 1 }).collect();
            one(checked_slice(&dims, &begins, &dims, &steps))?
        }
    };
    for (path, output) in paths.iter().zip(&outputs) {
        if path.len() != output.len() {
            return Err(Fault::Bad(format!(
                "its result has shape {:?}, {} elements come out",
                output.shape,
                path.len()
            )));
        }
    }
    Ok(Step::Move { from, paths })
}

/// As [`Strided::sliced`], without trust in the numbers.
pub(super) fn checked_slice(dims: &[usize], begins: &[usize], counts: &[usize], steps: &[isize]) -> Option<Strided> {
    let possible = (0..dims.len()).all(|axis| {
        begins[axis] < dims[axis] && (1..=dims[axis]).contains(&counts[axis]) && steps[axis].unsigned_abs() <= 1 << 24
    });
    if !possible {
        return None;
    }
    Strided::sliced(dims, begins, counts, steps)
}

/// Begin, end and step of each axis, with bit masks for an open begin, an open end and a dropped axis.
pub(super) fn strided_slice(dims: &[usize], [begins, ends, steps]: [&[i64]; 3], masks: [i32; 3]) -> Option<Strided> {
    let mut parts = (Vec::new(), Vec::new(), Vec::new());
    for (at, dim) in dims.iter().enumerate() {
        let dim = *dim as i64;
        let set = |mask: usize| masks[mask] & (1 << at) != 0;
        let step = steps[at];
        let (lowest, highest) = if step > 0 { (0, dim) } else { (-1, dim - 1) };
        let place = |value: i64| (if value < 0 { value.saturating_add(dim) } else { value }).clamp(lowest, highest);
        let mut begin = if set(0) { if step > 0 { 0 } else { dim - 1 } } else { place(begins[at]) };
        let mut end = if set(1) { if step > 0 { dim } else { -1 } } else { place(ends[at]) };
        if set(2) {
            begin = if begins[at] < 0 { begins[at].saturating_add(dim) } else { begins[at] };
            end = begin.saturating_add(1);
        }
        let distance = if step > 0 { end - begin } else { begin.checked_sub(end)? };
        let count = if set(2) { 1 } else { (distance.max(0) as u64).div_ceil(step.checked_abs()?.max(1) as u64) };
        parts.0.push(usize::try_from(begin).ok()?);
        parts.1.push(usize::try_from(count).ok()?);
        parts.2.push(isize::try_from(step).ok().filter(|step| *step != 0)?);
    }
    checked_slice(dims, &parts.0, &parts.1, &parts.2)
}

/// Channels to blocks of pixels or back.
fn blocks(dims: &[usize], size: i32, to_space: bool) -> Result<Strided, Fault> {
    let size = usize::try_from(size).unwrap_or(0);
    let &[1, h, w, c] = dims else {
        return Err(Fault::Bad(format!("shape {dims:?}")));
    };
    let fits = if to_space { size.checked_mul(size).is_some_and(|s| s > 0 && c % s == 0) } else { size > 0 };
    if !fits || (!to_space && (h % size != 0 || w % size != 0)) {
        return Err(Fault::Bad(format!("blocks of {size} for shape {dims:?}")));
    }
    Ok(if to_space {
        Strided::transposed(&[h, w, size, size, c / size / size], &[0, 2, 1, 3, 4])
    } else {
        Strided::transposed(&[h / size, size, w / size, size, c], &[0, 2, 1, 3, 4])
    })
}

pub(super) fn pad<'a>(
    from: &FileTensor<'_>,
    pads: &[i64],
    to: &FileTensor<'_>,
    fill: Option<FileTensor<'a>>,
) -> Result<Step<'a>, Fault> {
    let (shape, out) = (&from.shape, &to.shape);
    let rank = shape.len();
    if rank > 4 || pads.len() != 2 * rank || pads.iter().any(|pad| !(0..=4_096).contains(pad)) {
        return Err(Fault::unsupported(
            format!("pads {pads:?} around a tensor of shape {shape:?}"),
            "padding of tensors with at most four axes",
        ));
    }
    let (mut dims, mut before, mut after) = ([1; 4], [0; 4], [0; 4]);
    for at in 0..rank {
        let slot = 4 - rank + at;
        dims[slot] = shape[at];
        before[slot] = pads[2 * at] as usize;
        after[slot] = pads[2 * at + 1] as usize;
        if out.get(at) != Some(&(before[slot] + dims[slot] + after[slot])) {
            return Err(Fault::Bad(format!("pads {pads:?} turn {shape:?} into {out:?}")));
        }
    }
    Ok(Step::Pad { dims, before, after, fill })
}

/// `[outer, count, inner]` of a reduction over the axes that go, and the
/// permutation that brings them together if they lie apart.
pub(super) fn reduced(shape: &[usize], gone: &[bool]) -> (Option<Strided>, usize, usize, usize) {
    let product = |wanted: &dyn Fn(usize) -> bool| -> usize {
        (0..shape.len()).filter(|at| wanted(*at)).map(|at| shape[at]).product()
    };
    let count = product(&|at| gone[at]);
    let real: Vec<usize> = (0..shape.len()).filter(|at| gone[*at] && shape[*at] > 1).collect();
    let (first, last) = match (real.first(), real.last()) {
        (Some(first), Some(last)) => (*first, *last),
        _ => return (None, product(&|_| true), 1, 1),
    };
    if (first..=last).all(|at| gone[at] || shape[at] == 1) {
        return (None, product(&|at| at < first), count, product(&|at| at > last));
    }
    let kept = (0..shape.len()).filter(|at| !gone[*at]);
    let perm: Vec<usize> = kept.chain((0..shape.len()).filter(|at| gone[*at])).collect();
    (Some(Strided::transposed(shape, &perm).simplified()), product(&|at| !gone[at]), count, 1)
}

fn same_rank(lists: &[&Vec<i64>], rank: usize) -> Result<(), Fault> {
    if lists.iter().all(|list| list.len() == rank) {
        return Ok(());
    }
    Err(Fault::unsupported(format!("a list that does not name all {rank} axes"), "a number for each axis"))
}

fn permutation(perm: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut seen = vec![false; rank];
    for value in perm {
        seen[axis(*value, rank)?] = true;
    }
    if perm.len() != rank || seen.contains(&false) {
        return Err(Fault::Bad(format!("perm {perm:?} is no permutation of {rank} axes")));
    }
    perm.iter().map(|value| axis(*value, rank)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apart_axes_are_brought_together() {
        assert_eq!(reduced(&[1, 4, 6, 5], &[false, true, true, false]), (None, 1, 24, 5));
        assert_eq!(reduced(&[1, 4, 6, 5], &[false, false, false, true]), (None, 24, 5, 1));
        let (path, outer, count, inner) = reduced(&[1, 4, 6, 5], &[false, true, false, true]);
        assert_eq!((outer, count, inner), (6, 20, 1));
        assert_eq!(path.map(|path| path.len()), Some(120));
        assert_eq!(reduced(&[2, 1], &[false, true]), (None, 2, 1, 1));
    }

    #[test]
    fn slices_count_from_both_ends() {
        let slice = |begin, end, step, masks| {
            strided_slice(&[6], [&[begin], &[end], &[step]], masks).map(|path| path.sources())
        };
        assert_eq!(slice(1, -1, 2, [0, 0, 0]), Some(vec![1, 3]));
        assert_eq!(slice(-1, -9, -2, [0, 0, 0]), Some(vec![5, 3, 1]));
        assert_eq!(slice(4, 0, 1, [1, 1, 0]), Some(vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(slice(-2, 0, 1, [0, 0, 1]), Some(vec![4]));
        assert_eq!(slice(3, 3, 1, [0, 0, 0]), None);
        assert_eq!(slice(i64::MIN, i64::MAX, i64::MIN, [0, 0, 0]), None);
    }
}
