//! Layers of several shapes for each kernel.

use model_compiler::estimate::Kernel;
use model_compiler::fixed::{self, Multiplier};
use model_compiler::forest::{Aggregate, Forest, Test, TreeNode};
use model_compiler::ir::{Binary, Clamp, Norm, Unary, Window};
use model_compiler::qir::{Bounds, Element, Linear, QBinary, QBlend, QNode, QOp, QTensor, QuantGraph};
use model_compiler::real::Real;
use model_compiler::strided::{Broadcast, Strided};

/// Models of two different layers of this kernel each, so that no compiler folds one layer's geometry into the kernel.
pub fn of(kernel: Kernel) -> Vec<QuantGraph> {
    let layers = layers(kernel);
    let of = |element: Element| {
        let layers: Vec<&Layer> = layers.iter().filter(|layer| layer.elements.0 == element).collect();
        (0..layers.len()).map(move |at| model(&[layers[at], layers[(at + 1) % layers.len()]])).collect::<Vec<_>>()
    };
    [of(Element::Int8), of(Element::Float32)].concat()
}

/// The layers of several models in one, which all read its input.
pub fn joined(models: &[QuantGraph]) -> QuantGraph {
    let mut all = models[0].clone();
    for model in &models[1..] {
        let first = all.tensors.len();
        all.tensors.extend(model.tensors.iter().cloned());
        let longest = all.tensors[0].len().max(model.tensors[0].len());
        all.tensors[0].shape = vec![1, longest];
        for node in &model.nodes {
            let mut node = node.clone();
            node.inputs.iter_mut().for_each(|input| *input = 0);
            node.output += first;
            all.nodes.push(node);
        }
        all.output = model.output + first;
    }
    all
}

/// Deterministic int8 values.
pub fn noise(count: usize, mut seed: u64) -> Vec<i8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as i8
    };
    (0..count).map(|_| next().max(-127)).collect()
}

/// An operator with the lengths of its operand and result.
struct Layer {
    op: QOp,
    from: usize,
    to: usize,
    operands: usize,
    /// What they hold.
    elements: (Element, Element),
}

const INT8: (Element, Element) = (Element::Int8, Element::Int8);

fn model(layers: &[&Layer]) -> QuantGraph {
    let tensor = |len: usize, zero_point: i32, element: Element| QTensor {
        name: "t".into(),
        element,
        shape: vec![1, len],
        scale: 0.05,
        zero_point,
    };
    let longest = layers.iter().map(|layer| layer.from).max().unwrap();
    let mut graph = QuantGraph {
        name: "rates".into(),
        tensors: vec![tensor(longest, -3, layers[0].elements.0)],
        nodes: Vec::new(),
        input: 0,
        output: layers.len(),
        input_shape: vec![1, longest],
        output_shape: vec![1, layers.last().unwrap().to],
    };
    for (index, layer) in layers.iter().enumerate() {
        graph.tensors.push(tensor(layer.to, 4, layer.elements.1));
        let inputs = vec![0; layer.operands];
        graph.nodes.push(QNode { name: "n".into(), inputs, output: index + 1, op: layer.op.clone() });
    }
    graph
}

fn window(h: usize, w: usize, c: usize, kernel: (usize, usize), stride: usize, pad: usize) -> Window {
    let out = |size: usize, kernel: usize| (size + 2 * pad - kernel) / stride + 1;
    Window {
        in_h: h,
        in_w: w,
        in_c: c,
        out_h: out(h, kernel.0),
        out_w: out(w, kernel.1),
        kernel_h: kernel.0,
        kernel_w: kernel.1,
        stride_h: stride,
        stride_w: stride,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: pad,
        pad_left: pad,
        gap_h: 0,
        gap_w: 0,
    }
}

/// A window over an input with a gap behind each pixel; the result is as large as the input with its gaps.
fn gapped(h: usize, w: usize, c: usize, kernel: usize) -> Window {
    Window { in_h: h, in_w: w, gap_h: 1, gap_w: 1, ..window(2 * h - 1, 2 * w - 1, c, (kernel, kernel), 1, 1) }
}

const CLAMPED: Bounds = Bounds { low: -100, high: 100 };

