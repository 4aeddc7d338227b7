//! What each TFLite operator does, whatever its numbers are: geometry and
//! constants from the file, checked against the shapes of operands and results.

use super::attributes::axis;
use super::resample::{self, Coordinates};
use super::tflite_file::{File, FileTensor, Kind, Operator};
use super::tflite_move as moves;
use super::{Fault, SUPPORTED_TFLITE};
use crate::ir::{Binary, Blend, Clamp, Window};
use crate::strided::{Broadcast, Strided};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Logistic,
    Tanh,
    HardSwish,
    LeakyRelu(f32),
}

/// One operator, decoded.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// The same elements under another shape.
    Reshape,
    /// Nothing at run time: shapes that are put together.
    Nothing,
    Conv {
        window: Window,
        out_c: usize,
        depthwise: bool,
        /// The kernel is turned around: a transposed convolution.
        turned: bool,
        weights: FileTensor<'a>,
        bias: Option<FileTensor<'a>>,
        clamp: Clamp,
    },
    Dense {
        rows: usize,
        inputs: usize,
        outputs: usize,
        weights: FileTensor<'a>,
        bias: Option<FileTensor<'a>>,
        clamp: Clamp,
    },
    Pool {
        window: Window,
        max: bool,
        clamp: Clamp,
    },
    /// The operand that is not constant comes first; `second` is an operand or a constant.
    Binary {
        function: Binary,
        meet: Broadcast,
        first: i32,
        second: i32,
        constant: Option<FileTensor<'a>>,
        clamp: Clamp,
    },
    Softmax {
        rows: usize,
        depth: usize,
        beta: f32,
    },
    Function(Function),
    Clamp(Clamp),
    Quantize,
    Dequantize,
    /// Operands, all computed.
    Concat {
        operands: Vec<i32>,
        outer: usize,
        inner: Vec<usize>,
    },
    Pad {
        dims: [usize; 4],
        before: [usize; 4],
        after: [usize; 4],
        /// The value, zero where there is none.
        fill: Option<FileTensor<'a>>,
    },
    /// Entries of one axis after another.
    Gather(Vec<Pick>),
    Interpolate {
        width: usize,
        channels: usize,
        rows: Vec<Blend>,
        columns: Vec<Blend>,
    },
    /// For each result its path through operand `from`.
    Move {
        from: i32,
        paths: Vec<Strided>,
    },
    /// Mean, sum or maximum over the middle of `[outer, count, inner]`, after a permutation where one is needed.
    Reduce {
        path: Option<Strided>,
        outer: usize,
        count: usize,
        inner: usize,
        reduction: Reduction,
    },
}

/// How many values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduction {
    Mean,
    Sum,
    Max,
}

/// Entries of the middle axis of `[outer, count, inner]`.
#[derive(Debug, Clone)]
pub(super) struct Pick {
    pub outer: usize,
    pub count: usize,
    pub inner: usize,
    pub indices: Vec<usize>,
}

impl Pick {
    /// Entries of one axis of a tensor, whose shape it changes.
    pub fn along(shape: &mut [usize], axis: usize, indices: Vec<usize>) -> Result<Self, Fault> {
        if indices.iter().any(|index| *index > 0x7fff) {
            return Err(Fault::unsupported(
                format!("an axis of {} values", shape[axis]),
                "axes of at most 32768 there",
            ));
        }
        let outer = shape[..axis].iter().product();
        let inner = shape[axis + 1..].iter().product();
        let count = std::mem::replace(&mut shape[axis], indices.len());
        Ok(Self { outer, count, inner, indices })
    }

    /// Number of elements of the result.
    pub fn len(&self) -> usize {
        self.outer * self.indices.len() * self.inner
    }
}

