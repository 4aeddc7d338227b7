//! Decision trees as boards walk them: nodes one after another in one table, the branch that is taken where a test
//! holds directly behind it.

/// How a feature is compared with a node's threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// `x <= threshold`
    LessOrEqual,
    /// `x < threshold`
    Less,
    /// `x >= threshold`
    GreaterOrEqual,
    /// `x > threshold`
    Greater,
    /// `x == threshold`
    Equal,
    /// `x != threshold`
    NotEqual,
}

impl Test {
    /// Whether the test holds; a NaN passes `!=` only.
    #[expect(clippy::float_cmp, reason = "the file asks for exactly that")]
    pub fn holds(self, x: f32, threshold: f32) -> bool {
        match self {
            Self::LessOrEqual => x <= threshold,
            Self::Less => x < threshold,
            Self::GreaterOrEqual => x >= threshold,
            Self::Greater => x > threshold,
            Self::Equal => x == threshold,
            Self::NotEqual => x != threshold,
        }
    }

    /// The test of this number.
    fn of(number: u16) -> Self {
        match number {
            0 => Self::LessOrEqual,
            1 => Self::Less,
            2 => Self::GreaterOrEqual,
            3 => Self::Greater,
            4 => Self::Equal,
            _ => Self::NotEqual,
        }
    }

    fn number(self) -> u16 {
        match self {
            Self::LessOrEqual => 0,
            Self::Less => 1,
            Self::GreaterOrEqual => 2,
            Self::Greater => 3,
            Self::Equal => 4,
            Self::NotEqual => 5,
        }
    }
}

/// How the trees' scores become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Sum.
    Sum,
    /// Sum by the number of trees.
    Average,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl Aggregate {
    /// Its number in `kernels/trees.c`.
    pub fn number(self) -> u8 {
        match self {
            Self::Sum => 0,
            Self::Average => 1,
            Self::Min => 2,
            Self::Max => 3,
        }
    }
}

/// Most features that a node can name.
pub const MAX_FEATURES: usize = 1 << 12;

/// What stands for a leaf in place of a test.
const LEAF: u16 = 7;

/// A node: eight bytes in flash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeNode {
    /// Threshold of a branch, weight of a leaf with one score.
    pub value: f32,
    /// Bits 0 to 11: feature of a branch, number of scores of a leaf; 12 to 14: test, 7 for a leaf; 15: a missing
    /// value (NaN) passes.
    pub test: u16,
    /// Of a branch: how many nodes further it goes on if the test fails. Of a leaf: the output that its score is
    /// for, or where its scores begin.
    pub next: u16,
}

impl TreeNode {
    /// A branch.
    pub fn branch(feature: u16, test: Test, missing: bool, threshold: f32, next: u16) -> Self {
        Self { value: threshold, test: feature & 0xfff | test.number() << 12 | u16::from(missing) << 15, next }
    }

    /// A leaf with one score.
    pub fn leaf(output: u16, weight: f32) -> Self {
        Self { value: weight, test: LEAF << 12 | 1, next: output }
    }

    /// A leaf with another number of scores.
    pub fn scores(count: u16, begin: u16) -> Self {
        Self { value: 0.0, test: LEAF << 12 | count & 0xfff, next: begin }
    }

    fn count(self) -> Option<usize> {
        (self.test >> 12 & 7 == LEAF).then_some(usize::from(self.test & 0xfff))
    }
}

/// An ensemble of trees.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// Features that a node can name.
    pub features: usize,
    /// Nodes of all trees.
    pub nodes: Vec<TreeNode>,
    /// The first node of each tree.
    pub roots: Vec<u32>,
    /// Outputs and weights of leaves with several scores.
    pub scores: Vec<(u16, f32)>,
    /// Added to each output.
    pub base: Vec<f32>,
    /// How scores become one.
    pub aggregate: Aggregate,
}

