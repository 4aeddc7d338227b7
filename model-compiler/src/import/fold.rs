//! Exact simplifications of a fresh graph: affine layers join the layer before
//! them, activations become bounds of the operator before them.

use std::collections::HashMap;

use crate::ir::{Graph, Node, Op, Tensor, TensorId};
use crate::strided::Strided;

/// Applies all of them and drops the nodes that became superfluous.
pub(super) fn fold(graph: &mut Graph) {
    let mut kept: Vec<Node> = Vec::with_capacity(graph.nodes.len());
    let readers = readers(graph);
    // Tensors that are others.
    let mut same: HashMap<TensorId, TensorId> = HashMap::new();
    for mut node in std::mem::take(&mut graph.nodes) {
        node.inputs.iter_mut().for_each(|input| *input = *same.get(input).unwrap_or(input));
        rejoined(&kept, &mut node, &graph.tensors);
        if let Op::Strided { path } = &node.op
            && node.output != graph.output
            && path.is_identity(graph.tensors[node.inputs[0]].len())
        {
            same.insert(node.output, node.inputs[0]);
            continue;
        }
        if let Some(input) = node.inputs.first().copied()
            && readers[input] == 1
            && joined(&mut kept, input, &node, &readers)
        {
            continue;
        }
        let node = unpadded(&mut kept, node, &readers);
        kept.push(node);
    }
    // Makers of what nobody reads any more.
    graph.nodes = kept;
    loop {
        let (readers, before) = (self::readers(graph), graph.nodes.len());
        graph.nodes.retain(|node| readers[node.output] > 0);
        if graph.nodes.len() == before {
            break;
        }
    }
}

/// A concatenation of neighbouring parts of one tensor is that tensor, or a part of it.
fn rejoined(kept: &[Node], node: &mut Node, tensors: &[Tensor]) {
    let Op::Concat { outer: 1, .. } = node.op else { return };
    let mut parts = node.inputs.iter().map(|input| {
        let maker = kept.iter().rfind(|maker| maker.output == *input)?;
        match &maker.op {
            Op::Strided { path } if path.len() == 1 || path.steps == [1] => {
                Some((maker.inputs[0], path.begin, path.len()))
            }
            _ => None,
        }
    });
    let Some(Some((source, begin, mut count))) = parts.next() else { return };
    for part in parts {
        match part {
            Some((from, at, len)) if from == source && at == begin + count => count += len,
            _ => return,
        }
    }
    if begin + count <= tensors[source].len() {
        node.inputs = vec![source];
        node.op = Op::Strided { path: Strided { counts: vec![count], steps: vec![1], begin } };
    }
}

/// A convolution that takes over the zeros that a Pad before it would write.
fn unpadded(kept: &mut Vec<Node>, mut node: Node, readers: &[usize]) -> Node {
    let (Op::Conv2d { window, .. } | Op::DepthwiseConv2d { window, .. }) = &mut node.op else {
        return node;
    };
    let input = node.inputs[0];
    let Some(at) = kept.iter().rposition(|maker| maker.output == input) else {
        return node;
    };
    // Only an image that is stored as one: a signal's or a row's axes mean something else.
    if let Op::Pad { dims: [1, height, width, channels], before: [0, top, left, 0], after: [0, _, _, 0], fill } =
        kept[at].op
        && fill == 0.0
        && !window.has_gaps()
        && readers[input] == 1
        && channels == window.in_c
        && kept[at].padded_size() == [window.in_h, window.in_w]
    {
        window.in_h = height;
        window.in_w = width;
        window.pad_top += top;
        window.pad_left += left;
        node.inputs[0] = kept[at].inputs[0];
        kept.remove(at);
    }
    node
}

/// Number of readers of each tensor; the caller of the graph reads its output.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.tensors.len()];
    for input in graph.nodes.iter().flat_map(|node| &node.inputs) {
        readers[*input] += 1;
    }
    readers[graph.output] += 1;
    readers
}

/// Joins `node` with the maker of its only operand, if that is exact.
fn joined(kept: &mut [Node], input: TensorId, node: &Node, readers: &[usize]) -> bool {
    let Some(at) = kept.iter().rposition(|maker| maker.output == input) else {
        return false;
    };
    let done = match &node.op {
        Op::DepthwiseConv2d { window, multiplier: 1, weights, bias, clamp }
            if window.taps() == 1
                && (window.stride_h, window.stride_w) == (1, 1)
                && (window.out_h, window.out_w) == (window.in_h, window.in_w) =>
        {
            let done = scaled(&mut kept[at].op, weights, bias);
            if done && let Some(fused) = kept[at].op.clamp_mut() {
                *fused = *clamp;
            }
            done
        }
        Op::Clamp { clamp } => {
            // max(clamp(x)) = clamp(max(x)): bounds pass through a max pool.
            let mut target = at;
            while let Op::MaxPool { .. } = kept[target].op {
                let from = kept[target].inputs[0];
                match kept.iter().rposition(|maker| maker.output == from) {
                    Some(before) if readers[from] == 1 => target = before,
                    _ => break,
                }
            }
            match kept[target].op.clamp_mut() {
                Some(fused) => {
                    *fused = fused.then(clamp);
                    true
                }
                None => false,
            }
        }
        _ => false,
    };
    if done {
        kept[at].output = node.output;
    }
    done
}

/// Multiplies the channels of a linear operator and adds to them; false if it is not linear.
fn scaled(op: &mut Op, mul: &[f32], add: &[f32]) -> bool {
    let (weights, bias, clamp, channel_last) = match op {
        Op::Conv2d { weights, bias, clamp, .. } | Op::Dense { weights, bias, clamp, .. } => {
            (weights, bias, clamp, false)
        }
        Op::DepthwiseConv2d { weights, bias, clamp, .. } => (weights, bias, clamp, true),
        _ => return false,
    };
    let channels = bias.len();
    if *clamp != crate::ir::Clamp::NONE || channels != mul.len() {
        return false;
    }
    let per_channel = weights.len() / channels;
    for (index, weight) in weights.iter_mut().enumerate() {
        *weight *= if channel_last { mul[index % channels] } else { mul[index / per_channel] };
    }
    for ((bias, mul), add) in bias.iter_mut().zip(mul).zip(add) {
        *bias = *bias * mul + add;
    }
    true
}