/// Decodes an operator.
pub(super) fn step<'a>(file: &File<'a>, op: &Operator<'a>) -> Result<Step<'a>, Fault> {
    let out = |at: usize| -> Result<FileTensor<'a>, Fault> {
        let index = op.outputs.get(at).copied().ok_or_else(|| Fault::Bad("it has no result".into()))?;
        file.tensor(index)
    };
    if out(0)?.kind.is_index() {
        return Ok(Step::Nothing);
    }
    let input = |at: usize| -> Result<FileTensor<'a>, Fault> { file.tensor(op.input(at)?) };
    let one = |step: Step<'a>| -> Result<Step<'a>, Fault> {
        op.output()?;
        Ok(step)
    };
    let element_wise = |step: Step<'a>| -> Result<Step<'a>, Fault> {
        op.output()?;
        if input(0)?.len() != out(0)?.len() {
            return Err(Fault::Bad("operand and result differ in size".into()));
        }
        Ok(step)
    };
    match op.code {
        // RESHAPE, SQUEEZE, EXPAND_DIMS
        22 | 43 | 70 => element_wise(Step::Reshape),
        0 | 18 | 41 | 54 | 55 | 57 => binary(file, op),
        3 | 4 => conv(file, op),
        9 => dense(file, op),
        1 | 17 => {
            let kernel = [op.int(4, 1)?, op.int(3, 1)?];
            let strides = [op.int(2, 1)?, op.int(1, 1)?];
            let window = window(&input(0)?, &out(0)?, kernel, strides, [1, 1], op.byte(0)?)?;
            if window.in_c != channels(&out(0)?)? {
                return Err(Fault::Bad("pooling changes the number of channels".into()));
            }
            one(Step::Pool { window, max: op.code == 17, clamp: op.activation(5)? })
        }
        25 => {
            let depth = out(0)?.shape.last().copied().unwrap_or(1);
            let beta = op.float(0, 1.0)?;
            if !(beta.is_finite() && beta > 0.0) {
                return Err(Fault::Bad(format!("beta is {beta}")));
            }
            element_wise(Step::Softmax { rows: out(0)?.len() / depth, depth, beta })
        }
        14 => element_wise(Step::Function(Function::Logistic)),
        28 => element_wise(Step::Function(Function::Tanh)),
        117 => element_wise(Step::Function(Function::HardSwish)),
        98 => {
            let alpha = op.float(0, 0.0)?;
            if !(0.0..=1e3).contains(&alpha) {
                return Err(Fault::unsupported(format!("alpha {alpha}"), "an alpha of 0 to 1000"));
            }
            element_wise(Step::Function(Function::LeakyRelu(alpha)))
        }
        19 => element_wise(Step::Clamp(Clamp::RELU)),
        20 => element_wise(Step::Clamp(Clamp { low: -1.0, high: 1.0 })),
        21 => element_wise(Step::Clamp(Clamp { low: 0.0, high: 6.0 })),
        114 => element_wise(Step::Quantize),
        // 16-bit floats become 32-bit ones, before anything runs.
        6 if input(0)?.kind == Kind::Float16 => Ok(Step::Nothing),
        6 => element_wise(Step::Dequantize),
        2 => {
            if op.byte(1)? != 0 {
                return Err(Fault::unsupported("a fused activation", "a concatenation without one"));
            }
            concat(file, op, op.int(0, 0)?, false)
        }
        83 => concat(file, op, op.int(1, 0)?, true),
        34 => one(moves::pad(&input(0)?, &input(1)?.indices()?, &out(0)?, None)?),
        60 => one(moves::pad(&input(0)?, &input(1)?.indices()?, &out(0)?, Some(input(2)?))?),
        100 => one(mirror(&input(0)?, &input(1)?.indices()?, &out(0)?, op.byte(0)? == 1)?),
        23 => one(bilinear(&input(0)?, &out(0)?, op.byte(2)? != 0, op.byte(3)? != 0)?),
        97 => one(nearest(op.input(0)?, &input(0)?, &out(0)?, op.byte(0)? != 0, op.byte(1)? != 0)?),
        67 => transposed_conv(file, op),
        40 | 74 | 82 => reduce(file, op),
        5 | 26 | 39 | 45 | 49 | 65 | 88 | 102 | 105 => moves::paths(file, op),
        _ => Err(Fault::unsupported("the compiler does not have this operator", SUPPORTED_TFLITE)),
    }
}

