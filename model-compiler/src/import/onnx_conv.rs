//! ONNX operators with a sliding window: convolutions and pooling.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::Attributes;
use super::onnx::Importer;
use super::value::{Activation, channels_last_order};
use crate::ir::{Clamp, Op, Window};

/// Height, width and their attributes of a one- or two-dimensional window.
struct Geometry {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
}

impl Importer {
    pub(super) fn conv(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let input = self.image(node)?;
        let weights = self.constant(node, 1)?;
        let (shape, weights) = (weights.shape.clone(), weights.to_f32());
        let space = input.shape.len() - 2;
        if shape.len() != input.shape.len() {
            return Err(Fault::Bad(format!("weights of shape {shape:?} for an input of shape {:?}", input.shape)));
        }
        let groups = usize::try_from(attributes.int("group", 1)).unwrap_or(0);
        let (out_c, in_c, per_group) = (shape[0], input.shape[1], shape[1]);
        if groups == 0 || per_group.checked_mul(groups) != Some(in_c) || out_c % groups != 0 {
            return Err(Fault::Bad(format!("weights of shape {shape:?} with {groups} groups for {in_c} channels")));
        }
        let bias = if Self::has(node, 2) { self.constant(node, 2)?.to_f32() } else { vec![0.0; out_c] };
        if bias.len() != out_c {
            return Err(Fault::Bad(format!("{} biases for {out_c} output channels", bias.len())));
        }
        let geometry = Geometry {
            kernel: shape[2..].to_vec(),
            strides: attributes.sizes("strides", space)?,
            dilations: attributes.sizes("dilations", space)?,
        };
        let window = window(&input, &geometry, attributes, false)?;
        let taps = window.taps();
        let (op, out_c) = if per_group == 1 && groups > 1 {
            // [out_c, 1, taps] -> [taps, out_c]
            let mut turned = vec![0.0; weights.len()];
            for (oc, row) in weights.chunks_exact(taps).enumerate() {
                for (tap, value) in row.iter().enumerate() {
                    turned[tap * out_c + oc] = *value;
                }
            }
            let op =
                Op::DepthwiseConv2d { window, multiplier: out_c / in_c, weights: turned, bias, clamp: Clamp::NONE };
            (op, out_c)
        } else {
            // [out_c, per_group, taps] -> [out_c, taps, in_c], zero outside the own group.
            let len = out_c
                .checked_mul(taps)
                .and_then(|len| len.checked_mul(in_c))
                .ok_or_else(|| Fault::Bad(format!("weights of shape {shape:?} overflow")))?;
            self.budget.take(len, "elements of the model")?;
            let mut turned = vec![0.0; len];
            for oc in 0..out_c {
                let first = oc / (out_c / groups) * per_group;
                for ic in 0..per_group {
                    for tap in 0..taps {
                        turned[(oc * taps + tap) * in_c + first + ic] = weights[(oc * per_group + ic) * taps + tap];
                    }
                }
            }
            let op = Op::Conv2d { window, out_c, weights: turned, bias, clamp: Clamp::NONE };
            (op, out_c)
        };
        self.push_image(op, &input, &window, out_c)
    }

