"""Exports the networks of make.py with PyTorch's newer exporter (torch.export), for the operator sets 18 and 21, and
small quantized networks in both of onnxruntime's forms.

    python3.11 -m venv v && v/bin/pip install torch==2.15.0 onnx onnxscript onnxruntime numpy
    v/bin/python make_dynamo.py

NAME.vectors holds pairs of input and onnxruntime's answer, as make.py writes them.
"""

import os

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from make import HERE, NETWORKS, answer


def bare(path):
    """Without the notes on where in which file a node comes from."""
    model = onnx.load(path)
    for part in [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input,
                 *model.graph.output, *model.graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


class Rows(CalibrationDataReader):
    def __init__(self, shape):
        random = np.random.default_rng(3)
        self.rows = iter([{"x": random.uniform(-1, 1, shape).astype(np.float32)} for _ in range(32)])

    def get_next(self):
        return next(self.rows, None)


QUANTIZED = {
    "convolutions": (nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(),
                                   nn.Conv2d(8, 6, 1), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
                     (1, 3, 12, 12)),
    "dense": (nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 5)), (1, 10)),
}


def main():
    torch.manual_seed(1)
    for name, (network, shape) in NETWORKS.items():
        for layer in network.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 1.5)
        network.eval()
        for opset in (18, 21):
            path = os.path.join(HERE, f"{name}_dynamo_{opset}.onnx")
            batch = torch.export.Dim("batch")
            dynamic = ({0: batch},) if opset == 18 else None
            example = torch.randn(2 if dynamic else 1, *shape[1:])
            torch.onnx.export(network, (example,), path, opset_version=opset, input_names=["x"], output_names=["y"],
                              dynamo=True, external_data=False, dynamic_shapes=dynamic, optimize=True)
            bare(path)
            answer(path, shape)
    folder = os.path.join(os.path.dirname(HERE), "quantized")
    os.makedirs(folder, exist_ok=True)
    for name, (network, shape) in QUANTIZED.items():
        plain = os.path.join(folder, "plain.onnx")
        torch.onnx.export(network.eval(), (torch.randn(shape),), plain, opset_version=17, input_names=["x"],
                          output_names=["y"], dynamo=False)
        for form, kind in [("qdq", QuantFormat.QDQ), ("qoperator", QuantFormat.QOperator)]:
            for signed in [True, False]:
                path = os.path.join(folder, f"{name}_{form}_{'int8' if signed else 'uint8'}.onnx")
                quantize_static(plain, path, Rows(shape), quant_format=kind, per_channel=signed,
                                activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                                weight_type=QuantType.QInt8)
                answer(path, shape)
        os.remove(plain)


if __name__ == "__main__":
    main()