/// Padding, stride and dilation of one axis.
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
}

impl Axis {
    /// Output length and padding before the data.
    fn place(&self, padding: u8) -> Result<(usize, usize), Fault> {
        let reach = (self.kernel - 1) * self.dilation + 1;
        match padding {
            // SAME
            0 => {
                let out = self.input.div_ceil(self.stride);
                let total = ((out - 1) * self.stride + reach).saturating_sub(self.input);
                Ok((out, total / 2))
            }
            // VALID
            1 if self.input >= reach => Ok(((self.input - reach) / self.stride + 1, 0)),
            1 => Err(Fault::Bad(format!("a kernel that reaches over {reach} for an input of {}", self.input))),
            other => Err(Fault::Bad(format!("padding {other} does not exist"))),
        }
    }
}

fn channels(tensor: &FileTensor<'_>) -> Result<usize, Fault> {
    match tensor.shape.as_slice() {
        [1, _, _, channels] => Ok(*channels),
        shape => Err(Fault::Bad(format!("shape {shape:?}, an image [1, height, width, channels] is needed"))),
    }
}

/// The window between two images, checked against the shape of the result.
fn window(
    from: &FileTensor<'_>,
    to: &FileTensor<'_>,
    kernel: [i32; 2],
    strides: [i32; 2],
    dilations: [i32; 2],
    padding: u8,
) -> Result<Window, Fault> {
    let in_c = channels(from)?;
    channels(to)?;
    let (input, output) = (&from.shape, &to.shape);
    let positive = |values: [i32; 2], what: &str| -> Result<[usize; 2], Fault> {
        match values.map(|value| usize::try_from(value).unwrap_or(0)) {
            [a @ 1..=4096, b @ 1..=4096] => Ok([a, b]),
            _ => Err(Fault::Bad(format!("{what} {values:?}, values of 1 to 4096 are possible"))),
        }
    };
    let kernel = positive(kernel, "kernel")?;
    let strides = positive(strides, "stride")?;
    let dilations = positive(dilations, "dilation")?;
    let axis =
        |at: usize| Axis { input: input[1 + at], kernel: kernel[at], stride: strides[at], dilation: dilations[at] };
    let (out_h, pad_top) = axis(0).place(padding)?;
    let (out_w, pad_left) = axis(1).place(padding)?;
    if (out_h, out_w) != (output[1], output[2]) {
        return Err(Fault::Bad(format!(
            "its result has {}x{} pixels, the window gives {out_h}x{out_w}",
            output[1], output[2]
        )));
    }
    Ok(Window {
        in_h: input[1],
        in_w: input[2],
        in_c,
        out_h,
        out_w,
        kernel_h: kernel[0],
        kernel_w: kernel[1],
        stride_h: strides[0],
        stride_w: strides[1],
        dilation_h: dilations[0],
        dilation_w: dilations[1],
        pad_top,
        pad_left,
        gap_h: 0,
        gap_w: 0,
    })
}

