//! Geometry of operators that move or combine elements along regular paths:
//! slices, permutations, repetitions, broadcasting.

/// For each element of the result, row-major, where its source lies: at
/// `begin + sum(index[k] * steps[k])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strided {
    /// Shape of the result.
    pub counts: Vec<usize>,
    /// Distance in the operand for one step along each axis; 0 repeats.
    pub steps: Vec<isize>,
    /// Source of the first element.
    pub begin: usize,
}

impl Strided {
    /// The permutation whose axis `k` is axis `perm[k]` of an operand of shape `dims`.
    pub fn transposed(dims: &[usize], perm: &[usize]) -> Self {
        let strides = strides(dims);
        Self {
            counts: perm.iter().map(|axis| dims[*axis]).collect(),
            steps: perm.iter().map(|axis| strides[*axis]).collect(),
            begin: 0,
        }
    }

    /// Every `steps[k]`-th element from `begins[k]` on along each axis; `None` if one lies outside.
    pub fn sliced(dims: &[usize], begins: &[usize], counts: &[usize], steps: &[isize]) -> Option<Self> {
        let strides = strides(dims);
        let mut begin = 0;
        for axis in 0..dims.len() {
            let last = (counts[axis] as isize).checked_sub(1)?.checked_mul(steps[axis])?;
            let last = (begins[axis] as isize).checked_add(last)?;
            if begins[axis] >= dims[axis] || !(0..dims[axis] as isize).contains(&last) {
                return None;
            }
            begin += begins[axis] * strides[axis].unsigned_abs();
        }
        let steps = strides.iter().zip(steps).map(|(stride, step)| stride * step).collect();
        Some(Self { counts: counts.to_vec(), steps, begin })
    }

    /// Each element `factors[k]` times along each axis.
    pub fn repeated(dims: &[usize], factors: &[usize]) -> Self {
        let strides = strides(dims);
        let pairs = |axis: usize| [(dims[axis], strides[axis]), (factors[axis], 0)];
        let (counts, steps) = (0..dims.len()).flat_map(pairs).unzip();
        Self { counts, steps, begin: 0 }.simplified()
    }

    /// Number of elements of the result.
    pub fn len(&self) -> usize {
        self.counts.iter().product()
    }

    /// True for a result without elements; no importer makes one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the result is the operand of this length, element by element.
    pub fn is_identity(&self, len: usize) -> bool {
        let simple = self.clone().simplified();
        simple.begin == 0 && simple.len() == len && (len == 1 || simple.steps == [1])
    }

    /// The same path with axes of one element dropped and inseparable ones merged.
    pub fn simplified(self) -> Self {
        let mut counts: Vec<usize> = Vec::with_capacity(self.counts.len());
        let mut steps: Vec<isize> = Vec::with_capacity(self.counts.len());
        for (count, step) in self.counts.into_iter().zip(self.steps).filter(|(count, _)| *count != 1) {
            match (counts.last_mut(), steps.last_mut()) {
                (Some(outer), Some(outer_step)) if *outer_step == step * count as isize => {
                    *outer *= count;
                    *outer_step = step;
                }
                _ => {
                    counts.push(count);
                    steps.push(step);
                }
            }
        }
        Self { counts, steps, begin: self.begin }
    }

    /// Source of each element of the result, in order.
    pub fn sources(&self) -> Vec<usize> {
        let mut index = vec![0; self.counts.len()];
        let mut source = self.begin as isize;
        let mut all = Vec::with_capacity(self.len());
        for _ in 0..self.len() {
            all.push(source.unsigned_abs());
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                source += self.steps[axis];
                if index[axis] < self.counts[axis] {
                    break;
                }
                source -= self.steps[axis] * self.counts[axis] as isize;
                index[axis] = 0;
            }
        }
        all
    }
}

/// Distance between neighbours along each axis of a row-major tensor.
pub fn strides(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis] as isize;
    }
    strides
}

/// How two operands of different shapes meet: axes of size 1 are repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// Shape of the result, with axes that both operands walk alike merged.
    pub counts: Vec<usize>,
    /// Distance in each operand for one step along each axis.
    pub steps: [Vec<isize>; 2],
}

