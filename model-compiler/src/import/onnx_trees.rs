//! Tree ensembles of the operator set ai.onnx.ml: TreeEnsembleClassifier and TreeEnsembleRegressor, and TreeEnsemble,
//! which followed them.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::Attributes;
use super::constant::Constant;
use super::onnx::Importer;
use super::value::Activation;
use crate::forest::{Aggregate, Forest, MAX_FEATURES, Test, TreeNode};
use crate::ir::Op;

/// A node as the file has it.
#[derive(Debug, Clone, Copy)]
enum FileNode {
    Branch {
        feature: i64,
        test: Test,
        missing: bool,
        threshold: f64,
        yes: usize,
        no: usize,
    },
    /// Index of a list of scores.
    Leaf(usize),
}

/// An ensemble as the file has it.
struct FileTrees {
    nodes: Vec<FileNode>,
    roots: Vec<usize>,
    /// For each leaf outputs and weights.
    scores: Vec<Vec<(i64, f32)>>,
}

impl Importer {
    pub(super) fn trees(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        let features = value.shape.last().copied().unwrap_or(0);
        if value.len() != features || features == 0 {
            return Err(Fault::unsupported(format!("features of shape {:?}", value.shape), "one row of features"));
        }
        if features > MAX_FEATURES {
            return Err(Fault::unsupported(format!("{features} features"), format!("at most {MAX_FEATURES}")));
        }
        let classifier = node.op_type == "TreeEnsembleClassifier";
        let trees = if node.op_type == "TreeEnsemble" {
            self.file_trees(attributes)?
        } else {
            self.listed_trees(attributes, if classifier { "class" } else { "target" })?
        };
        let classes = attributes
            .ints("classlabels_int64s")
            .map_or(0, <[i64]>::len)
            .max(attributes.texts("classlabels_strings").len());
        let outputs = if classifier { classes } else { usize::try_from(attributes.int("n_targets", 1)).unwrap_or(0) };
        if outputs == 0 || outputs > 4_096 {
            return Err(Fault::Bad(format!("{outputs} outputs")));
        }
        let base = self.numbers(attributes, "base_values")?.unwrap_or_default();
        let base: Vec<f32> = base.iter().map(|value| *value as f32).collect();
        let aggregate = aggregate(attributes)?;
        let post = post_transform(attributes);
        // Two classes of which the file has scores for one only, as onnxruntime reads them: if they are for the first
        // one, both get a score from it.
        let mut ids = trees.scores.iter().flatten().map(|(output, _)| *output);
        let binary = classifier && classes == 2 && ids.all(|id| id == 0);
        if !binary {
            let second = classifier && classes == 2 && trees.scores.iter().flatten().all(|(output, _)| *output == 1);
            let base = if second && base.len() == 1 { vec![base[0], 0.0] } else { spread(base, outputs)? };
            let forest = forest(&trees, features, base, aggregate, |output| output)?;
            let scores = self.forest(&value, forest)?;
            return self.transformed(scores, &post);
        }
        let positive = trees.scores.iter().flatten().all(|(_, weight)| *weight >= 0.0);
        let base = base.last().copied().unwrap_or(0.0);
        let scores = forest(&trees, features, vec![base], aggregate, |_| 0)?;
        let score = self.forest(&value, scores)?;
        if post == "PROBIT" {
            let second = self.transformed(score, &post)?;
            return self.two_classes(&second, [-1.0, 1.0]);
        }
        if positive {
            // Shares of one.
            return self.two_classes(&score, [-1.0, 1.0]);
        }
        let scores = self.two_classes(&score, [-1.0, 0.0])?;
        if post == "LOGISTIC" { self.transformed(scores, &post) } else { Ok(scores) }
    }

    fn forest(&mut self, value: &Activation, forest: Forest) -> Result<Activation, Fault> {
        let outputs = forest.base.len();
        self.budget.take(forest.nodes.len() + forest.scores.len(), "elements of the model")?;
        let value = self.plain(value)?;
        let tensor = self.push(Op::Trees { forest }, vec![value.tensor], vec![1, outputs])?;
        Ok(Activation::plain(tensor, vec![1, outputs]))
    }

