"""Trains the digits model of this folder and writes it as float ONNX.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python train.py               # digits.csv -> digits.onnx, prints the accuracy
    .venv/bin/python train.py --dataset     # writes digits.csv anew first (seeded, same bytes)

The data set and its split are in digits.csv. Only rows of the split `train`
are learnt from; the accuracy that is printed is that of the rows of `test`.
The ONNX graph takes pixels divided by 16 as float [N, 1, 8, 8] and answers the
ten probabilities [N, 10].
"""

import argparse
import csv
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CSV = HERE / "digits.csv"
ONNX = HERE / "digits.onnx"
SEED = 20
CHANNELS = (8, 24)
EPOCHS = 120
BATCH = 64


def write_dataset():
    """Writes digits.csv: 64 pixels (0..16), label, split (stratified, 20 % test)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    rows = np.arange(len(digits.target))
    _, test = train_test_split(
        rows, test_size=0.2, random_state=SEED, stratify=digits.target
    )
    held_out = set(test.tolist())
    with CSV.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f"p{i}" for i in range(64)] + ["label", "split"])
        for row in rows:
            pixels = digits.data[row].astype(int).tolist()
            split = "test" if int(row) in held_out else "train"
            writer.writerow(pixels + [int(digits.target[row]), split])


def read_dataset():
    """Returns {split: (images float32 [N, 1, 8, 8] in 0..1, labels int64 [N])}."""
    images, labels = {"train": [], "test": []}, {"train": [], "test": []}
    with CSV.open(newline="") as file:
        for row in csv.DictReader(file):
            images[row["split"]].append([int(row[f"p{i}"]) for i in range(64)])
            labels[row["split"]].append(int(row["label"]))
    return {
        split: (
            np.array(images[split], dtype=np.float32).reshape(-1, 1, 8, 8) / 16.0,
            np.array(labels[split], dtype=np.int64),
        )
        for split in images
    }


def train(data):
    """Trains and returns the network (in evaluation mode)."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    first, second = CHANNELS
    net = nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(second * 4, 10),
    )
    images, labels = (torch.from_numpy(part) for part in data["train"])
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = EPOCHS * ((len(images) + BATCH - 1) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    net.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss_of(net(moved(images[batch])), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def moved(images):
    """Shifts each image by up to one pixel and adds a little noise (augmentation)."""
    import torch
    from torch.nn import functional

    count = len(images)
    padded = functional.pad(images, (1, 1, 1, 1))
    shift = torch.randint(0, 3, (count, 2))
    # Two of three images stay where they are: digits of the data set are centred.
    stay = torch.rand(count) < 0.66
    shift[stay] = 1
    result = torch.stack(
        [padded[i, :, y : y + 8, x : x + 8] for i, (y, x) in enumerate(shift.tolist())]
    )
    return (result + 0.03 * torch.randn_like(result)).clamp(0, 1)


def write_onnx(net):
    """Writes the network as ONNX, opset 13, with a dynamic batch dimension."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(tensor, name):
        return numpy_helper.from_array(tensor.detach().numpy(), name)

    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1.out"], "conv1", **conv),
            helper.make_node("Relu", ["conv1.out"], ["relu1.out"], "relu1"),
            helper.make_node("MaxPool", ["relu1.out"], ["pool1.out"], "pool1", **pool),
            helper.make_node("Conv", ["pool1.out", "conv2.weight", "conv2.bias"], ["conv2.out"], "conv2", **conv),
            helper.make_node("Relu", ["conv2.out"], ["relu2.out"], "relu2"),
            helper.make_node("MaxPool", ["relu2.out"], ["pool2.out"], "pool2", **pool),
            helper.make_node("Flatten", ["pool2.out"], ["flat.out"], "flatten", axis=1),
            helper.make_node("Gemm", ["flat.out", "dense.weight", "dense.bias"], ["logits"], "dense", transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        [
            constant(net[0].weight, "conv1.weight"),
            constant(net[0].bias, "conv1.bias"),
            constant(net[3].weight, "conv2.weight"),
            constant(net[3].bias, "conv2.bias"),
            constant(net[8].weight, "dense.weight"),
            constant(net[8].bias, "dense.bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    model.producer_name = "tinymlaas models/digits/train.py"
    onnx.checker.check_model(model)
    ONNX.write_bytes(model.SerializeToString())


def accuracy(net, images, labels):
    """Returns the share of images that the network labels right."""
    import torch

    with torch.no_grad():
        return (net(torch.from_numpy(images)).argmax(1).numpy() == labels).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", action="store_true", help="write digits.csv anew first")
    if parser.parse_args().dataset:
        write_dataset()
    data = read_dataset()
    net = train(data)
    write_onnx(net)
    for split, (images, labels) in data.items():
        print(f"{split}: {accuracy(net, images, labels):.4f} of {len(labels)} images")
    print(f"{sum(p.numel() for p in net.parameters())} parameters -> {ONNX.name}")


if __name__ == "__main__":
    main()
