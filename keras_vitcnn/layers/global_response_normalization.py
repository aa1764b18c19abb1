from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register


@register
class GlobalResponseNormalization(keras.layers.Layer):
    """Let channels compete by their global L2 norm; identity at the start. (b, h, w, c) both ways.

    y = gamma * x * n + beta + x, where n is the norm over height and width of each channel divided
    by its mean over the channels. Computes in float32.

    Args:
        epsilon: added to the mean.

    Source: arXiv:2301.00808, section 3.2; official PyTorch `GRN`.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple) -> None:
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="zeros", autocast=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", autocast=False)

    def call(self, x: Any) -> Any:
        x = ops.cast(x, "float32")
        power = ops.sum(ops.square(x), axis=(1, 2), keepdims=True)
        # The gradient of a square root is infinite at the zero of a dead channel.
        norm = ops.sqrt(ops.maximum(power, 1e-24))
        norm = norm / (ops.mean(norm, axis=-1, keepdims=True) + self.epsilon)
        return ops.cast(self.gamma * (x * norm) + self.beta + x, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