/// `fast`: with multipliers that packed kernels take.
fn linear(channels: usize, taps: usize, each: bool, fast: bool, bounds: Bounds) -> Linear {
    let shift = |channel: usize| if fast { -7 - (channel % 3) as i32 } else { 0 };
    let multipliers = if each { channels } else { 1 };
    Linear {
        weights: noise(channels * taps, 11),
        bias: noise(channels, 3).iter().map(|v| i32::from(*v) * 9).collect(),
        requant: (0..multipliers)
            .map(|c| Multiplier { value: 1_200_000_000 + c as i32 * 77_777, shift: shift(c) })
            .collect(),
        bounds,
    }
}

fn conv(w: Window, out_c: usize, each: bool, fast: bool, bounds: Bounds) -> Layer {
    let linear = linear(out_c, w.taps() * w.in_c, each, fast, bounds);
    let (from, to) = (w.in_h * w.in_w * w.in_c, w.out_pixels() * out_c);
    Layer { op: QOp::Conv2d { window: w, out_c, linear }, from, to, operands: 1, elements: INT8 }
}

fn depthwise(w: Window, multiplier: usize, fast: bool, bounds: Bounds) -> Layer {
    let channels = w.in_c * multiplier;
    let linear = linear(channels, w.taps(), true, fast, bounds);
    let (from, to) = (w.in_h * w.in_w * w.in_c, w.out_pixels() * channels);
    Layer { op: QOp::DepthwiseConv2d { window: w, multiplier, linear }, from, to, operands: 1, elements: INT8 }
}

fn dense(inputs: usize, outputs: usize, each: bool, fast: bool, bounds: Bounds) -> Layer {
    let linear = linear(outputs, inputs, each, fast, bounds);
    Layer { op: QOp::Dense { inputs, outputs, linear }, from: inputs, to: outputs, operands: 1, elements: INT8 }
}

fn plain(op: QOp, len: usize) -> Layer {
    Layer { op, from: len, to: len, operands: 1, elements: INT8 }
}

fn binary(function: Binary, a: &[usize], b: &[usize], constant: bool) -> Layer {
    let (meet, shape) = Broadcast::of(a, b).unwrap();
    let function = QBinary::of(function, 0.05, 0.04, 0.07);
    let constant = constant.then(|| noise(b.iter().product(), 9));
    let operands = if constant.is_some() { 1 } else { 2 };
    let op = QOp::Binary { function, meet, constant, other_zero: 0, bounds: Bounds::FULL };
    let len = |dims: &[usize]| dims.iter().product::<usize>();
    Layer { op, from: len(a).max(len(b)), to: len(&shape), operands, elements: INT8 }
}

fn binaries(function: Binary) -> Vec<Layer> {
    vec![
        binary(function, &[2, 40], &[2, 40], false),
        binary(function, &[16, 8], &[8], true),
        binary(function, &[30, 3], &[3], true),
        binary(function, &[6, 6, 10], &[6, 1, 10], false),
        binary(function, &[200], &[200], true),
    ]
}

