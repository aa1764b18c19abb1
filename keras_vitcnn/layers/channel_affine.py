from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register


@register
class ChannelAffine(keras.layers.Layer):
    """Learned scale and shift per channel, without statistics: y = gamma * x + beta.

    The second half of split normalization: the input of a convolution is normalised without an
    affine part (`BatchNormalization(center=False, scale=False)`), its output gets this one.
    Computes in float32. Input and output: (..., channels).

    Args:
        gamma_initializer: start of the scale; `"zeros"` makes a residual branch start as identity.

    Source: blog post "Vision Transformers are Overrated" (GResNet).
    """

    def __init__(self, gamma_initializer: str = "ones", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma_initializer = gamma_initializer

    def build(self, input_shape: tuple) -> None:
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(
            name="gamma", shape=shape, initializer=self.gamma_initializer, autocast=False
        )
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", autocast=False)

    def call(self, x: Any) -> Any:
        y = keras.ops.cast(x, "float32") * self.gamma + self.beta
        return keras.ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
