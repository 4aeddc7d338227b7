"""Exports small networks of Keras with tf2onnx to the keras_*.onnx files of this folder.

    python3.11 -m venv v && v/bin/pip install tensorflow-cpu==2.15.1 tf2onnx==1.16.1 onnx==1.16.2 \
        onnxruntime==1.18.1 'numpy<2' 'protobuf<5'
    v/bin/python make_keras.py

The weights are random: only the graphs matter, with channels last and the Transposes, Reshapes and paddings of the
converter. NAME.vectors holds pairs of input and onnxruntime's answer, as little-endian 32-bit floats.
"""

import os

import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx
from tensorflow.keras import Model, Sequential, layers

HERE = os.path.dirname(os.path.abspath(__file__))


def separable():
    return Sequential([
        layers.Input((12, 12, 3)), layers.Conv2D(6, 3, 2, "same", use_bias=False), layers.BatchNormalization(),
        layers.ReLU(6.0), layers.DepthwiseConv2D(3, padding="same"), layers.Conv2D(8, 1, activation="relu"),
        layers.SeparableConv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D(),
        layers.Dense(4, activation="softmax")])


def residual():
    x = inputs = layers.Input((8, 8, 4))
    y = layers.Conv2D(6, 3, 2, "same", activation="relu")(x)
    y = layers.Conv2D(6, 3, padding="same")(y)
    x = layers.add([y, layers.Conv2D(6, 1, 2)(x)])
    x = layers.Activation("relu")(x)
    x = layers.Concatenate()([x, layers.MaxPooling2D(3, 1, "same")(x)])
    return Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def signal():
    return Sequential([
        layers.Input((32, 3)), layers.Conv1D(8, 5, padding="causal", activation="relu"), layers.MaxPooling1D(2),
        layers.Conv1D(8, 3, dilation_rate=2, activation="tanh"), layers.Dropout(0.3), layers.AveragePooling1D(2),
        layers.Flatten(), layers.Dense(5, activation="sigmoid")])


def autoencoder():
    return Sequential([
        layers.Input((8, 8, 1)), layers.ZeroPadding2D(1), layers.Conv2D(4, 3, 2), layers.LeakyReLU(0.1),
        layers.UpSampling2D(2), layers.Conv2DTranspose(2, 3, padding="same", activation="elu"),
        layers.Conv2D(1, 3, padding="same", activation="sigmoid")])


def perceptron():
    return Sequential([
        layers.Input((10,)), layers.Dense(12, activation="relu"), layers.BatchNormalization(), layers.Dense(8),
        layers.PReLU(), layers.Dense(3, activation="softmax")])


def main():
    for make in (separable, residual, signal, autoencoder, perceptron):
        tf.keras.utils.set_random_seed(3)
        model = make()
        shape = (1, *model.input_shape[1:])
        rng = np.random.default_rng(4)
        for weight in model.weights:
            # Moving means and variances as training leaves them.
            if "moving" in weight.name:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape).astype("float32"))
        for opset in (9, 13, 17):
            path = os.path.join(HERE, f"keras_{make.__name__}_{opset}")
            spec = (tf.TensorSpec((None, *shape[1:]), tf.float32, name="x"),)
            try:
                tf2onnx.convert.from_keras(model, input_signature=spec, opset=opset, output_path=path + ".onnx")
                session = onnxruntime.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"])
            except Exception as error:  # What the converter cannot write is only named.
                print(f"{make.__name__}: no operator set {opset}: {str(error).splitlines()[0][:150]}")
                if os.path.exists(path + ".onnx"):
                    os.remove(path + ".onnx")
                continue
            with open(path + ".vectors", "wb") as out:
                for _ in range(3):
                    x = rng.uniform(-1, 1, shape).astype("<f4")
                    out.write(x.tobytes() + session.run(None, {"x": x})[0].astype("<f4").tobytes())


if __name__ == "__main__":
    main()