fn layers(kernel: Kernel) -> Vec<Layer> {
    let full = Bounds::FULL;
    let one = Multiplier { value: 1_300_000_000, shift: 0 };
    match kernel {
        Kernel::RealLinear | Kernel::RealBinary | Kernel::RealUnary | Kernel::RealRows | Kernel::Trees => reals(kernel),
        Kernel::ConvPacked => [
            (window(8, 8, 4, (3, 3), 1, 1), 4, full),
            (window(6, 5, 8, (3, 3), 1, 0), 10, full),
            (window(9, 9, 1, (3, 3), 2, 1), 8, full),
            (window(12, 10, 1, (5, 3), 1, 1), 4, CLAMPED),
            (window(7, 7, 3, (1, 1), 2, 0), 12, full),
            (window(5, 5, 16, (3, 3), 1, 1), 16, full),
            (window(16, 16, 16, (3, 3), 1, 1), 16, full),
            (window(16, 16, 16, (3, 3), 2, 0), 32, CLAMPED),
            (window(49, 10, 1, (10, 4), 2, 1), 32, full),
            (window(20, 6, 2, (2, 2), 1, 0), 2, CLAMPED),
            (window(4, 4, 30, (1, 1), 1, 0), 6, full),
            (window(3, 9, 7, (3, 2), 1, 1), 2, full),
            (window(8, 4, 2, (1, 3), 1, 1), 14, full),
            (window(10, 10, 1, (4, 4), 3, 1), 6, CLAMPED),
            (window(6, 6, 6, (2, 2), 2, 0), 20, full),
            (window(1, 20, 10, (1, 5), 1, 2), 4, full),
        ]
        .map(|(w, out_c, bounds)| conv(w, out_c, true, true, bounds))
        .into(),
        Kernel::PointPacked => [
            (window(6, 6, 8, (1, 1), 1, 0), 8, full),
            (window(4, 4, 16, (1, 1), 1, 0), 32, full),
            (window(9, 5, 4, (1, 1), 1, 0), 12, CLAMPED),
            (window(3, 3, 64, (1, 1), 1, 0), 10, full),
            (window(12, 12, 64, (1, 1), 1, 0), 64, full),
            (window(6, 6, 128, (1, 1), 1, 0), 128, CLAMPED),
            (window(1, 1, 40, (1, 1), 1, 0), 2, full),
            (window(2, 3, 12, (1, 1), 1, 0), 24, full),
            (window(10, 6, 4, (1, 1), 1, 0), 2, full),
            (window(5, 5, 20, (1, 1), 1, 0), 6, CLAMPED),
            (window(2, 2, 100, (1, 1), 1, 0), 4, full),
        ]
        .map(|(w, out_c, bounds)| conv(w, out_c, true, true, bounds))
        .into(),
        Kernel::OddPacked => [
            (window(8, 8, 4, (3, 3), 1, 1), 3, true, full),
            (window(6, 5, 8, (3, 3), 1, 0), 9, true, full),
            (window(9, 9, 1, (3, 3), 2, 1), 8, false, full),
            (window(7, 7, 3, (1, 1), 2, 0), 11, true, CLAMPED),
            (window(5, 5, 12, (3, 3), 1, 1), 12, false, CLAMPED),
            (window(16, 16, 16, (3, 3), 1, 1), 15, true, full),
            (window(1, 1, 40, (1, 1), 1, 0), 1, true, full),
            (window(20, 6, 2, (2, 2), 1, 0), 2, false, full),
            (window(12, 12, 8, (1, 1), 1, 0), 5, true, full),
            (window(3, 9, 7, (3, 2), 1, 1), 3, true, full),
            (window(8, 4, 2, (1, 3), 1, 1), 7, true, full),
            (window(10, 10, 1, (4, 4), 3, 1), 5, true, CLAMPED),
            (window(6, 6, 6, (2, 2), 2, 0), 13, true, full),
            (window(4, 4, 30, (1, 1), 1, 0), 1, false, full),
        ]
        .map(|(w, out_c, each, bounds)| conv(w, out_c, each, true, bounds))
        .into(),
        Kernel::DensePacked => [(16, 16), (1, 16), (64, 10), (200, 9), (30, 4), (640, 128), (128, 128)]
            .map(|(inputs, outputs)| dense(inputs, outputs, false, true, full))
            .into(),
        Kernel::EachPacked => [
            (16, 16, true, full),
            (1, 16, false, CLAMPED),
            (64, 10, true, full),
            (200, 9, true, CLAMPED),
            (30, 4, false, CLAMPED),
            (640, 128, true, full),
            (128, 128, false, CLAMPED),
        ]
        .map(|(inputs, outputs, each, bounds)| dense(inputs, outputs, each, true, bounds))
        .into(),
        Kernel::ThreePacked => [
            (window(8, 8, 8, (3, 3), 1, 1), full),
            (window(9, 7, 6, (3, 3), 2, 1), full),
            (window(12, 5, 4, (3, 3), 1, 0), CLAMPED),
            (window(3, 3, 24, (3, 3), 1, 1), full),
            (window(4, 4, 24, (3, 3), 2, 0), full),
            (window(24, 24, 32, (3, 3), 1, 1), full),
            (window(24, 24, 16, (3, 3), 2, 0), full),
            (window(25, 5, 64, (3, 3), 1, 1), CLAMPED),
            (window(6, 10, 4, (3, 3), 2, 1), CLAMPED),
            (window(10, 4, 3, (3, 3), 1, 1), full),
            (window(4, 12, 6, (3, 3), 1, 0), full),
            (window(5, 5, 12, (3, 3), 2, 1), full),
            (window(12, 3, 10, (3, 3), 1, 1), CLAMPED),
            (window(7, 12, 2, (3, 3), 2, 1), full),
        ]
        .map(|(w, bounds)| depthwise(w, 1, true, bounds))
        .into(),
        Kernel::DepthwisePacked => [
            window(8, 8, 8, (5, 5), 1, 2),
            window(9, 7, 6, (2, 2), 2, 1),
            window(12, 5, 4, (3, 1), 1, 0),
            window(3, 3, 24, (3, 3), 3, 1),
            window(30, 1, 8, (5, 1), 1, 0),
            window(1, 24, 6, (1, 7), 1, 0),
            window(20, 20, 16, (5, 5), 2, 2),
            window(16, 16, 8, (4, 4), 1, 0),
            window(8, 8, 4, (3, 4), 1, 1),
            window(6, 6, 10, (2, 2), 1, 0),
            window(7, 9, 3, (1, 5), 1, 2),
        ]
        .map(|w| depthwise(w, 1, true, full))
        .into(),
        Kernel::Conv => [
            (window(6, 6, 4, (3, 3), 1, 1), 4),
            (window(6, 5, 8, (3, 3), 1, 0), 7),
            (window(9, 9, 1, (3, 3), 2, 1), 8),
            (window(7, 7, 3, (1, 1), 1, 0), 5),
            (window(5, 5, 16, (2, 2), 1, 0), 3),
            (window(3, 3, 30, (1, 1), 1, 0), 12),
        ]
        .map(|(w, out_c)| conv(w, out_c, true, false, full))
        .into(),
        Kernel::Depthwise => [
            (window(6, 6, 4, (3, 3), 1, 1), 2),
            (window(6, 5, 8, (3, 3), 1, 0), 1),
            (window(9, 9, 2, (5, 5), 2, 2), 1),
            (window(7, 7, 3, (2, 1), 1, 0), 3),
            (window(5, 5, 16, (1, 1), 1, 0), 1),
        ]
        .map(|(w, multiplier)| depthwise(w, multiplier, false, full))
        .into(),
        Kernel::ConvTransposed => {
            [(gapped(4, 4, 4, 3), 4), (gapped(3, 5, 9, 3), 3), (gapped(5, 2, 2, 4), 8), (gapped(6, 6, 1, 5), 4)]
                .map(|(w, out_c)| conv(w, out_c, true, true, full))
                .into()
        }
        Kernel::DepthwiseTransposed => {
            [gapped(4, 4, 4, 3), gapped(3, 5, 9, 4), gapped(5, 2, 12, 3), gapped(6, 6, 2, 5)]
                .map(|w| depthwise(w, 1, true, full))
                .into()
        }
        Kernel::Dense => [(16, 16), (1, 16), (64, 10), (200, 9), (30, 4)]
            .map(|(inputs, outputs)| dense(inputs, outputs, true, false, full))
            .into(),
        Kernel::MaxPool | Kernel::AveragePool => [
            window(8, 8, 4, (2, 2), 2, 0),
            window(6, 6, 8, (3, 3), 1, 1),
            window(5, 4, 16, (5, 4), 1, 0),
            window(12, 12, 2, (2, 3), 2, 0),
            window(25, 5, 64, (25, 5), 1, 0),
            window(9, 9, 3, (1, 1), 2, 0),
        ]
        .map(|window| {
            let (from, to) = (window.in_h * window.in_w * window.in_c, window.out_pixels() * window.in_c);
            let op = if kernel == Kernel::MaxPool {
                QOp::MaxPool { window, bounds: full }
            } else {
                QOp::AveragePool { window, bounds: full }
            };
            Layer { op, from, to, operands: 1, elements: INT8 }
        })
        .into(),
        Kernel::Add => [10, 100, 300]
            .map(|len| {
                let half = Multiplier { value: 1 << 30, shift: 0 };
                let sum = Multiplier { value: 1 << 30, shift: -18 };
                let op = QOp::Add { operands: [half, one], sum, bounds: full };
                Layer { op, from: len, to: len, operands: 2, elements: INT8 }
            })
            .into(),
        Kernel::Softmax => [(1, 10), (1, 2), (12, 4), (3, 40), (1, 100)]
            .map(|(rows, depth)| {
                let (multiplier, diff_min) = fixed::softmax_parameters(0.05, 1.0);
                plain(QOp::Softmax { rows, depth, multiplier, diff_min }, rows * depth)
            })
            .into(),
        Kernel::Rescale => [10, 100, 300].map(|len| plain(QOp::Rescale { multiplier: one, bounds: full }, len)).into(),
        Kernel::Lookup => [10, 100, 300].map(|len| plain(QOp::Lookup { table: noise(256, 7) }, len)).into(),
        Kernel::Concat => [(1, vec![30, 50]), (20, vec![4, 8]), (64, vec![3, 1]), (5, vec![20, 20, 20])]
            .map(|(outer, inner)| {
                let len = outer * inner.iter().sum::<usize>();
                let (operands, from) = (inner.len(), outer * inner.iter().max().unwrap());
                Layer {
                    op: QOp::Concat { outer, multipliers: vec![one; operands], inner },
                    from,
                    to: len,
                    operands,
                    elements: INT8,
                }
            })
            .into(),
        Kernel::Pad => [([1, 6, 6, 4], [0, 1, 1, 0]), ([1, 1, 20, 3], [0, 0, 2, 0]), ([1, 12, 12, 1], [0, 2, 2, 0])]
            .map(|(dims, around)| {
                let op = QOp::Pad { dims, before: around, after: around, fill: 0 };
                let to = (0..4).map(|axis| dims[axis] + 2 * around[axis]).product();
                Layer { op, from: dims.iter().product(), to, operands: 1, elements: INT8 }
            })
            .into(),
        Kernel::Sum => binaries(Binary::Sub),
        Kernel::Mul => binaries(Binary::Mul),
        Kernel::Extreme => binaries(Binary::Maximum),
        Kernel::PRelu => binaries(Binary::PRelu),
        Kernel::Mean => [(1, 25, 8), (4, 3, 30), (1, 200, 2), (10, 20, 1)]
            .map(|(outer, count, inner)| {
                let op = QOp::Mean { outer, count, inner, multiplier: Multiplier { shift: -4, ..one } };
                Layer { op, from: outer * count * inner, to: outer * inner, operands: 1, elements: INT8 }
            })
            .into(),
        Kernel::Move => [(vec![4, 6], vec![1, 4]), (vec![6, 6, 4], vec![4, 24, 1]), (vec![100], vec![2])]
            .map(|(counts, steps): (Vec<usize>, Vec<isize>)| {
                let to = counts.iter().product();
                let last: isize = counts.iter().zip(&steps).map(|(count, step)| (*count as isize - 1) * step).sum();
                let op = QOp::Strided { path: Strided { counts, steps, begin: 0 } };
                Layer { op, from: last.unsigned_abs() + 1, to, operands: 1, elements: INT8 }
            })
            .into(),
        Kernel::Gather => [(4, 6, 3, vec![5, 0, 2]), (1, 10, 30, vec![9, 8]), (6, 20, 1, vec![3; 16])]
            .map(|(outer, count, inner, indices)| {
                let to = outer * indices.len() * inner;
                Layer {
                    op: QOp::Gather { outer, count, inner, indices },
                    from: outer * count * inner,
                    to,
                    operands: 1,
                    elements: INT8,
                }
            })
            .into(),
        Kernel::Interpolate => [(3, 3, 4), (2, 6, 1), (4, 2, 12)]
            .map(|(height, width, channels)| {
                let blends = |size: usize| -> Vec<QBlend> {
                    let low = |at: usize| (at / 2).min(size - 2) as u16;
                    (0..2 * size).map(|at| QBlend { low: low(at), high: low(at) + 1, share: 300 }).collect()
                };
                let op = QOp::Interpolate { width, channels, rows: blends(height), columns: blends(width) };
                Layer {
                    op,
                    from: height * width * channels,
                    to: 4 * height * width * channels,
                    operands: 1,
                    elements: INT8,
                }
            })
            .into(),
    }
}