    /// Numbers of an attribute, or of its form as a tensor.
    fn numbers(&mut self, attributes: &Attributes<'_>, name: &str) -> Result<Option<Vec<f64>>, Fault> {
        if let Some(values) = attributes.floats(name).filter(|values| !values.is_empty()) {
            return Ok(Some(values.iter().map(|value| f64::from(*value)).collect()));
        }
        for name in [format!("{name}_as_tensor"), name.to_owned()] {
            if let Some(tensor) = attributes.tensor(&name) {
                return Constant::doubles(tensor, &mut self.budget).map(Some);
            }
        }
        Ok(None)
    }

    /// The older form: nodes with numbers of their tree and of themselves.
    fn listed_trees(&mut self, attributes: &Attributes<'_>, of: &str) -> Result<FileTrees, Fault> {
        let ints = |name: &str| attributes.ints(name).unwrap_or_default();
        let (trees, ids) = (ints("nodes_treeids"), ints("nodes_nodeids"));
        let count = trees.len();
        let thresholds = self.numbers(attributes, "nodes_values")?.unwrap_or_default();
        let modes = attributes.texts("nodes_modes");
        let (features, yes) = (ints("nodes_featureids"), ints("nodes_truenodeids"));
        let no = ints("nodes_falsenodeids");
        let missing = ints("nodes_missing_value_tracks_true");
        let lengths = [ids.len(), thresholds.len(), modes.len(), features.len(), yes.len(), no.len()];
        if count == 0 || lengths.iter().any(|len| *len != count) || (!missing.is_empty() && missing.len() != count) {
            return Err(Fault::Bad(format!("lists of its {count} nodes differ in length: {lengths:?}")));
        }
        self.budget.take(count, "elements of the model")?;
        let places: HashMap<(i64, i64), usize> =
            trees.iter().zip(ids).enumerate().map(|(at, (tree, id))| ((*tree, *id), at)).collect();
        if places.len() != count {
            return Err(Fault::Bad("two nodes have one number".into()));
        }
        let place = |tree: i64, id: i64| {
            places.get(&(tree, id)).copied().ok_or_else(|| Fault::Bad(format!("tree {tree} has no node {id}")))
        };
        let mut nodes = Vec::with_capacity(count);
        let mut scores: Vec<Vec<(i64, f32)>> = Vec::new();
        let mut leaves = HashMap::new();
        for at in 0..count {
            nodes.push(if modes[at] == "LEAF" {
                leaves.insert(at, scores.len());
                scores.push(Vec::new());
                FileNode::Leaf(scores.len() - 1)
            } else {
                FileNode::Branch {
                    feature: features[at],
                    test: test(&modes[at])?,
                    missing: missing.get(at).is_some_and(|missing| *missing != 0),
                    threshold: thresholds[at],
                    yes: place(trees[at], yes[at])?,
                    no: place(trees[at], no[at])?,
                }
            });
        }
        let weights = self.numbers(attributes, &format!("{of}_weights"))?.unwrap_or_default();
        let ids = ints(&format!("{of}_ids"));
        let (of_trees, of_nodes) = (ints(&format!("{of}_treeids")), ints(&format!("{of}_nodeids")));
        if [ids.len(), of_trees.len(), of_nodes.len()].iter().any(|len| *len != weights.len()) {
            return Err(Fault::Bad(format!("lists of its {} {of} weights differ in length", weights.len())));
        }
        for (at, weight) in weights.iter().enumerate() {
            let leaf = leaves.get(&place(of_trees[at], of_nodes[at])?);
            let leaf = leaf.ok_or_else(|| Fault::Bad(format!("node {} is no leaf and has a weight", of_nodes[at])))?;
            scores[*leaf].push((ids[at], *weight as f32));
        }
        // The root of a tree is its first node.
        let mut roots: Vec<usize> = Vec::new();
        for at in 0..count {
            if at == 0 || trees[at] != trees[at - 1] {
                if roots.iter().any(|root| trees[*root] == trees[at]) {
                    return Err(Fault::Bad(format!("nodes of tree {} are apart", trees[at])));
                }
                roots.push(at);
            }
        }
        Ok(FileTrees { nodes, roots, scores })
    }