    /// A transposed convolution: one over the input with zeros between its pixels, its kernel turned around.
    pub(super) fn conv_transpose(
        &mut self,
        node: &NodeProto,
        attributes: &Attributes<'_>,
    ) -> Result<Activation, Fault> {
        let input = self.image(node)?;
        let weights = self.constant(node, 1)?;
        let (shape, weights) = (weights.shape.clone(), weights.to_f32());
        let space = input.shape.len() - 2;
        let groups = usize::try_from(attributes.int("group", 1)).unwrap_or(0);
        let in_c = input.shape[1];
        if shape.len() != space + 2 || shape[0] != in_c || groups == 0 || in_c % groups != 0 {
            return Err(Fault::Bad(format!("weights of shape {shape:?} with {groups} groups for {in_c} channels")));
        }
        let per_group = shape[1];
        let out_c = per_group
            .checked_mul(groups)
            .ok_or_else(|| Fault::Bad(format!("weights of shape {shape:?} with {groups} groups")))?;
        let bias = if Self::has(node, 2) { self.constant(node, 2)?.to_f32() } else { vec![0.0; out_c] };
        if bias.len() != out_c {
            return Err(Fault::Bad(format!("{} biases for {out_c} output channels", bias.len())));
        }
        let (strides, dilations) = (attributes.sizes("strides", space)?, attributes.sizes("dilations", space)?);
        let list = |name: &str, count: usize| -> Result<Vec<usize>, Fault> {
            match attributes.ints(name) {
                None | Some([]) => Ok(vec![0; count]),
                Some(all) if all.len() == count && all.iter().all(|v| (0..=65_536).contains(v)) => {
                    Ok(all.iter().map(|v| v.unsigned_abs() as usize).collect())
                }
                Some(all) => Err(Fault::Bad(format!("attribute `{name}` is {all:?}"))),
            }
        };
        let (pads, more) = (list("pads", 2 * space)?, list("output_padding", space)?);
        let wanted = list("output_shape", space)?;
        let auto_pad = attributes.text("auto_pad").unwrap_or_default();
        let mut sides = Vec::with_capacity(2);
        for at in 0..space {
            let (size, kernel, stride) = (input.shape[2 + at], shape[2 + at], strides[at]);
            let reach = (kernel - 1).checked_mul(dilations[at]).filter(|reach| *reach < 1 << 20);
            let reach = reach.ok_or_else(|| Fault::Bad(format!("a kernel of {kernel}")))?;
            let full = (size - 1) * stride + reach + 1 + more[at];
            let (out, before) = match (auto_pad.as_str(), wanted[at]) {
                ("" | "NOTSET", 0) => (full.checked_sub(pads[at] + pads[space + at]), pads[at]),
                ("VALID", 0) => (Some(full), 0),
                (same, out) => {
                    let out = if out == 0 { size * stride } else { out };
                    let total = full.saturating_sub(out);
                    (Some(out), if same == "SAME_UPPER" { total / 2 } else { total - total / 2 })
                }
            };
            let (Some(out @ 1..), Some(pad)) = (out, reach.checked_sub(before)) else {
                return Err(Fault::unsupported(
                    format!("padding of {before} for a kernel that reaches over {}", reach + 1),
                    "padding that is smaller than the kernel",
                ));
            };
            sides.push((size, out, kernel, dilations[at], pad, stride - 1));
        }
        if space == 1 {
            sides.insert(0, (1, 1, 1, 1, 0, 0));
        }
        let (h, w) = (sides[0], sides[1]);
        let window = Window {
            in_h: h.0,
            in_w: w.0,
            in_c,
            out_h: h.1,
            out_w: w.1,
            kernel_h: h.2,
            kernel_w: w.2,
            stride_h: 1,
            stride_w: 1,
            dilation_h: h.3,
            dilation_w: w.3,
            pad_top: h.4,
            pad_left: w.4,
            gap_h: h.5,
            gap_w: w.5,
        };
        let taps = window.taps();
        let depthwise = groups > 1 && groups == in_c;
        let len = if depthwise { Some(out_c) } else { out_c.checked_mul(in_c) };
        let len = len.and_then(|len| len.checked_mul(taps));
        let len = len.ok_or_else(|| Fault::Bad(format!("weights of shape {shape:?} overflow")))?;
        self.budget.take(len, "elements of the model")?;
        let mut turned = vec![0.0; len];
        for ic in 0..in_c {
            let group = ic / (in_c / groups);
            for at in 0..per_group {
                let oc = group * per_group + at;
                for tap in 0..taps {
                    let value = weights[(ic * per_group + at) * taps + taps - 1 - tap];
                    let place = if depthwise { tap * out_c + oc } else { (oc * taps + tap) * in_c + ic };
                    turned[place] = value;
                }
            }
        }
        let op = if depthwise {
            Op::DepthwiseConv2d { window, multiplier: per_group, weights: turned, bias, clamp: Clamp::NONE }
        } else {
            Op::Conv2d { window, out_c, weights: turned, bias, clamp: Clamp::NONE }
        };
        self.push_image(op, &input, &window, out_c)
    }

    pub(super) fn pool(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let input = self.image(node)?;
        let space = input.shape.len() - 2;
        let global = node.op_type.starts_with("Global");
        let kernel = if global {
            input.shape[2..].to_vec()
        } else if attributes.has("kernel_shape") {
            attributes.sizes("kernel_shape", space)?
        } else {
            return Err(Fault::Bad("attribute `kernel_shape` is missing".into()));
        };
        if attributes.int("storage_order", 0) != 0 {
            return Err(Fault::unsupported("storage_order 1", "storage_order 0"));
        }
        let geometry = Geometry {
            kernel,
            strides: if global { vec![1; space] } else { attributes.sizes("strides", space)? },
            dilations: attributes.sizes("dilations", space)?,
        };
        let window = window(&input, &geometry, attributes, true)?;
        let op = if node.op_type.ends_with("MaxPool") {
            Op::MaxPool { window }
        } else {
            if window.is_padded() && attributes.int("count_include_pad", 0) != 0 {
                return Err(Fault::unsupported(
                    "count_include_pad 1 with padding",
                    "count_include_pad 0, or no padding",
                ));
            }
            Op::AveragePool { window }
        };
        self.push_image(op, &input, &window, window.in_c)
    }

