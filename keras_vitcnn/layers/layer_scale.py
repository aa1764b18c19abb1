from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register


@register
class LayerScale(keras.layers.Layer):
    """Learned scale per channel of a residual branch, kept and applied in float32.

    In float16 a gain of 1e-6 keeps two digits at most, and its gradient vanishes; here only the
    product is rounded, to the layer's compute dtype. Input and output: (..., channels).

    Args:
        init_value: initial gain, e.g. 1e-6 (ConvNeXt) or 1e-4 (DeiT-III).

    Source: arXiv:2103.17239, equation 4.
    """

    def __init__(self, init_value: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if init_value <= 0:
            raise ValueError(
                "`init_value` must be positive: leave the layer out to disable layer scale. "
                f"Received: init_value={init_value}"
            )
        self.init_value = init_value

    def build(self, input_shape: tuple) -> None:
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.init_value),
            autocast=False,
        )

    def call(self, x: Any) -> Any:
        return keras.ops.cast(keras.ops.cast(x, "float32") * self.gamma, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