/// Layers in 32-bit floats, each with int8 and floats on either side.
fn reals(kernel: Kernel) -> Vec<Layer> {
    let all = [Element::Int8, Element::Float32];
    // Trees store floats.
    let kinds = all.iter().flat_map(|from| all.map(|to| (*from, to)));
    let kinds = kinds.filter(|(_, to)| kernel != Kernel::Trees || *to == Element::Float32);
    let of = |elements: (Element, Element)| {
        real(kernel).into_iter().map(move |(op, from, to, operands)| Layer {
            op: QOp::Real(op),
            from,
            to,
            operands,
            elements,
        })
    };
    kinds.flat_map(of).collect()
}

fn reals_noise(count: usize) -> Vec<f32> {
    noise(count, 13).iter().map(|value| f32::from(*value) / 64.0).collect()
}

/// Operators with the lengths of their operands and results, and how many operands they have.
fn real(kernel: Kernel) -> Vec<(Real, usize, usize, usize)> {
    match kernel {
        Kernel::RealLinear => [
            (Window::pointwise(1, 30), 6, None),
            (Window::pointwise(1, 4), 12, None),
            (Window::pointwise(1, 60), 3, None),
            (window(6, 6, 4, (3, 3), 1, 1), 4, None),
            (window(5, 5, 3, (3, 3), 1, 0), 6, None),
            (window(6, 6, 4, (3, 3), 1, 1), 4, Some(1)),
            (window(7, 5, 3, (2, 2), 2, 0), 6, Some(2)),
        ]
        .map(|(window, out_c, multiplier)| {
            let inputs = if multiplier.is_some() { 1 } else { window.in_c };
            let weights = reals_noise(out_c * window.taps() * inputs);
            let (from, to) = (window.in_h * window.in_w * window.in_c, window.out_pixels() * out_c);
            (
                Real::Linear { window, out_c, multiplier, weights, bias: reals_noise(out_c), clamp: Clamp::NONE },
                from,
                to,
                1,
            )
        })
        .into(),
        Kernel::RealBinary => [
            (Binary::Add, vec![2, 40], vec![2, 40], false),
            (Binary::Mul, vec![16, 8], vec![8], true),
            (Binary::Sub, vec![30, 3], vec![3], true),
            (Binary::Mul, vec![100], vec![100], false),
        ]
        .map(|(function, a, b, constant)| {
            let (meet, shape) = Broadcast::of(&a, &b).unwrap();
            let len = shape.iter().product();
            let constant = constant.then(|| reals_noise(b.iter().product()));
            let operands = if constant.is_some() { 1 } else { 2 };
            (Real::Binary { function, meet, constant, clamp: Clamp::NONE }, len, len, operands)
        })
        .into(),
        Kernel::RealUnary => [
            (Some(Unary::Sigmoid), 10),
            (Some(Unary::Tanh), 80),
            (Some(Unary::Sigmoid), 60),
            (Some(Unary::LeakyRelu { alpha: 0.1 }), 20),
            (Some(Unary::LeakyRelu { alpha: 0.1 }), 100),
            (Some(Unary::Abs), 50),
        ]
        .map(|(function, len)| (Real::Unary { function, clamp: Clamp::NONE }, len, len, 1))
        .into(),
        Kernel::RealRows => [
            (1, 10, Norm::Softmax),
            (8, 4, Norm::Softmax),
            (1, 60, Norm::Softmax),
            (1, 40, Norm::L1),
            (6, 5, Norm::L1),
            (2, 20, Norm::L2),
        ]
        .map(|(rows, depth, norm)| (Real::Rows { rows, depth, norm }, rows * depth, rows * depth, 1))
        .into(),
        _ => [(1, 4, 3, 1), (10, 3, 3, 1), (6, 5, 4, 4), (20, 2, 2, 1), (3, 5, 3, 3), (12, 1, 2, 1)]
            .map(|(trees, depth, outputs, scores)| {
                let forest = forest(trees, depth, outputs, scores);
                (Real::Trees { forest }, forest_features(depth), usize::from(outputs), 1)
            })
            .into(),
    }
}