    /// The first operand as an image or signal that is stored channels last.
    fn image(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let input = self.input(node, 0)?;
        let rank = input.shape.len();
        if !(3..=4).contains(&rank) || input.shape[0] != 1 {
            return Err(Fault::unsupported(
                format!("an input of shape {:?}", input.shape),
                "images [1, channels, height, width] and signals [1, channels, length]",
            ));
        }
        self.arranged(&input, &channels_last_order(rank))
    }

    fn push_image(&mut self, op: Op, input: &Activation, window: &Window, out_c: usize) -> Result<Activation, Fault> {
        let stored = vec![1, window.out_h, window.out_w, out_c];
        let tensor = self.push(op, vec![input.tensor], stored)?;
        let shape = if input.shape.len() == 4 {
            vec![1, out_c, window.out_h, window.out_w]
        } else {
            vec![1, out_c, window.out_w]
        };
        Ok(Activation::channels_last(tensor, shape))
    }
}

/// The window of an operator over `input`; signals count as images of height 1.
fn window(input: &Activation, geometry: &Geometry, attributes: &Attributes<'_>, pool: bool) -> Result<Window, Fault> {
    let space = input.shape.len() - 2;
    let pads = match attributes.ints("pads") {
        Some(pads) if !pads.is_empty() => pads.to_vec(),
        _ => vec![0; space * 2],
    };
    if pads.len() != space * 2 || pads.iter().any(|pad| !(0..=4_096).contains(pad)) {
        return Err(Fault::Bad(format!("attribute `pads` is {pads:?}")));
    }
    let auto_pad = attributes.text("auto_pad").unwrap_or_default();
    let mut sides = Vec::with_capacity(2);
    for at in 0..space {
        let (size, kernel) = (input.shape[2 + at], geometry.kernel[at]);
        let (stride, dilation) = (geometry.strides[at], geometry.dilations[at]);
        let reach = (kernel - 1)
            .checked_mul(dilation)
            .and_then(|reach| reach.checked_add(1))
            .filter(|reach| *reach <= 1 << 20)
            .ok_or_else(|| Fault::Bad(format!("a kernel of {kernel} with dilation {dilation}")))?;
        let (before, after) = match auto_pad.as_str() {
            "" | "NOTSET" => (pads[at] as usize, pads[space + at] as usize),
            "VALID" => (0, 0),
            "SAME_UPPER" | "SAME_LOWER" => {
                let total = ((size.div_ceil(stride) - 1) * stride + reach).saturating_sub(size);
                let small = total / 2;
                if auto_pad == "SAME_UPPER" { (small, total - small) } else { (total - small, small) }
            }
            other => {
                return Err(Fault::Bad(format!("auto_pad `{}` does not exist", super::shown(other))));
            }
        };
        let room = (size + before + after).checked_sub(reach).ok_or_else(|| {
            Fault::Bad(format!("a kernel that reaches over {reach} for {size} with padding {before} and {after}"))
        })?;
        let mut out = room / stride + 1;
        if pool && attributes.int("ceil_mode", 0) != 0 {
            out = room.div_ceil(stride) + 1;
            // A window must not begin in the padding behind the data.
            if (out - 1) * stride >= size + before {
                out -= 1;
            }
        }
        // Every window must see data, else an average has no divisor.
        let sees =
            |o: usize| (0..kernel).any(|k| (o * stride + k * dilation).checked_sub(before).is_some_and(|i| i < size));
        if pool && !(0..out).all(sees) {
            return Err(Fault::Bad("a window lies wholly in the padding".into()));
        }
        sides.push((size, out, kernel, stride, dilation, before));
    }
    if space == 1 {
        sides.insert(0, (1, 1, 1, 1, 1, 0));
    }
    let (h, w) = (sides[0], sides[1]);
    Ok(Window {
        in_h: h.0,
        in_w: w.0,
        in_c: input.shape[1],
        out_h: h.1,
        out_w: w.1,
        kernel_h: h.2,
        kernel_w: w.2,
        stride_h: h.3,
        stride_w: w.3,
        dilation_h: h.4,
        dilation_w: w.4,
        pad_top: h.5,
        pad_left: w.5,
        gap_h: 0,
        gap_w: 0,
    })
}