impl Broadcast {
    /// Meets shapes from their last axis on; `None` if they do not fit.
    pub fn of(a: &[usize], b: &[usize]) -> Option<(Self, Vec<usize>)> {
        let rank = a.len().max(b.len());
        let padded = |dims: &[usize]| [vec![1; rank - dims.len()], dims.to_vec()].concat();
        let (a, b) = (padded(a), padded(b));
        let mut shape = Vec::with_capacity(rank);
        for (x, y) in a.iter().zip(&b) {
            if x != y && *x != 1 && *y != 1 {
                return None;
            }
            shape.push(*x.max(y));
        }
        let steps = |dims: &[usize]| -> Vec<isize> {
            dims.iter().zip(strides(dims)).map(|(dim, stride)| if *dim == 1 { 0 } else { stride }).collect()
        };
        Some((Self::merged(&shape, &steps(&a), &steps(&b)), shape))
    }

    fn merged(shape: &[usize], a: &[isize], b: &[isize]) -> Self {
        let mut all = Self { counts: Vec::new(), steps: [Vec::new(), Vec::new()] };
        for axis in (0..shape.len()).filter(|axis| shape[*axis] != 1) {
            let steps = [a[axis], b[axis]];
            let reach = steps.map(|step| step * shape[axis] as isize);
            if let Some(last) = all.counts.len().checked_sub(1)
                && [0, 1].iter().all(|operand| all.steps[*operand][last] == reach[*operand])
            {
                all.counts[last] *= shape[axis];
                all.steps[0][last] = steps[0];
                all.steps[1][last] = steps[1];
            } else {
                all.counts.push(shape[axis]);
                all.steps[0].push(steps[0]);
                all.steps[1].push(steps[1]);
            }
        }
        if all.counts.is_empty() {
            return Self { counts: vec![1], steps: [vec![0], vec![0]] };
        }
        all
    }

    /// Indices into both operands for each element of the result, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let of = |steps: &Vec<isize>| Strided { counts: self.counts.clone(), steps: steps.clone(), begin: 0 }.sources();
        of(&self.steps[0]).into_iter().zip(of(&self.steps[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_their_operators() {
        assert_eq!(Strided::transposed(&[2, 3], &[1, 0]).sources(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(Strided::repeated(&[2, 1], &[2, 3]).sources(), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        let slice = Strided::sliced(&[4, 3], &[3, 1], &[2, 2], &[-2, 1]);
        assert_eq!(slice.map(|slice| slice.sources()), Some(vec![10, 11, 4, 5]));
        assert_eq!(Strided::sliced(&[4], &[3], &[2], &[1]), None);
    }

    #[test]
    fn simplifying_keeps_the_path() {
        for (dims, perm) in [([2, 3, 4, 5], [0, 2, 3, 1]), ([1, 3, 1, 5], [3, 2, 1, 0]), ([2, 3, 4, 5], [0, 1, 2, 3])] {
            let path = Strided::transposed(&dims, &perm);
            assert_eq!(path.clone().simplified().sources(), path.sources(), "{dims:?} {perm:?}");
        }
        assert!(Strided::transposed(&[2, 3], &[0, 1]).is_identity(6));
        assert!(!Strided::transposed(&[2, 3], &[1, 0]).is_identity(6));
    }

    #[test]
    fn operands_meet_from_the_last_axis_on() {
        let (meet, shape) = Broadcast::of(&[1, 2, 2, 3], &[3]).unwrap();
        assert_eq!(shape, [1, 2, 2, 3]);
        assert_eq!((meet.counts.clone(), meet.steps.clone()), (vec![4, 3], [vec![3, 1], vec![0, 1]]));
        assert_eq!(meet.pairs().map(|(_, b)| b).collect::<Vec<_>>(), [0, 1, 2].repeat(4));
        assert!(Broadcast::of(&[2], &[3]).is_none());
        let (one, _) = Broadcast::of(&[1], &[]).unwrap();
        assert_eq!(one.pairs().collect::<Vec<_>>(), [(0, 0)]);
    }
}