fn forest_features(depth: u16) -> usize {
    4 + usize::from(depth)
}

/// Whole trees of one depth; a leaf scores for one output, or for several.
fn forest(trees: u16, depth: u16, outputs: u16, scores: u16) -> Forest {
    fn grow(nodes: &mut Vec<TreeNode>, tables: &mut Vec<(u16, f32)>, depth: u16, outputs: u16, scores: u16) {
        let at = nodes.len();
        if depth == 0 {
            if scores == 1 {
                nodes.push(TreeNode::leaf(at as u16 % outputs, 0.5));
            } else {
                nodes.push(TreeNode::scores(scores, tables.len() as u16));
                tables.extend((0..scores).map(|score| (score % outputs, 0.25)));
            }
            return;
        }
        nodes.push(TreeNode::branch(depth + at as u16 % 4, Test::LessOrEqual, false, 0.0, 0));
        grow(nodes, tables, depth - 1, outputs, scores);
        nodes[at].next = (nodes.len() - at) as u16;
        grow(nodes, tables, depth - 1, outputs, scores);
    }
    let (mut nodes, mut roots, mut tables) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..trees {
        roots.push(nodes.len() as u32);
        grow(&mut nodes, &mut tables, depth, outputs, scores);
    }
    let base = vec![0.0; usize::from(outputs)];
    Forest { features: forest_features(depth), nodes, roots, scores: tables, base, aggregate: Aggregate::Sum }
}
