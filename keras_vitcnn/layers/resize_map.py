from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops import resize_bilinear


@register
class ResizeMap(keras.layers.Layer):
    """Resize a map of known size bilinearly: (b, h, w, c) -> (b, *size, c).

    As PyTorch's `interpolate(mode="bilinear", align_corners=False)` on every backend, made of
    matrix products, which any format of exported models has.

    Args:
        size: new (rows, columns).
    """

    def __init__(self, size: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size: tuple[int, int] = (size[0], size[1])

    def call(self, x: Any) -> Any:
        return resize_bilinear(x, self.size)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape[0], *self.size, input_shape[-1]
