from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.layers.convolution import Conv2D
from keras_vitcnn.layers.initializers import HostNormal


@register
class PatchEmbedding(keras.layers.Layer):
    """Cut an image or a map into patches and project each: (b, h, w, c) -> (b, tokens, width).

    A convolution whose stride is its kernel; tokens run row by row. Rows and columns that do not
    fill a patch are dropped, as in every reference implementation.

    Args:
        width: channels of a token.
        patch_size: pixels (or positions) along a patch's side.

    Source: arXiv:2010.11929, section 3.1.
    """

    def __init__(self, width: int, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.patch_size = patch_size
        self.projection = Conv2D(
            width,
            patch_size,
            patch_size,
            data_format="channels_last",
            kernel_initializer=HostNormal(),
            dtype=self.dtype_policy,
            trainable=self.trainable,  # a saved layer tells this for itself alone
            name="projection",
        )

    def build(self, input_shape: tuple) -> None:
        self.projection.build(input_shape)

    def call(self, x: Any) -> Any:
        maps = self.projection(x)
        return ops.reshape(maps, (-1, maps.shape[1] * maps.shape[2], self.width))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, height, width, _ = input_shape
        tokens = (height // self.patch_size) * (width // self.patch_size)
        return batch, tokens, self.width