/// A transposed convolution: one over the input with zeros between its pixels, its kernel turned around.
fn transposed_conv<'a>(file: &File<'a>, op: &Operator<'a>) -> Result<Step<'a>, Fault> {
    let (from, weights) = (file.tensor(op.input(2)?)?, file.tensor(op.input(1)?)?);
    let to = file.tensor(op.output()?)?;
    let &[out_c, kernel_h, kernel_w, in_c] = weights.shape.as_slice() else {
        return Err(Fault::Bad(format!("weights of shape {:?}", weights.shape)));
    };
    let size = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let strides = [op.int(2, 1)?, op.int(1, 1)?];
    // Its transpose: from the result to the operand.
    let back = window(&to, &from, [size(kernel_h), size(kernel_w)], strides, [1, 1], op.byte(0)?)?;
    if back.in_c != out_c || channels(&from)? != in_c {
        return Err(Fault::Bad(format!("weights of shape {:?} for {in_c} input channels", weights.shape)));
    }
    let bias = match op.inputs.get(3).filter(|index| **index >= 0) {
        Some(index) => Some(file.tensor(*index)?).filter(|bias| bias.len() == out_c),
        None => None,
    };
    if bias.is_none() && op.inputs.get(3).is_some_and(|index| *index >= 0) {
        return Err(Fault::Bad(format!("its bias does not have {out_c} values")));
    }
    let pads = [(kernel_h, back.pad_top), (kernel_w, back.pad_left)].map(|(kernel, pad)| (kernel - 1).checked_sub(pad));
    let [Some(pad_top), Some(pad_left)] = pads else {
        return Err(Fault::Bad(format!("padding {} and {}", back.pad_top, back.pad_left)));
    };
    let window = Window {
        in_h: back.out_h,
        in_w: back.out_w,
        in_c,
        out_h: back.in_h,
        out_w: back.in_w,
        stride_h: 1,
        stride_w: 1,
        pad_top,
        pad_left,
        gap_h: back.stride_h - 1,
        gap_w: back.stride_w - 1,
        ..back
    };
    let clamp = op.activation(3)?;
    Ok(Step::Conv { window, out_c, depthwise: false, turned: true, weights, bias, clamp })
}

/// Height and width of two images with as many channels.
fn image_sizes(from: &FileTensor<'_>, to: &FileTensor<'_>) -> Result<[(usize, usize); 2], Fault> {
    match (from.shape.as_slice(), to.shape.as_slice()) {
        (&[1, h, w, c], &[1, out_h, out_w, out_c]) if c == out_c => Ok([(h, out_h), (w, out_w)]),
        (from, to) => Err(Fault::Bad(format!("shapes {from:?} and {to:?}"))),
    }
}

/// Refuses what the runtime refuses too.
fn one_mode(align_corners: bool, half_pixel: bool) -> Result<(), Fault> {
    if align_corners && half_pixel {
        return Err(Fault::Bad("corners aligned and half pixels at once".into()));
    }
    Ok(())
}

fn bilinear<'a>(
    from: &FileTensor<'_>,
    to: &FileTensor<'_>,
    align_corners: bool,
    half_pixel: bool,
) -> Result<Step<'a>, Fault> {
    one_mode(align_corners, half_pixel)?;
    let sizes = image_sizes(from, to)?;
    let coordinates = match (align_corners, half_pixel) {
        (true, _) => Coordinates::AlignCorners,
        (_, true) => Coordinates::HalfPixel,
        _ => Coordinates::Asymmetric,
    };
    let blends = if from.kind == Kind::Float32 { resample::blends } else { resample::blends_q10 };
    if sizes.iter().any(|(from, to)| *from > 1 << 14 || *to > 1 << 14) {
        return Err(Fault::unsupported("an image of more than 16384 rows or columns", "smaller images"));
    }
    let [rows, columns] = sizes.map(|(from, to)| blends(from, to, coordinates));
    Ok(Step::Interpolate { width: from.shape[2], channels: from.shape[3], rows, columns })
}

fn nearest<'a>(
    operand: i32,
    from: &FileTensor<'_>,
    to: &FileTensor<'_>,
    align_corners: bool,
    half_pixel: bool,
) -> Result<Step<'a>, Fault> {
    one_mode(align_corners, half_pixel)?;
    let [rows, columns] = image_sizes(from, to)?;
    let [y, x] = [rows, columns].map(|(from, to)| resample::nearest_tflite(from, to, align_corners, half_pixel));
    let whole = |(from, to): (usize, usize), picked: &[usize]| {
        to % from == 0 && picked.iter().enumerate().all(|(at, index)| *index == at / (to / from))
    };
    if whole(rows, &y) && whole(columns, &x) {
        let factors = [1, rows.1 / rows.0, columns.1 / columns.0, 1];
        return Ok(Step::Move { from: operand, paths: vec![Strided::repeated(&from.shape, &factors)] });
    }
    let mut shape = from.shape.clone();
    Ok(Step::Gather(vec![Pick::along(&mut shape, 1, y)?, Pick::along(&mut shape, 2, x)?]))
}

