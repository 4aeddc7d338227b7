//! What each TFLite operator becomes. Multipliers are computed exactly as
//! TFLite's kernels do in their Prepare step.

use super::Fault;
use super::flatbuffer::Table;
use super::tflite::{FileTensor, Importer, unknown_operator};
use crate::fixed::{Multiplier, softmax_parameters};
use crate::ir::{TensorId, Window};
use crate::qir::{Bounds, Linear, QOp, QTensor};

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

impl Importer<'_> {
    pub(super) fn operator(&mut self, name: &str, code: i32, operator: &Table<'_>) -> Result<(), Fault> {
        let inputs = operator.i32s(1)?;
        let outputs = operator.i32s(2)?;
        let (Some(&first), &[output]) = (inputs.first(), outputs.as_slice()) else {
            return Err(Fault::Bad(format!("{} operands and {} results", inputs.len(), outputs.len())));
        };
        let options = operator.table(4)?;
        // RESHAPE and SQUEEZE: the same bytes under another shape.
        if matches!(code, 22 | 43) {
            let from = self.known(first)?;
            if self.tensor(output)?.len() != self.tensors[from].len() {
                return Err(Fault::Bad("the new shape has another number of elements".into()));
            }
            self.set(output, from);
            return Ok(());
        }
        if !matches!(code, 0..=4 | 9 | 17 | 19 | 21 | 25 | 34) {
            return Err(unknown_operator());
        }
        let from = self.known(first)?;
        let to = self.activation(output)?;
        let field = |number: usize, default: i32| match &options {
            Some(options) => options.i32(number, default),
            None => Ok(default),
        };
        let byte = |number: usize| match &options {
            Some(options) => options.u8(number, 0),
            None => Ok(0),
        };
        let mut operands = vec![from];
        let op = match code {
            0 => {
                let &[_, second] = inputs.as_slice() else {
                    return Err(Fault::Bad(format!("{} operands", inputs.len())));
                };
                let other = self.known(second).map_err(|_| {
                    Fault::unsupported("an operand is a constant or not yet computed", "two computed operands")
                })?;
                let (a, b, out) = (&self.tensors[from], &self.tensors[other], &self.tensors[to]);
                if a.shape != b.shape || a.len() != out.len() {
                    return Err(Fault::unsupported(
                        format!("shapes {:?} and {:?}", a.shape, b.shape),
                        "two operands of one shape",
                    ));
                }
                operands.push(other);
                QOp::add(a, b, out, activation(byte(0)?, out)?)
            }
            3 | 4 => {
                let weights = self.constant(&inputs, 1)?;
                let depthwise = code == 4;
                let (strides, dilations, act) = if depthwise {
                    ([field(2, 1)?, field(1, 1)?], [field(6, 1)?, field(5, 1)?], byte(4)?)
                } else {
                    ([field(2, 1)?, field(1, 1)?], [field(5, 1)?, field(4, 1)?], byte(3)?)
                };
                self.conv(&inputs, &weights, (from, to), depthwise, byte(0)?, strides, dilations, act)?
            }
            9 => self.fully_connected(&inputs, (from, to), byte(0)?, byte(1)?)?,
            2 => {
                if byte(1)? != 0 {
                    return Err(Fault::unsupported("a fused activation", "a concatenation without one"));
                }
                operands = inputs.iter().map(|input| self.known(*input)).collect::<Result<_, _>>()?;
                self.concat(&operands, to, field(0, 0)?)?
            }
            34 => self.pad(&inputs, (from, to))?,
            1 | 17 => {
                let kernel = [field(4, 1)?, field(3, 1)?];
                let strides = [field(2, 1)?, field(1, 1)?];
                let window = self.window(from, to, kernel, strides, [1, 1], byte(0)?)?;
                if window.in_c != self.channels(to)? {
                    return Err(Fault::Bad("pooling changes the number of channels".into()));
                }
                self.same_quantization(from, to)?;
                let bounds = activation(byte(5)?, &self.tensors[to])?;
                if code == 1 { QOp::AveragePool { window, bounds } } else { QOp::MaxPool { window, bounds } }
            }
            19 | 21 => {
                let (a, out) = (&self.tensors[from], &self.tensors[to]);
                if a.len() != out.len() {
                    return Err(Fault::Bad("operand and result differ in size".into()));
                }
                QOp::Rescale {
                    multiplier: Multiplier::of(f64::from(a.scale) / f64::from(out.scale)),
                    bounds: out.bounds(0.0, if code == 21 { 6.0 } else { f32::INFINITY }),
                }
            }
            _ => self.softmax(
                (from, to),
                match &options {
                    Some(options) => options.f32(0, 0.0)?,
                    None => 1.0,
                },
            )?,
        };
        self.push(name, op, operands, to)
    }

    fn constant(&self, inputs: &[i32], at: usize) -> Result<FileTensor<'_>, Fault> {
        let index = inputs.get(at).ok_or_else(|| Fault::Bad(format!("operand {at} is missing")))?;
        self.tensor(*index)
    }

    fn channels(&self, tensor: TensorId) -> Result<usize, Fault> {
        match self.tensors[tensor].shape.as_slice() {
            [1, _, _, channels] => Ok(*channels),
            shape => Err(Fault::Bad(format!("shape {shape:?}, an image [1, height, width, channels] is needed"))),
        }
    }

    /// The window between two images, checked against the shape of the result.
    fn window(
        &self,
        from: TensorId,
        to: TensorId,
        kernel: [i32; 2],
        strides: [i32; 2],
        dilations: [i32; 2],
        padding: u8,
    ) -> Result<Window, Fault> {
        let in_c = self.channels(from)?;
        self.channels(to)?;
        let (input, output) = (&self.tensors[from].shape, &self.tensors[to].shape);
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
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of two option tables that differ only in their numbers")]
    fn conv(
        &self,
        inputs: &[i32],
        weights: &FileTensor<'_>,
        (from, to): (TensorId, TensorId),
        depthwise: bool,
        padding: u8,
        strides: [i32; 2],
        dilations: [i32; 2],
        act: u8,
    ) -> Result<QOp, Fault> {
        let &[outer, kernel_h, kernel_w, inner] = weights.shape.as_slice() else {
            return Err(Fault::Bad(format!("weights of shape {:?}", weights.shape)));
        };
        let size = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        let kernel = [size(kernel_h), size(kernel_w)];
        let window = self.window(from, to, kernel, strides, dilations, padding)?;
        let out_c = self.channels(to)?;
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
        let linear = self.linear(inputs, weights, (from, to), out_c, depthwise, act, false)?;
        Ok(if depthwise {
            QOp::DepthwiseConv2d { window, multiplier: out_c / window.in_c, linear }
        } else {
            QOp::Conv2d { window, out_c, linear }
        })
    }

    fn fully_connected(
        &self,
        inputs: &[i32],
        (from, to): (TensorId, TensorId),
        act: u8,
        format: u8,
    ) -> Result<QOp, Fault> {
        if format != 0 {
            return Err(Fault::unsupported("shuffled weights", "the default weights format"));
        }
        let weights = self.constant(inputs, 1)?;
        let &[outputs, depth] = weights.shape.as_slice() else {
            return Err(Fault::Bad(format!("weights of shape {:?}", weights.shape)));
        };
        let rows = self.tensors[from].len() / depth;
        if rows * depth != self.tensors[from].len() || rows * outputs != self.tensors[to].len() {
            return Err(Fault::Bad(format!(
                "weights of shape {:?} for {} inputs and {} outputs",
                weights.shape,
                self.tensors[from].len(),
                self.tensors[to].len()
            )));
        }
        let linear = self.linear(inputs, &weights, (from, to), outputs, false, act, true)?;
        if rows > 1 {
            return Ok(QOp::Conv2d { window: Window::pointwise(rows, depth), out_c: outputs, linear });
        }
        Ok(QOp::Dense { inputs: depth, outputs, linear })
    }

    /// Weights, biases and multipliers. `dense` decides how a single scale is multiplied.
    #[expect(clippy::too_many_arguments, reason = "one place for three operators")]
    fn linear(
        &self,
        inputs: &[i32],
        weights: &FileTensor<'_>,
        (from, to): (TensorId, TensorId),
        channels: usize,
        channel_last: bool,
        act: u8,
        dense: bool,
    ) -> Result<Linear, Fault> {
        if weights.zero_points.iter().any(|zero| *zero != 0) {
            return Err(Fault::unsupported("weights with a zero point", "weights with zero point 0"));
        }
        let axis = if channel_last { 3 } else { 0 };
        let scales = &weights.scales;
        if !(scales.len() == 1 || (scales.len() == channels && weights.channel_axis == axis)) {
            return Err(Fault::Bad(format!(
                "{} scales along axis {} for {channels} channels",
                scales.len(),
                weights.channel_axis
            )));
        }
        let bias = match inputs.get(2) {
            Some(index) if *index >= 0 => self.tensor(*index)?.int32()?,
            _ => vec![0; channels],
        };
        if bias.len() != channels {
            return Err(Fault::Bad(format!("{} biases for {channels} channels", bias.len())));
        }
        let (a, out) = (&self.tensors[from], &self.tensors[to]);
        let requant = scales
            .iter()
            .map(|scale| {
                let product = if dense && scales.len() == 1 {
                    // A dense layer with one scale rounds the product to float first.
                    f64::from(a.scale * scale)
                } else {
                    f64::from(a.scale) * f64::from(*scale)
                };
                Multiplier::of(product / f64::from(out.scale))
            })
            .collect();
        let linear = Linear { weights: weights.int8()?, bias, requant, bounds: activation(act, out)? };
        if linear.can_overflow(channel_last) {
            return Err(Fault::unsupported("sums that can overflow 32 bits", "layers whose sums stay within 32 bits"));
        }
        Ok(linear)
    }

    fn softmax(&self, (from, to): (TensorId, TensorId), beta: f32) -> Result<QOp, Fault> {
        let (a, out) = (&self.tensors[from], &self.tensors[to]);
        if (out.scale, out.zero_point) != (1.0 / 256.0, -128) || a.len() != out.len() {
            return Err(Fault::Bad(format!(
                "its result has scale {} and zero point {}, int8 needs 1/256 and -128",
                out.scale, out.zero_point
            )));
        }
        let depth = out.shape.last().copied().unwrap_or(1);
        if depth >= 512 {
            return Err(Fault::unsupported(format!("a softmax over {depth} values"), "at most 511 values"));
        }
        if !(beta.is_finite() && beta > 0.0) {
            return Err(Fault::Bad(format!("beta is {beta}")));
        }
        let (multiplier, diff_min) = softmax_parameters(a.scale, beta);
        if multiplier.shift < 0 {
            return Err(Fault::Bad(format!("the scale {} of its operand is too small", a.scale)));
        }
        Ok(QOp::Softmax { rows: a.len() / depth, depth, multiplier, diff_min })
    }

    fn concat(&self, operands: &[TensorId], to: TensorId, axis: i32) -> Result<QOp, Fault> {
        let out = &self.tensors[to].shape;
        let at = super::attributes::axis(i64::from(axis), out.len())?;
        let mut inner = Vec::with_capacity(operands.len());
        for operand in operands {
            self.same_quantization(*operand, to)?;
            let shape = &self.tensors[*operand].shape;
            let fits = shape.len() == out.len() && (0..out.len()).all(|axis| axis == at || shape[axis] == out[axis]);
            if !fits {
                return Err(Fault::Bad(format!("an operand of shape {shape:?} for a result of {out:?}")));
            }
            inner.push(shape[at..].iter().product());
        }
        if inner.iter().sum::<usize>() != out[at..].iter().product::<usize>() {
            return Err(Fault::Bad(format!("operands do not add up to the shape {out:?} of the result")));
        }
        Ok(QOp::Concat {
            outer: out[..at].iter().product(),
            multipliers: vec![Multiplier::of(1.0); inner.len()],
            inner,
        })
    }

    fn pad(&self, inputs: &[i32], (from, to): (TensorId, TensorId)) -> Result<QOp, Fault> {
        self.same_quantization(from, to)?;
        let pads = self.constant(inputs, 1)?.int32()?;
        let (shape, out) = (&self.tensors[from].shape, &self.tensors[to].shape);
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
        Ok(QOp::Pad { dims, before, after })
    }

    fn same_quantization(&self, from: TensorId, to: TensorId) -> Result<(), Fault> {
        let (a, b) = (&self.tensors[from], &self.tensors[to]);
        if (a.scale, a.zero_point) == (b.scale, b.zero_point) {
            return Ok(());
        }
        Err(Fault::unsupported(
            "operand and result have different scales",
            "an operator that keeps scale and zero point",
        ))
    }
}

/// Bounds of a fused activation.
fn activation(number: u8, out: &QTensor) -> Result<Bounds, Fault> {
    match number {
        0 => Ok(Bounds::FULL),
        1 => Ok(out.bounds(0.0, f32::INFINITY)),
        2 => Ok(out.bounds(-1.0, 1.0)),
        3 => Ok(out.bounds(0.0, 6.0)),
        other => Err(Fault::unsupported(format!("fused activation {other}"), "none, RELU, RELU_N1_TO_1, RELU6")),
    }
}