    /// The newer form: branches and leaves in lists of their own.
    fn file_trees(&mut self, attributes: &Attributes<'_>) -> Result<FileTrees, Fault> {
        let ints = |name: &str| attributes.ints(name).unwrap_or_default();
        let splits = self.numbers(attributes, "nodes_splits")?.unwrap_or_default();
        let modes = match attributes.tensor("nodes_modes") {
            Some(modes) => Constant::decode(modes, &mut self.budget)?.as_ints()?.to_vec(),
            None => Vec::new(),
        };
        let (features, yes, yes_leaf) = (ints("nodes_featureids"), ints("nodes_truenodeids"), ints("nodes_trueleafs"));
        let (no, no_leaf) = (ints("nodes_falsenodeids"), ints("nodes_falseleafs"));
        let missing = ints("nodes_missing_value_tracks_true");
        let count = splits.len();
        let lengths = [modes.len(), features.len(), yes.len(), yes_leaf.len(), no.len(), no_leaf.len()];
        if lengths.iter().any(|len| *len != count) || (!missing.is_empty() && missing.len() != count) {
            return Err(Fault::Bad(format!("lists of its {count} nodes differ in length: {lengths:?}")));
        }
        if attributes.tensor("membership_values").is_some() {
            return Err(Fault::unsupported("tests of membership", "comparisons"));
        }
        let weights = self.numbers(attributes, "leaf_weights")?.unwrap_or_default();
        let targets = ints("leaf_targetids");
        if targets.len() != weights.len() || weights.is_empty() {
            return Err(Fault::Bad(format!("{} targets for {} leaves", targets.len(), weights.len())));
        }
        let scores = targets.iter().zip(&weights).map(|(target, weight)| vec![(*target, *weight as f32)]).collect();
        // Leaves stand behind the branches.
        let place = |index: i64, leaf: i64| {
            let (limit, offset) = if leaf == 0 { (count, 0) } else { (weights.len(), count) };
            let index = usize::try_from(index).ok().filter(|index| *index < limit);
            index.map(|index| offset + index).ok_or_else(|| Fault::Bad("a branch leads nowhere".into()))
        };
        let mut nodes = Vec::with_capacity(count + weights.len());
        for at in 0..count {
            let (next, other) = (place(yes[at], yes_leaf[at])?, place(no[at], no_leaf[at])?);
            let number = usize::try_from(modes[at]).unwrap_or(usize::MAX);
            let mode = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"].get(number);
            nodes.push(FileNode::Branch {
                feature: features[at],
                test: test(mode.copied().unwrap_or("a membership test"))?,
                missing: missing.get(at).is_some_and(|missing| *missing != 0),
                threshold: splits[at],
                yes: next,
                no: other,
            });
        }
        nodes.extend((0..weights.len()).map(FileNode::Leaf));
        let roots = ints("tree_roots").iter().map(|root| place(*root, 0)).collect::<Result<Vec<_>, _>>()?;
        // A tree that is one leaf has no form of its own: both ways of its branch lead there.
        Ok(FileTrees { nodes, roots, scores })
    }
}

fn test(mode: &str) -> Result<Test, Fault> {
    Ok(match mode {
        "BRANCH_LEQ" => Test::LessOrEqual,
        "BRANCH_LT" => Test::Less,
        "BRANCH_GTE" => Test::GreaterOrEqual,
        "BRANCH_GT" => Test::Greater,
        "BRANCH_EQ" => Test::Equal,
        "BRANCH_NEQ" => Test::NotEqual,
        other => {
            return Err(Fault::unsupported(
                format!("node mode {}", super::shown(other)),
                "BRANCH_LEQ, BRANCH_LT, BRANCH_GTE, BRANCH_GT, BRANCH_EQ, BRANCH_NEQ, LEAF",
            ));
        }
    })
}

fn aggregate(attributes: &Attributes<'_>) -> Result<Aggregate, Fault> {
    let name = attributes.text("aggregate_function").filter(|name| !name.is_empty());
    // The newer form has numbers.
    Ok(match (name.as_deref(), attributes.int("aggregate_function", 1)) {
        (Some("AVERAGE"), _) | (None, 0) => Aggregate::Average,
        (Some("SUM"), _) | (None, 1) => Aggregate::Sum,
        (Some("MIN"), _) | (None, 2) => Aggregate::Min,
        (Some("MAX"), _) | (None, 3) => Aggregate::Max,
        _ => return Err(Fault::Bad("its aggregate_function does not exist".into())),
    })
}

fn post_transform(attributes: &Attributes<'_>) -> String {
    let text = attributes.text("post_transform").filter(|text| !text.is_empty());
    let number = usize::try_from(attributes.int("post_transform", 0)).unwrap_or(usize::MAX);
    let named = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"].get(number).copied();
    text.unwrap_or_else(|| named.unwrap_or("of an unknown number").to_owned())
}