fn mirror<'a>(from: &FileTensor<'_>, pads: &[i64], to: &FileTensor<'_>, symmetric: bool) -> Result<Step<'a>, Fault> {
    let mut shape = from.shape.clone();
    if pads.len() != 2 * shape.len() {
        return Err(Fault::Bad(format!("pads {pads:?} around a tensor of shape {shape:?}")));
    }
    let mut picks = Vec::new();
    for axis in 0..shape.len() {
        let [before, after] =
            [pads[2 * axis], pads[2 * axis + 1]].map(|pad| usize::try_from(pad).unwrap_or(usize::MAX));
        if (before, after) != (0, 0) {
            picks.push(Pick::along(&mut shape, axis, resample::mirrored(from.shape[axis], before, after, symmetric)?)?);
        }
    }
    if shape != to.shape {
        return Err(Fault::Bad(format!("pads {pads:?} turn {:?} into {:?}", from.shape, to.shape)));
    }
    Ok(Step::Gather(picks))
}

/// The optional third operand.
fn bias<'a>(file: &File<'a>, op: &Operator<'a>, channels: usize) -> Result<Option<FileTensor<'a>>, Fault> {
    let Some(index) = op.inputs.get(2).filter(|index| **index >= 0) else {
        return Ok(None);
    };
    let bias = file.tensor(*index)?;
    if bias.len() != channels {
        return Err(Fault::Bad(format!("{} biases for {channels} channels", bias.len())));
    }
    Ok(Some(bias))
}

fn conv<'a>(file: &File<'a>, op: &Operator<'a>) -> Result<Step<'a>, Fault> {
    let depthwise = op.code == 4;
    let (from, weights) = (file.tensor(op.input(0)?)?, file.tensor(op.input(1)?)?);
    let to = file.tensor(op.output()?)?;
    let &[outer, kernel_h, kernel_w, inner] = weights.shape.as_slice() else {
        return Err(Fault::Bad(format!("weights of shape {:?}", weights.shape)));
    };
    let size = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let strides = [op.int(2, 1)?, op.int(1, 1)?];
    let (dilations, clamp) = if depthwise {
        ([op.int(6, 1)?, op.int(5, 1)?], op.activation(4)?)
    } else {
        ([op.int(5, 1)?, op.int(4, 1)?], op.activation(3)?)
    };
    let window = window(&from, &to, [size(kernel_h), size(kernel_w)], strides, dilations, op.byte(0)?)?;
    let out_c = channels(&to)?;
    let fits = if depthwise {
        outer == 1 && inner == out_c && out_c % window.in_c == 0
    } else {
        outer == out_c && inner == window.in_c
    };
    if !fits {
        return Err(Fault::unsupported(
            format!("weights of shape {:?} for {} input and {out_c} output channels", weights.shape, window.in_c),
            "convolutions without groups, and depthwise ones",
        ));
    }
    Ok(Step::Conv { window, out_c, depthwise, turned: false, bias: bias(file, op, out_c)?, weights, clamp })
}

fn dense<'a>(file: &File<'a>, op: &Operator<'a>) -> Result<Step<'a>, Fault> {
    if op.byte(1)? != 0 {
        return Err(Fault::unsupported("shuffled weights", "the default weights format"));
    }
    let (from, weights) = (file.tensor(op.input(0)?)?, file.tensor(op.input(1)?)?);
    let to = file.tensor(op.output()?)?;
    let &[outputs, inputs] = weights.shape.as_slice() else {
        return Err(Fault::Bad(format!("weights of shape {:?}", weights.shape)));
    };
    let rows = from.len() / inputs;
    if rows.checked_mul(inputs) != Some(from.len()) || rows.checked_mul(outputs) != Some(to.len()) {
        return Err(Fault::Bad(format!(
            "weights of shape {:?} for {} inputs and {} outputs",
            weights.shape,
            from.len(),
            to.len()
        )));
    }
    Ok(Step::Dense { rows, inputs, outputs, bias: bias(file, op, outputs)?, weights, clamp: op.activation(0)? })
}

