"""Makes the .tflite files of this folder and what TFLite's reference kernels answer to them.

    python3.11 -m venv v && v/bin/pip install tflite-runtime==2.14.0 'numpy<2' flatbuffers
    v/bin/python make.py

NAME.vectors holds pairs of input and answer, raw, as the interpreter takes and
gives them. The files are written field by field
(tensorflow/lite/schema/schema.fbs), so that each operator can be had alone.
"""

import os

import flatbuffers
import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = {np.dtype("float32"): 0, np.dtype("int32"): 2, np.dtype("uint8"): 3, np.dtype("int64"): 4, np.dtype("int8"): 9,
         np.dtype("float16"): 1}
VECTORS = 8


class Model:
    """One subgraph with one input and one output."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.tensors, self.operators, self.codes, self.buffers = [], [], [], [b""]

    def tensor(self, shape, kind="int8", scale=None, zero=0, data=None, axis=0):
        buffer = 0
        if data is not None:
            data = np.asarray(data, dtype=kind).reshape(shape)
            self.buffers.append(data.tobytes())
            buffer = len(self.buffers) - 1
        scales = [] if scale is None else list(np.atleast_1d(scale))
        zeros = list(np.broadcast_to(zero, len(scales)))
        self.tensors.append((list(shape), KINDS[np.dtype(kind)], buffer, scales, zeros, axis))
        return len(self.tensors) - 1

    def ints(self, values):
        values = np.atleast_1d(values)
        return self.tensor(values.shape, "int32", data=values)

    def weights(self, shape, scale, axis=0):
        return self.tensor(shape, "int8", scale, 0, self.random.integers(-127, 128, shape), axis)

    def bias(self, count):
        return self.tensor([count], "int32", [1e-4], 0, self.random.integers(-2000, 2000, count))

    def op(self, code, inputs, outputs, options=None, fields=()):
        """fields: (slot, 'i32' | 'u8' | 'f32', value) of the options table."""
        if code not in self.codes:
            self.codes.append(code)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        self.operators.append((self.codes.index(code), inputs, outputs, options, list(fields)))
        return outputs[0]

    def bytes(self, source, result):
        b = flatbuffers.Builder(1024)

        def vector(values, prepend, size):
            b.StartVector(size, len(values), size)
            for value in reversed(values):
                prepend(value)
            return b.EndVector()

        i32s = lambda values: vector([int(v) for v in values], b.PrependInt32, 4)
        offsets = lambda values: vector(values, b.PrependUOffsetTRelative, 4)

        def table(fields):
            slots = max([f[0] for f in fields], default=-1) + 1
            b.StartObject(slots)
            for slot, kind, value in fields:
                if kind == "i32":
                    b.PrependInt32Slot(slot, int(value), 0)
                elif kind == "u8":
                    b.PrependUint8Slot(slot, int(value), 0)
                elif kind == "f32":
                    b.PrependFloat32Slot(slot, float(value), 0.0)
                else:
                    b.PrependUOffsetTRelativeSlot(slot, value, 0)
            return b.EndObject()

        buffers = []
        for data in self.buffers:
            fields = []
            if data:
                b.StartVector(1, len(data), 16)
                b.head -= len(data)
                b.Bytes[b.head:b.head + len(data)] = data
                fields = [(0, "off", b.EndVector())]
            buffers.append(table(fields))
        tensors = []
        for at, (shape, kind, buffer, scales, zeros, axis) in enumerate(self.tensors):
            fields = [(0, "off", i32s(shape)), (1, "u8", kind), (2, "i32", buffer),
                      (3, "off", b.CreateString(f"t{at}"))]
            if scales:
                scale = vector([float(s) for s in scales], b.PrependFloat32, 4)
                zero = vector([int(z) for z in zeros], b.PrependInt64, 8)
                fields.append((4, "off", table([(2, "off", scale), (3, "off", zero), (6, "i32", axis)])))
            tensors.append(table(fields))
        operators = []
        for code, inputs, outputs, options, extra in self.operators:
            fields = [(0, "i32", code), (1, "off", i32s(inputs)), (2, "off", i32s(outputs))]
            if options is not None:
                fields += [(3, "u8", options), (4, "off", table(extra))]
            operators.append(table(fields))
        graph = table([(0, "off", offsets(tensors)), (1, "off", i32s([source])), (2, "off", i32s([result])),
                       (3, "off", offsets(operators)), (4, "off", b.CreateString("main"))])
        # Versions are the highest that the interpreter has for each operator with these types.
        versions = {} if self.tensors[source][1] == 0 and len(self.operators) > 3 else VERSIONS
        codes = [table([(0, "u8", min(code, 127)), (2, "i32", versions.get(code, 1 if versions == {} else 2)),
                        (3, "i32", code)])
                 for code in self.codes]
        model = table([(0, "i32", 3), (1, "off", offsets(codes)), (2, "off", offsets([graph])),
                       (3, "off", b.CreateString("by hand")), (4, "off", offsets(buffers))])
        b.Finish(model, file_identifier=b"TFL3")
        return bytes(b.Output())


VERSIONS = {3: 3, 4: 3, 9: 4, 19: 2, 20: 1, 22: 1, 70: 1, 43: 1, 54: 1, 101: 1, 111: 1, 114: 2, 117: 1, 83: 2, 88: 2,
            105: 1, 5: 1, 26: 2, 6: 2, 77: 1, 98: 2, 102: 2, 41: 3}


def quantization(random, low=0.005, high=0.06):
    return float(np.float32(random.uniform(low, high))), int(random.integers(-100, 100))


def vectors(shape, kind, random):
    if kind == np.int8 or kind == np.uint8:
        info = np.iinfo(kind)
        noise = [random.integers(info.min, info.max + 1, shape).astype(kind) for _ in range(VECTORS - 1)]
        # All values in turn: functions of one number are seen whole.
        return noise + [(np.arange(np.prod(shape)) % 256 + info.min).astype(kind).reshape(shape)]
    return [random.normal(0, 1.5, shape).astype(np.float32) for _ in range(VECTORS)]


def rescaled(x, real):
    """x * real in TFLite's fixed point: a 31-bit multiplier, rounded doubling high product, rounded shift."""
    fraction, exponent = np.frexp(real)
    multiplier = int(np.rint(fraction * 2 ** 31))
    if multiplier == 2 ** 31:
        multiplier, exponent = multiplier // 2, exponent + 1
    shifted = int(x) << max(exponent, 0)
    high = (shifted * multiplier + (1 << 30)) >> 31
    right = max(-exponent, 0)
    rest = high & ((1 << right) - 1)
    return (high >> right) + (rest > (((1 << right) - 1) >> 1) + (high < 0))