/// A number for each output.
fn spread(base: Vec<f32>, outputs: usize) -> Result<Vec<f32>, Fault> {
    match base.len() {
        0 => Ok(vec![0.0; outputs]),
        1 => Ok(vec![base[0]; outputs]),
        len if len == outputs => Ok(base),
        len => Err(Fault::Bad(format!("{len} base values for {outputs} outputs"))),
    }
}

/// The largest 32-bit float that is not above a threshold: comparing 32-bit features with it gives the same answers.
fn narrowed(threshold: f64, test: Test) -> f32 {
    let near = threshold as f32;
    match test {
        Test::LessOrEqual | Test::Greater if f64::from(near) > threshold => near.next_down(),
        Test::Less | Test::GreaterOrEqual if f64::from(near) < threshold => near.next_up(),
        _ => near,
    }
}

/// Nodes in the order of boards, checked.
fn forest(
    trees: &FileTrees,
    features: usize,
    base: Vec<f32>,
    aggregate: Aggregate,
    output: impl Fn(i64) -> i64,
) -> Result<Forest, Fault> {
    let outputs = base.len();
    let mut scores: Vec<(u16, f32)> = Vec::new();
    let mut leaf = |index: usize| -> Result<TreeNode, Fault> {
        let mut listed = Vec::with_capacity(trees.scores[index].len());
        for (id, weight) in &trees.scores[index] {
            let place = u16::try_from(output(*id)).ok().filter(|place| usize::from(*place) < outputs);
            let place = place.ok_or_else(|| Fault::Bad(format!("a leaf has a score for output {id} of {outputs}")))?;
            if !weight.is_finite() {
                return Err(Fault::Bad("a leaf's weight is not finite".into()));
            }
            listed.push((place, *weight));
        }
        if let [(output, weight)] = listed.as_slice() {
            return Ok(TreeNode::leaf(*output, *weight));
        }
        // Leaves often have the same scores.
        let begin = scores.windows(listed.len().max(1)).position(|window| window == listed).unwrap_or(scores.len());
        if begin == scores.len() {
            scores.extend(&listed);
        }
        match (u16::try_from(listed.len()), u16::try_from(begin)) {
            (Ok(count @ 0..=4_095), Ok(begin)) => Ok(TreeNode::scores(count, begin)),
            _ => Err(Fault::unsupported("more than 65536 scores of leaves", "a smaller ensemble")),
        }
    };
    let mut nodes: Vec<TreeNode> = Vec::with_capacity(trees.nodes.len());
    let mut roots = Vec::with_capacity(trees.roots.len());
    for root in &trees.roots {
        roots.push(u32::try_from(nodes.len()).map_err(|_| Fault::Bad("too many nodes".into()))?);
        // What is still to be written, and the branch whose failed test leads there.
        let mut open = vec![(*root, None)];
        while let Some((index, from)) = open.pop() {
            let at = nodes.len();
            if at > trees.nodes.len() + trees.roots.len() {
                return Err(Fault::Bad("its nodes form a circle, or are shared".into()));
            }
            if let Some(from) = from {
                let branch: &mut TreeNode = &mut nodes[from];
                let distance: usize = at - from;
                branch.next = u16::try_from(distance)
                    .map_err(|_| Fault::unsupported("a tree of more than 65535 nodes", "smaller trees"))?;
            }
            match trees.nodes[index] {
                FileNode::Leaf(index) => nodes.push(leaf(index)?),
                FileNode::Branch { feature, test, missing, threshold, yes, no } => {
                    let place = u16::try_from(feature).ok().filter(|place| usize::from(*place) < features);
                    let feature =
                        place.ok_or_else(|| Fault::Bad(format!("a node tests feature {feature} of {features}")))?;
                    if threshold.is_nan() {
                        return Err(Fault::Bad("a threshold is not a number".into()));
                    }
                    nodes.push(TreeNode::branch(feature, test, missing, narrowed(threshold, test), 0));
                    open.push((no, Some(at)));
                    open.push((yes, None));
                }
            }
        }
    }
    if roots.is_empty() {
        return Err(Fault::Bad("it has no trees".into()));
    }
    Ok(Forest { features, nodes, roots, scores, base, aggregate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_keep_their_meaning_in_fewer_bits() {
        let threshold = 0.1_f64;
        let near = narrowed(threshold, Test::LessOrEqual);
        assert!(f64::from(near) <= threshold && f64::from(near.next_up()) > threshold);
        let near = narrowed(threshold, Test::Less);
        assert!(f64::from(near) >= threshold && f64::from(near.next_down()) < threshold);
    }
}