impl Forest {
    /// Bytes of constants in flash.
    pub fn bytes(&self) -> usize {
        8 * self.nodes.len() + 4 * self.roots.len() + 6 * self.scores.len() + 4 * self.base.len()
    }

    /// Tests and scores of one run, if every test were to hold as often as not.
    pub fn walked(&self) -> (usize, usize) {
        // Branches lead forward: what lies behind a node is known when its turn comes.
        let mut walked: Vec<(f64, f64)> = vec![(0.0, 0.0); self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().rev() {
            walked[at] = match node.count() {
                Some(count) => (0.0, count as f64),
                None => {
                    let of = |next: usize| walked.get(at + next).copied().unwrap_or_default();
                    let (holds, fails) = (of(1), of(usize::from(node.next)));
                    (1.0 + (holds.0 + fails.0) / 2.0, (holds.1 + fails.1) / 2.0)
                }
            };
        }
        let roots = self.roots.iter().filter_map(|root| walked.get(*root as usize));
        let (tests, scores): (f64, f64) = roots.fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        // `as` saturates.
        (tests.round() as usize, scores.round() as usize)
    }

    /// Runs all trees; `out` has one element for each output.
    pub fn run(&self, x: &[f32], out: &mut [f32]) {
        let extreme = matches!(self.aggregate, Aggregate::Min | Aggregate::Max);
        let begin = match self.aggregate {
            Aggregate::Min => f32::MAX,
            Aggregate::Max => f32::MIN,
            _ => 0.0,
        };
        out.fill(begin);
        for root in &self.roots {
            let leaf = self.leaf(*root as usize, x);
            match leaf.count() {
                Some(1) => self.add(&mut out[usize::from(leaf.next)], leaf.value),
                Some(count) => {
                    for (output, weight) in &self.scores[usize::from(leaf.next)..][..count] {
                        self.add(&mut out[usize::from(*output)], *weight);
                    }
                }
                None => {}
            }
        }
        for (out, base) in out.iter_mut().zip(&self.base) {
            // An output that no leaf has a score for.
            if extreme && *out == begin {
                *out = 0.0;
            }
            if self.aggregate == Aggregate::Average {
                *out /= self.roots.len() as f32;
            }
            *out += base;
        }
    }

    fn add(&self, sum: &mut f32, score: f32) {
        match self.aggregate {
            Aggregate::Sum | Aggregate::Average => *sum += score,
            Aggregate::Min if score < *sum => *sum = score,
            Aggregate::Max if score > *sum => *sum = score,
            Aggregate::Min | Aggregate::Max => {}
        }
    }

    fn leaf(&self, root: usize, x: &[f32]) -> TreeNode {
        let mut at = root;
        loop {
            let node = self.nodes[at];
            if node.count().is_some() {
                return node;
            }
            let value = x[usize::from(node.test & 0xfff)];
            let holds =
                Test::of(node.test >> 12 & 7).holds(value, node.value) || (node.test & 0x8000 != 0 && value.is_nan());
            at += if holds { 1 } else { usize::from(node.next) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_walked_to_its_leaf() {
        let nodes =
            vec![TreeNode::branch(1, Test::LessOrEqual, true, 0.5, 2), TreeNode::leaf(0, 3.0), TreeNode::scores(2, 0)];
        let forest = Forest {
            features: 2,
            nodes,
            roots: vec![0],
            scores: vec![(0, 1.0), (1, 2.0)],
            base: vec![0.25, 0.0],
            aggregate: Aggregate::Sum,
        };
        let run = |x: &[f32]| {
            let mut out = [0.0; 2];
            forest.run(x, &mut out);
            out
        };
        assert_eq!(run(&[9.0, 0.5]), [3.25, 0.0]);
        assert_eq!(run(&[9.0, 0.6]), [1.25, 2.0]);
        assert_eq!(run(&[9.0, f32::NAN]), [3.25, 0.0]);
    }
}
