from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops import resize_bilinear
from keras_vitcnn.ops.convolution import ceil_div


@register
class UnfoldPatches(keras.layers.Layer):
    """Collect the pixels that sit alike in their patches: (b, h, w, c) -> (b, p * p, n, c).

    Set s of the p * p holds pixel s of every patch, so attention within a set joins pixels p apart.
    A map that isn't made of whole patches is first stretched (bilinear) to the next size that is.

    Args:
        patch_size: p, pixels along a patch's side.

    Source: arXiv:2110.02178, section 3.1; official ml-cvnets.
    """

    def __init__(self, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, x: Any) -> Any:
        _, height, width, channels = x.shape
        rows, columns = _patches((height, width), self.patch_size)
        size = self.patch_size
        x = resize_bilinear(x, (rows * size, columns * size))
        x = ops.reshape(x, (-1, rows, size, columns, size, channels))
        x = ops.transpose(x, (0, 2, 4, 1, 3, 5))
        return ops.reshape(x, (-1, size * size, rows * columns, channels))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, height, width, channels = input_shape
        rows, columns = _patches((height, width), self.patch_size)
        return batch, self.patch_size**2, rows * columns, channels


@register
class FoldPatches(keras.layers.Layer):
    """Undo `UnfoldPatches`: (b, p * p, n, c) -> (b, h, w, c).

    Args:
        size: (h, w) of the map.
        patch_size: p.
    """

    def __init__(self, size: tuple[int, int], patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size: tuple[int, int] = (size[0], size[1])
        self.patch_size = patch_size

    def call(self, x: Any) -> Any:
        rows, columns = _patches(self.size, self.patch_size)
        size, channels = self.patch_size, x.shape[-1]
        x = ops.reshape(x, (-1, size, size, rows, columns, channels))
        x = ops.transpose(x, (0, 3, 1, 4, 2, 5))
        x = ops.reshape(x, (-1, rows * size, columns * size, channels))
        return resize_bilinear(x, self.size)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape[0], *self.size, input_shape[-1]


def _patches(size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    return ceil_div(size[0], patch_size), ceil_div(size[1], patch_size)
