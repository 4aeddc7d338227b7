"""Brings exports for operator set 9 down to 8 and 7, as older exporters wrote them, with ONNX's own converter.

    python3.11 -m venv v && v/bin/pip install onnx onnxruntime
    v/bin/python make_older.py

Inputs are those of the vectors of set 9; answers are onnxruntime's to the older file. A network that the converter
cannot bring down is left out and named.
"""

import os

import numpy as np
import onnx
import onnxruntime
from onnx import version_converter

HERE = os.path.dirname(os.path.abspath(__file__))


def vectors(file, model, old):
    """Pairs of input and answer: the inputs of `old`, asked again."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    asked = session.get_inputs()[0]
    shape = [dim if isinstance(dim, int) else 1 for dim in asked.shape]
    width, length = len(old) // 3, int(np.prod(shape))
    with open(file, "wb") as out:
        for at in range(3):
            x = old[at * width:][:length]
            y = session.run(None, {asked.name: x.reshape(shape)})[0]
            out.write(x.astype("<f4").tobytes() + y.astype("<f4").tobytes())


def main():
    for name in sorted(os.listdir(HERE)):
        if not name.endswith("_9.onnx"):
            continue
        base = name.removesuffix("_9.onnx")
        newer = onnx.load(os.path.join(HERE, name))
        old = np.fromfile(os.path.join(HERE, f"{base}_9.vectors"), "<f4")
        for opset in (8, 7):
            try:
                model = version_converter.convert_version(newer, opset)
                onnx.checker.check_model(model)
                vectors(os.path.join(HERE, f"{base}_{opset}.vectors"), model, old)
            except Exception as error:  # What cannot be brought down is only named.
                print(f"{base}: no operator set {opset}: {str(error).splitlines()[0][:150]}")
                continue
            onnx.save(model, os.path.join(HERE, f"{base}_{opset}.onnx"))


if __name__ == "__main__":
    main()
