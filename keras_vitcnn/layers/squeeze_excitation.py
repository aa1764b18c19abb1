from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.layers.dense import Dense
from keras_vitcnn.layers.initializers import HostNormal


@register
class SqueezeExcitation(keras.layers.Layer):
    """Weigh every channel by what the whole map says: (b, h, w, c) both ways.

    The map's mean goes through two dense layers, down to `hidden` channels and back, and a sigmoid;
    the mean and the gate are computed in float32.

    Args:
        hidden: channels in between. The papers take a quarter of the channels that enter the
            block, not of those that enter this layer.
        activation: after the first dense layer (ReLU in RegNetY, SiLU in EfficientNet).

    Source: arXiv:1709.01507, section 3.
    """

    def __init__(self, hidden: int, activation: str = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = hidden
        self.activation = activation

    def build(self, input_shape: tuple) -> None:
        def dense(units: int, name: str, activation: str | None = None) -> Dense:
            return Dense(
                units,
                activation=activation,
                kernel_initializer=HostNormal(None),
                dtype=self.dtype_policy,
                trainable=self.trainable,  # a saved layer tells this for itself alone
                name=name,
            )

        width = input_shape[-1]
        self.reduce = dense(self.hidden, "reduce", self.activation)
        self.expand = dense(width, "expand")
        self.reduce.build((None, width))
        self.expand.build((None, self.hidden))

    def call(self, x: Any) -> Any:
        mean = ops.mean(ops.cast(x, "float32"), axis=(1, 2))
        gate = self.expand(self.reduce(ops.cast(mean, self.compute_dtype)))
        gate = ops.sigmoid(ops.cast(gate, "float32"))
        return x * ops.cast(gate, x.dtype)[:, None, None, :]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
