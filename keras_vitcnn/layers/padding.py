from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops.convolution import pad2d


@register
class Padding2D(keras.layers.Layer):
    """Pad height and width on both sides: (b, h, w, c) -> (b, h + 2 * size, w + 2 * size, c).

    PyTorch pads a strided convolution alike on both sides, Keras' "same" does not; and its maximum
    pooling pads with minus infinity, which a zero only equals behind a ReLU.

    Args:
        size: rows and columns added on each side.
        lowest: pad with the smallest number of the data type instead of zero.
    """

    def __init__(self, size: int, lowest: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.lowest = lowest

    def call(self, x: Any) -> Any:
        value = -65504.0 if self.compute_dtype == "float16" else -3e38
        return pad2d(x, self.size, self.size, value if self.lowest else 0.0)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, height, width, channels = input_shape
        grown = [None if side is None else side + 2 * self.size for side in (height, width)]
        return batch, *grown, channels