def save_sum(name, m, x, axes, out):
    """TFLite's kernel has no multiplier for int8 sums and answers at random; this is TFLite Micro's answer."""
    (shape, _, _, (scale,), (zero,), _) = m.tensors[x]
    y = m.op(74, [x, m.ints(axes)], m.tensor(out, "int8", 0.11, -20), 27)
    with open(os.path.join(HERE, name) + ".tflite", "wb") as file:
        file.write(m.bytes(x, y))
    with open(os.path.join(HERE, name) + ".vectors", "wb") as pairs:
        for value in vectors(shape, np.int8, m.random):
            sums = (value.astype(int) - zero).sum(tuple(axes))
            real = float(np.float32(scale)) / float(np.float32(0.11))
            answer = np.clip(np.vectorize(lambda s: rescaled(s, real))(sums) - 20, -128, 127)
            pairs.write(value.tobytes() + answer.astype(np.int8).tobytes())


def save(name, model, source, result):
    file = model.bytes(source, result)
    path = os.path.join(HERE, name)
    with open(path + ".tflite", "wb") as out:
        out.write(file)
    interpreter = Interpreter(model_content=file, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    into, outof = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    with open(path + ".vectors", "wb") as pairs:
        for value in vectors(into["shape"], into["dtype"], model.random):
            interpreter.set_tensor(into["index"], value)
            interpreter.invoke()
            pairs.write(value.tobytes())
            pairs.write(interpreter.get_tensor(outof["index"]).tobytes())


def unary(name, code, seed, out=None, options=None, fields=(), shape=(1, 4, 8, 8), scale=None):
    """A function of each element; `out` is the result's quantization, if it is prescribed."""
    m = Model(seed)
    s, z = quantization(m.random)
    s = scale or s
    x = m.tensor(shape, "int8", s, z)
    so, zo = out or quantization(m.random)
    y = m.op(code, [x], m.tensor(shape, "int8", so, zo), options, fields)
    save(name, m, x, y)


def binary(name, code, seed, shape, other, options, act=0, constant=True, swapped=False, same=False):
    """Two operands; the second is a constant of shape `other`, or made from the first by a mean."""
    m = Model(seed)
    sx, zx = quantization(m.random)
    so, zo = (sx, zx) if same else quantization(m.random, 0.02, 0.08)
    sc, zc = (sx, zx) if same else quantization(m.random)
    x = m.tensor(shape, "int8", sx, zx)
    if constant:
        c = m.tensor(other, "int8", sc, zc, m.random.integers(-128, 128, other))
    elif list(other) == list(shape):
        c = m.op(114, [x], m.tensor(other, "int8", sc, zc), 89)
    else:
        c = m.op(40, [x, m.ints([1, 2])], m.tensor(other, "int8", sc, zc), 27, [(0, "u8", 1)])
    y = m.op(code, [c, x] if swapped else [x, c], m.tensor(shape, "int8", so, zo), options,
             [(0, "u8", act)] if options != 39 else [])
    save(name, m, x, y)


def move(name, seed, shape, out, build, count=1):
    """What only moves data: `build(m, x, y)` adds the operators between x and y."""
    m = Model(seed)
    s, z = quantization(m.random)
    x = m.tensor(shape, "int8", s, z)
    new = lambda dims: m.tensor(dims, "int8", s, z)
    y = new(out)
    build(m, x, y, new)
    save(name, m, x, y)


def main():
    for at, scale in enumerate([None, 0.031, 0.0005, 0.5]):
        unary(f"logistic_{at}", 14, 100 + at, (1 / 256, -128), scale=scale)
        unary(f"tanh_{at}", 28, 110 + at, (1 / 128, 0), scale=scale)
        unary(f"hard_swish_{at}", 117, 120 + at, (max((scale or 0.02) * 0.9, 0.004), -90), 91, scale=scale)
        unary(f"leaky_relu_{at}", 98, 130 + at, None, 75, [(0, "f32", [0.01, 0.1, 0.3, 0.75][at])], scale=scale)
        unary(f"quantize_{at}", 114, 140 + at, None, 89, scale=scale)
    unary("relu", 19, 150)
    unary("relu6", 21, 151, (6 / 255, -128))
    unary("relu_n1_to_1", 20, 152)
    image, small = (1, 4, 6, 5), (1, 1, 1, 5)
    for name, code, options in [("add", 0, 11), ("sub", 41, 28), ("mul", 18, 21)]:
        seed = 200 + code
        binary(f"{name}_same", code, seed, image, image, options, constant=False)
        binary(f"{name}_channel", code, seed + 1, image, small, options, constant=False, act=1)
        binary(f"{name}_constant", code, seed + 2, image, (5,), options)
        binary(f"{name}_constant_first", code, seed + 3, image, (1, 4, 6, 5), options, swapped=True, act=3)
        binary(f"{name}_scalar", code, seed + 4, image, (), options, swapped=True)
        binary(f"{name}_rows", code, seed + 5, image, (4, 1, 1), options)
    for name, code in [("maximum", 55), ("minimum", 57)]:
        binary(name, code, 300 + code, image, image, 39, same=True)
        binary(f"{name}_channel", code, 310 + code, image, small, 39, same=True, constant=False)
    binary("prelu", 54, 320, image, (1, 1, 5), None)
    for name, axes, out, keep in [("mean_space", [1, 2], (1, 5), 0), ("mean_space_kept", [1, 2], (1, 1, 1, 5), 1),
                                  ("mean_channels", [3], (1, 4, 6), 0), ("mean_columns", [-2], (1, 4, 5), 0),
                                  ("mean_apart", [1, 3], (1, 6), 0), ("mean_all", [1, 2, 3], (1,), 0)]:
        for same in [True, False]:
            m = Model(400 + len(name) + same)
            s, z = quantization(m.random)
            x = m.tensor(image, "int8", s, z)
            so, zo = (s, z) if same else quantization(m.random, 0.002, 0.03)
            y = m.op(40, [x, m.ints(axes)], m.tensor(out, "int8", so, zo), 27, [(0, "u8", keep)])
            save(name + ("_same" if same else ""), m, x, y)
    move("reduce_max", 421, image, (1, 4, 5), lambda m, x, y, new: m.op(82, [x, m.ints([2])], y, 27, [(0, "u8", 0)]))
    move("transpose", 500, image, (1, 5, 4, 6), lambda m, x, y, new: m.op(39, [x, m.ints([0, 3, 1, 2])], y, 26))
    move("slice", 501, image, (1, 2, 6, 3),
         lambda m, x, y, new: m.op(65, [x, m.ints([0, 1, 0, 2]), m.ints([1, 2, -1, 3])], y, 48))
    move("strided_slice", 502, image, (1, 2, 3, 5), lambda m, x, y, new: m.op(
        45, [x, m.ints([0, 3, 1, 0]), m.ints([1, -9, 6, 0]), m.ints([1, -2, 2, 1])], y, 32, [(1, "i32", 9)]))
    move("strided_slice_shrunk", 503, image, (1, 6, 5), lambda m, x, y, new: m.op(
        45, [x, m.ints([0, 2, 0, 0]), m.ints([1, 3, 6, 5]), m.ints([1, 1, 1, 1])], y, 32, [(0, "i32", 8), (4, "i32", 2)]))
    move("resize", 504, image, (1, 8, 18, 5), lambda m, x, y, new: m.op(97, [x, m.ints([8, 18])], y, 74))
    move("resize_centers", 509, image, (1, 8, 12, 5),
         lambda m, x, y, new: m.op(97, [x, m.ints([8, 12])], y, 74, [(1, "u8", 1)]))
    move("depth_to_space", 505, (1, 3, 2, 8), (1, 6, 4, 2), lambda m, x, y, new: m.op(5, [x], y, 94, [(0, "i32", 2)]))
    move("space_to_depth", 506, (1, 6, 4, 3), (1, 3, 2, 12), lambda m, x, y, new: m.op(26, [x], y, 19, [(0, "i32", 2)]))
    move("reverse", 507, image, image, lambda m, x, y, new: m.op(105, [x, m.ints([2])], y))
    move("pad", 508, image, (1, 7, 6, 8),
         lambda m, x, y, new: m.op(34, [x, m.tensor((4, 2), "int32", data=[[0, 0], [1, 2], [0, 0], [3, 0]])], y, 22))

    def split(m, x, y, new):
        parts = [new((1, 4, 2, 5)) for _ in range(3)]
        m.op(49, [m.ints(2), x], parts, 35, [(0, "i32", 3)])
        m.op(2, [parts[2], parts[0]], y, 10, [(0, "i32", 2)])

    move("split", 510, image, (1, 4, 4, 5), split)

    def split_v(m, x, y, new):
        parts = [new((1, 4, 6, 2)), new((1, 4, 6, 3))]
        m.op(102, [x, m.ints([2, -1]), m.ints(-1)], parts, 79, [(0, "i32", 2)])
        m.op(2, [parts[1], parts[0]], y, 10, [(0, "i32", -1)])

    move("split_v", 511, image, image, split_v)

    def unpack(m, x, y, new):
        parts = [new((1, 4, 5)) for _ in range(6)]
        m.op(88, [x], parts, 64, [(0, "i32", 6), (1, "i32", 2)])
        m.op(83, [parts[3], parts[1], parts[1]], y, 59, [(0, "i32", 3), (1, "i32", 1)])

    move("unpack", 512, image, (1, 3, 4, 5), unpack)

    def shapes(m, x, y, new):
        a = m.op(70, [x, m.ints(1)], new((1, 1, 4, 6, 5)), 52)
        b = m.op(43, [a], new((4, 6, 5)), 30)
        # The new shape is computed, as dynamic exports do.
        s = m.op(77, [x], m.tensor((4,), "int32"), 55, [(0, "u8", 2)])
        first = m.op(45, [s, m.ints(0), m.ints(1), m.ints(1)], m.tensor((), "int32"), 32, [(4, "i32", 1)])
        rest = m.tensor((), "int32", data=120)
        target = m.op(83, [first, rest], m.tensor((2,), "int32"), 59, [(0, "i32", 2)])
        c = m.op(22, [b, target], new((1, 120)), 17)
        m.op(19, [c], y)

    move("shapes", 513, image, (1, 120), shapes)

    # Layers.
    m = Model(600)
    x = m.tensor((1, 12, 3), "int8", 0.03, 5)
    wide = m.op(70, [x, m.ints(1)], m.tensor((1, 1, 12, 3), "int8", 0.03, 5), 52)
    scales = list(m.random.uniform(0.001, 0.02, 4).astype(np.float32))
    y = m.op(3, [wide, m.weights((4, 1, 3, 3), scales), m.bias(4)], m.tensor((1, 1, 6, 4), "int8", 0.05, -7), 1,
             [(0, "u8", 0), (1, "i32", 2), (2, "i32", 1), (3, "u8", 1), (4, "i32", 1), (5, "i32", 1)])
    y = m.op(43, [y], m.tensor((1, 6, 4), "int8", 0.05, -7), 30)
    save("conv_1d", m, x, y)

    m = Model(601)
    x = m.tensor((1, 7, 6, 3), "int8", 0.03, 5)
    scales = list(m.random.uniform(0.001, 0.02, 6).astype(np.float32))
    y = m.op(4, [x, m.weights((1, 3, 3, 6), scales, 3), m.bias(6)], m.tensor((1, 4, 3, 6), "int8", 0.05, -7), 2,
             [(0, "u8", 0), (1, "i32", 2), (2, "i32", 2), (3, "i32", 2), (4, "u8", 3), (5, "i32", 1), (6, "i32", 1)])
    save("depthwise_multiplier", m, x, y)

    m = Model(602)
    x = m.tensor((1, 4, 10), "int8", 0.03, 5)
    y = m.op(9, [x, m.weights((6, 10), 0.01), m.bias(6)], m.tensor((1, 4, 6), "int8", 0.05, -7), 8,
             [(0, "u8", 2), (2, "u8", 1)])
    save("fully_connected_rows", m, x, y)

    # Edges: float and unsigned around an int8 layer, as converters leave them by default.
    for kind, name in [("float32", "edges_float"), ("uint8", "edges_uint8")]:
        m = Model(610)
        scale = None if kind == "float32" else 0.03
        x = m.tensor((1, 16), kind, scale, 133)
        a = m.op(114, [x], m.tensor((1, 16), "int8", 0.03, 5), 89)
        b = m.op(9, [a, m.weights((6, 16), 0.01), m.bias(6)], m.tensor((1, 6), "int8", 0.05, -7), 8)
        if kind == "float32":
            y = m.op(6, [b], m.tensor((1, 6), kind), 38)
        else:
            y = m.op(114, [b], m.tensor((1, 6), kind, 0.05, 121), 89)
        save(name, m, x, y)

    # Sums.
    for name, axes, out in [("sum_space", [1, 2], (1, 5)), ("sum_channels", [3], (1, 4, 6)), ("sum_apart", [1, 3], (1, 6))]:
        m = Model(800 + len(name))
        x = m.tensor(image, "int8", 0.03, 7)
        save_sum(name, m, x, axes, out)

    # Padding with a value, and with the image itself.
    table = lambda m: m.tensor((4, 2), "int32", data=[[0, 0], [1, 2], [2, 0], [0, 0]])
    move("pad_value", 810, image, (1, 7, 8, 5),
         lambda m, x, y, new: m.op(60, [x, table(m), m.tensor((), "int8", *m.tensors[x][3:5], data=-77)], y, 45))
    for mode, name in [(0, "mirror_reflect"), (1, "mirror_symmetric")]:
        move(name, 811 + mode, image, (1, 7, 8, 5),
             lambda m, x, y, new: m.op(100, [x, table(m)], y, 77, [(0, "u8", mode)]))

    # Resizing by any factor.
    for at, (size, corners, half) in enumerate([((7, 9), 0, 0), ((3, 4), 0, 1), ((8, 11), 1, 0), ((2, 3), 0, 0),
                                                ((5, 13), 0, 1)]):
        flags = [(2, "u8", corners), (3, "u8", half)]
        move(f"bilinear_{at}", 820 + at, image, (1, *size, 5),
             lambda m, x, y, new: m.op(23, [x, m.ints(size)], y, 15, flags))
        flags = [(0, "u8", corners), (1, "u8", half)]
        move(f"nearest_{at}", 830 + at, image, (1, *size, 5),
             lambda m, x, y, new: m.op(97, [x, m.ints(size)], y, 74, flags))

    # Transposed convolutions: padding SAME (0) or VALID (1).
    for at, (padding, stride, kernel, size) in enumerate([(0, (2, 2), (3, 3), (8, 12)), (1, (2, 1), (3, 2), (9, 7)),
                                                          (0, (1, 1), (3, 5), (4, 6)), (1, (3, 2), (2, 2), (12, 12)),
                                                          (0, (2, 2), (2, 2), (7, 11))]):
        m = Model(840 + at)
        x = m.tensor(image, "int8", 0.03, 5)
        scales = list(m.random.uniform(0.001, 0.02, 4).astype(np.float32))
        y = m.op(67, [m.ints([1, *size, 4]), m.weights((4, *kernel, 5), scales), x, m.bias(4)],
                 m.tensor((1, *size, 4), "int8", 0.05, -7), 49,
                 [(0, "u8", padding), (1, "i32", stride[1]), (2, "i32", stride[0])])
        save(f"transpose_conv_{at}", m, x, y)

    # The older scheme: unsigned throughout.
    m = Model(860)
    unsigned = lambda shape, scale, zero: m.tensor(shape, "uint8", scale, zero)
    x = unsigned((1, 8, 8, 3), 0.03, 120)
    weights = lambda shape, scale: m.tensor(shape, "uint8", scale, 128, m.random.integers(1, 255, shape))
    a = m.op(3, [x, weights((4, 3, 3, 3), 0.006), m.bias(4)], unsigned((1, 4, 4, 4), 0.02, 0), 1,
             [(0, "u8", 0), (1, "i32", 2), (2, "i32", 2), (3, "u8", 3), (4, "i32", 1), (5, "i32", 1)])
    centred = m.tensor((1, 3, 3, 4), "uint8", 0.01, 140, m.random.integers(13, 255, (1, 3, 3, 4)))
    b = m.op(4, [a, centred, m.bias(4)], unsigned((1, 4, 4, 4), 0.02, 0), 2,
             [(0, "u8", 0), (1, "i32", 1), (2, "i32", 1), (3, "i32", 1), (4, "u8", 1), (5, "i32", 1), (6, "i32", 1)])
    a = m.op(0, [a, b], unsigned((1, 4, 4, 4), 0.04, 3), 11)
    a = m.op(34, [a, m.tensor((4, 2), "int32", data=[[0, 0], [1, 0], [0, 1], [0, 0]])], unsigned((1, 5, 5, 4), 0.04, 3), 22)
    a = m.op(17, [a], unsigned((1, 4, 4, 4), 0.04, 3), 5,
             [(0, "u8", 1), (1, "i32", 1), (2, "i32", 1), (3, "i32", 2), (4, "i32", 2)])
    a = m.op(1, [a], unsigned((1, 2, 2, 4), 0.04, 3), 5,
             [(0, "u8", 1), (1, "i32", 1), (2, "i32", 1), (3, "i32", 3), (4, "i32", 3)])
    a = m.op(22, [a, m.ints([1, 16])], unsigned((1, 16), 0.04, 3), 17)
    a = m.op(9, [a, weights((6, 16), 0.005), m.bias(6)], unsigned((1, 6), 0.05, 128), 8)
    save("unsigned_softmax", m, x, m.op(25, [a], unsigned((1, 6), 1 / 256, 0), 9, [(0, "f32", 1.0)]))
    for code, name in [(14, "logistic"), (28, "tanh")]:
        m = Model(870 + code)
        x = m.tensor((1, 4, 8, 8), "uint8", 0.04, 131)
        scale, zero = (1 / 256, 0) if code == 14 else (1 / 128, 128)
        save(f"unsigned_{name}", m, x, m.op(code, [x], m.tensor((1, 4, 8, 8), "uint8", scale, zero)))

    # Weights of 16-bit floats, widened when the model starts.
    m = Model(880)
    x = m.tensor((1, 6, 6, 2), "float32")
    halves = [m.tensor(shape, "float16", data=m.random.normal(0, 0.4, shape)) for shape in [(4, 3, 3, 2), (4,), (5, 4), (5,)]]
    wide = [m.op(6, [half], m.tensor(m.tensors[half][0], "float32"), 38) for half in halves]
    a = m.op(3, [x, wide[0], wide[1]], m.tensor((1, 6, 6, 4), "float32"), 1,
             [(1, "i32", 1), (2, "i32", 1), (3, "u8", 1), (4, "i32", 1), (5, "i32", 1)])
    a = m.op(100, [a, table(m)], m.tensor((1, 9, 8, 4), "float32"), 77)
    a = m.op(23, [a, m.ints([5, 6])], m.tensor((1, 5, 6, 4), "float32"), 15, [(3, "u8", 1)])
    a = m.op(67, [m.ints([1, 9, 11, 3]), m.tensor((3, 2, 2, 4), "float32", data=m.random.normal(0, 0.4, (3, 2, 2, 4))), a],
             m.tensor((1, 9, 11, 3), "float32"), 49, [(0, "u8", 0), (1, "i32", 2), (2, "i32", 2)])
    a = m.op(60, [a, table(m), m.tensor((), "float32", data=0.3)], m.tensor((1, 12, 13, 3), "float32"), 45)
    a = m.op(97, [a, m.ints([7, 9])], m.tensor((1, 7, 9, 3), "float32"), 74)
    a = m.op(9, [m.op(74, [a, m.ints([1])], m.tensor((1, 9, 3), "float32"), 27),
                 m.tensor((4, 3), "float32", data=m.random.normal(0, 0.4, (4, 3))), -1], m.tensor((1, 9, 4), "float32"), 8,
             [(2, "u8", 1)])
    a = m.op(40, [a, m.ints([1])], m.tensor((1, 4), "float32"), 27)
    save("float_halves", m, x, m.op(9, [a, wide[2], wide[3]], m.tensor((1, 5), "float32"), 8))

    # Float files.
    m = Model(700)
    real = lambda *shape: m.tensor(shape, "float32", data=m.random.normal(0, 0.4, shape))
    new = lambda *shape: m.tensor(shape, "float32")
    x = new(1, 8, 6, 3)
    a = m.op(3, [x, real(4, 3, 3, 3), real(4)], new(1, 4, 3, 4), 1,
             [(1, "i32", 2), (2, "i32", 2), (3, "u8", 1), (4, "i32", 1), (5, "i32", 1)])
    a = m.op(4, [a, real(1, 3, 3, 8), real(8)], new(1, 4, 3, 8), 2,
             [(1, "i32", 1), (2, "i32", 1), (3, "i32", 2), (4, "u8", 3), (5, "i32", 1), (6, "i32", 1)])
    b = m.op(14, [m.op(40, [a, m.ints([1, 2])], new(1, 1, 1, 8), 27, [(0, "u8", 1)])], new(1, 1, 1, 8))
    a = m.op(18, [a, b], new(1, 4, 3, 8), 21)
    a = m.op(54, [a, real(1, 1, 8)], new(1, 4, 3, 8))
    left, right = new(1, 4, 3, 4), new(1, 4, 3, 4)
    m.op(49, [m.ints(3), a], [left, right], 35, [(0, "i32", 2)])
    a = m.op(41, [left, m.op(28, [right], new(1, 4, 3, 4))], new(1, 4, 3, 4), 28)
    a = m.op(17, [a], new(1, 2, 1, 4), 5, [(1, "i32", 2), (2, "i32", 2), (3, "i32", 2), (4, "i32", 2), (0, "u8", 1)])
    a = m.op(22, [a, m.ints([1, 8])], new(1, 8), 17)
    a = m.op(9, [a, real(5, 8), real(5)], new(1, 5), 8)
    save("float_mixed", m, x, m.op(25, [a], new(1, 5), 9, [(0, "f32", 1.0)]))


if __name__ == "__main__":
    main()