fn binary<'a>(file: &File<'a>, op: &Operator<'a>) -> Result<Step<'a>, Fault> {
    let &[mut first, mut second] = op.inputs.as_slice() else {
        return Err(Fault::Bad(format!("{} operands", op.inputs.len())));
    };
    let mut function = match op.code {
        0 => Binary::Add,
        18 => Binary::Mul,
        41 => Binary::Sub,
        54 => Binary::PRelu,
        55 => Binary::Maximum,
        _ => Binary::Minimum,
    };
    let clamp = if op.code < 54 { op.activation(0)? } else { Clamp::NONE };
    if !file.tensor(first)?.data.is_empty() && function != Binary::PRelu {
        (first, second) = (second, first);
        if function == Binary::Sub {
            function = Binary::SubFrom;
        }
    }
    let (a, b) = (file.tensor(first)?, file.tensor(second)?);
    let out = file.tensor(op.output()?)?;
    let meet = Broadcast::of(&a.shape, &b.shape).filter(|(_, shape)| {
        *shape == out.shape || shape.iter().skip_while(|d| **d == 1).eq(out.shape.iter().skip_while(|d| **d == 1))
    });
    let Some((meet, _)) = meet else {
        return Err(Fault::Bad(format!("shapes {:?} and {:?} do not make {:?}", a.shape, b.shape, out.shape)));
    };
    let constant = (!b.data.is_empty()).then_some(b);
    Ok(Step::Binary { function, meet, first, second, constant, clamp })
}

/// Weights `[out_c, kernel_h, kernel_w, in_c]` with the kernel turned around.
pub(super) fn turned<T: Copy>(weights: &[T], window: &Window) -> Vec<T> {
    let pixels = weights.chunks_exact(window.in_c.max(1));
    let pixels: Vec<&[T]> = pixels.collect();
    pixels
        .chunks_exact(window.taps())
        .flat_map(|kernel| kernel.iter().rev().flat_map(|row| row.iter().copied()))
        .collect()
}

/// Concatenation, or with `pack` along a new axis.
fn concat<'a>(file: &File<'a>, op: &Operator<'a>, at: i32, pack: bool) -> Result<Step<'a>, Fault> {
    let out = file.tensor(op.output()?)?.shape;
    let at = axis(i64::from(at), out.len())?;
    let mut inner = Vec::with_capacity(op.inputs.len());
    for operand in &op.inputs {
        let mut shape = file.tensor(*operand)?.shape;
        if pack && at <= shape.len() {
            shape.insert(at, 1);
        }
        let fits = shape.len() == out.len() && (0..out.len()).all(|axis| axis == at || shape[axis] == out[axis]);
        if !fits {
            return Err(Fault::Bad(format!("an operand of shape {shape:?} for a result of {out:?}")));
        }
        inner.push(shape[at..].iter().product());
    }
    if inner.iter().try_fold(0_usize, |sum, len| sum.checked_add(*len)) != Some(out[at..].iter().product::<usize>()) {
        return Err(Fault::Bad(format!("operands do not add up to the shape {out:?} of the result")));
    }
    Ok(Step::Concat { operands: op.inputs.clone(), outer: out[..at].iter().product(), inner })
}

fn reduce<'a>(file: &File<'a>, op: &Operator<'a>) -> Result<Step<'a>, Fault> {
    let (from, to) = (file.tensor(op.input(0)?)?, file.tensor(op.output()?)?);
    let shape = &from.shape;
    let listed = file.tensor(op.input(1)?)?.indices()?;
    let mut gone = vec![false; shape.len()];
    for value in listed {
        gone[axis(value, shape.len())?] = true;
    }
    let (path, outer, count, inner) = moves::reduced(shape, &gone);
    if outer.checked_mul(inner) != Some(to.len()) {
        return Err(Fault::Bad(format!("shape {shape:?} becomes {:?}", to.shape)));
    }
    let reduction = match op.code {
        40 => Reduction::Mean,
        74 => Reduction::Sum,
        _ => Reduction::Max,
    };
    Ok(Step::Reduce { path, outer, count, inner, reduction })
}
