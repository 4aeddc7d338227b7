"""Exports small networks of PyTorch to the .onnx files of this folder.

    python3.11 -m venv v && v/bin/pip install torch==2.4.1 onnx==1.16.2 onnxruntime==1.18.1 'numpy<2'
    v/bin/python make.py

The weights are random: only the graphs matter, as the exporters write them for
different operator sets. NAME.vectors holds pairs of input and onnxruntime's
answer, as little-endian 32-bit floats.
"""

import os

import numpy as np
import onnxruntime
import torch
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))


def separable(inputs, outputs, stride):
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6(),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6())


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 2, 1), nn.ReLU(),
                                  nn.Conv2d(2, channels, 1), nn.Hardsigmoid())

    def forward(self, x):
        return x * self.gate(x)


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.long = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
                                  nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs))
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x):
        return torch.relu(self.long(x) + self.short(x))


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.both = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        left, right = torch.chunk(x, 2, 1)
        return self.both(torch.cat([torch.sigmoid(self.left(left)) * right, right - left], 1)).mean((2, 3))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dense = nn.Conv1d(3, 8, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        y = self.conv(x)
        return self.dense((torch.tanh(y[:, :4]) * torch.sigmoid(y[:, 4:])).amax(-1))


class Scaled(nn.Module):
    def forward(self, x):
        return (x - 0.5) / 0.25


class Twice(nn.Module):
    def forward(self, x):
        return nn.functional.interpolate(x, scale_factor=2)


NETWORKS = {
    "mobilenet": (nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
                                separable(8, 8, 1), separable(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                nn.Dropout(), nn.Linear(16, 4), nn.Softmax(-1)), (1, 3, 16, 16)),
    "mobilenet3": (nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish(), SqueezeExcite(8), separable(8, 8, 1),
                                 nn.SiLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 4)), (1, 3, 16, 16)),
    "resnet": (nn.Sequential(Scaled(), Residual(3, 4, 1), Residual(4, 8, 2), nn.AvgPool2d(4), nn.Flatten(),
                             nn.Linear(32, 5)), (1, 3, 16, 16)),
    "signal": (nn.Sequential(nn.Conv1d(3, 8, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3, groups=8, padding=1),
                             nn.PReLU(8), nn.BatchNorm1d(8), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)),
               (1, 3, 40)),
    "perceptron": (nn.Sequential(nn.Linear(10, 16), nn.LeakyReLU(0.1), nn.BatchNorm1d(16), nn.Linear(16, 8), nn.ELU(),
                                 nn.Linear(8, 3)), (1, 10)),
    "autoencoder": (nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.PReLU(), Twice(),
                                  nn.Conv2d(8, 4, 3, 1, 1), nn.PReLU(4), nn.Upsample(scale_factor=2),
                                  nn.Conv2d(4, 1, 3, 1, 1), nn.Sigmoid()), (1, 1, 16, 16)),
    "halves": (Halves(), (1, 8, 6, 6)),
    "gated": (Gated(), (1, 3, 12)),
    "blocks": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.PixelShuffle(2), nn.ZeroPad2d(1), nn.Conv2d(2, 2, 3)),
               (1, 3, 8, 8)),
}


def answer(path, shape):
    """Writes what onnxruntime answers to a few inputs."""
    session = onnxruntime.InferenceSession(path)
    random = np.random.default_rng(0)
    with open(path.replace(".onnx", ".vectors"), "wb") as out:
        for _ in range(3):
            x = random.uniform(-1, 1, shape).astype(np.float32)
            y = session.run(None, {session.get_inputs()[0].name: x})[-1]
            y = list(y[0].values()) if isinstance(y, list) else y
            out.write(x.tobytes() + np.asarray(y, np.float32).tobytes())


def main():
    torch.manual_seed(1)
    for name, (network, shape) in NETWORKS.items():
        for layer in network.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 1.5)
        network.eval()
        for opset in (9, 13, 17):
            path = os.path.join(HERE, f"{name}_{opset}.onnx")
            axes = None if opset == 13 else {"x": {0: "batch"}}
            torch.onnx.export(network, torch.randn(shape), path, opset_version=opset, input_names=["x"],
                              output_names=["y"], dynamic_axes=axes)
            answer(path, shape)


if __name__ == "__main__":
    main()
