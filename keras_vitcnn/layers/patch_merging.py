from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops.convolution import ceil_div


@register
class PatchMerging(keras.layers.Layer):
    """Stack 2 x 2 neighbours in the channels: (b, h, w, c) -> (b, ceil(h/2), ceil(w/2), 4 * c).

    The order is upper left, lower left, upper right, lower right; an odd side gets a row or column
    of zeros. Norm and projection follow as layers of their own.

    Source: arXiv:2103.14030, section 3.1; official `swin_transformer.py`.
    """

    def call(self, x: Any) -> Any:
        _, height, width, channels = x.shape
        if height % 2 or width % 2:
            x = ops.pad(x, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]])
        rows, columns = ceil_div(height, 2), ceil_div(width, 2)
        x = ops.reshape(x, (-1, rows, 2, columns, 2, channels))
        x = ops.transpose(x, (0, 1, 3, 4, 2, 5))
        return ops.reshape(x, (-1, rows, columns, 4 * channels))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, height, width, channels = input_shape
        return batch, ceil_div(height, 2), ceil_div(width, 2), 4 * channels
