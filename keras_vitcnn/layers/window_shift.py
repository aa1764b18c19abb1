from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops.convolution import ceil_div


@register
class WindowShift(keras.layers.Layer):
    """Roll a map and fill it up to whole windows: (b, h, w, c) -> (b, h', w', c).

    Zeros fill up below and to the right, after rolling, as in timm: windows attend to them.

    Args:
        window: (rows, columns) of a window.
        shift: rows and columns by which the map is rolled up and to the left.

    Source: arXiv:2103.14030, section 3.2.
    """

    def __init__(self, window: tuple[int, int], shift: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window: tuple[int, int] = (window[0], window[1])
        self.shift: tuple[int, int] = (shift[0], shift[1])

    def call(self, x: Any) -> Any:
        x = _rolled(x, (-self.shift[0], -self.shift[1]))
        _, height, width, _ = self.compute_output_shape(x.shape)
        below, right = height - x.shape[1], width - x.shape[2]
        return ops.pad(x, [[0, 0], [0, below], [0, right], [0, 0]]) if below or right else x

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, height, width, channels = input_shape
        rows, columns = self.window
        return batch, ceil_div(height, rows) * rows, ceil_div(width, columns) * columns, channels


@register
class WindowUnshift(keras.layers.Layer):
    """Undo `WindowShift`: (b, h', w', c) -> (b, h, w, c).

    Args:
        size: (h, w).
        shift: as it was rolled.
    """

    def __init__(self, size: tuple[int, int], shift: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size: tuple[int, int] = (size[0], size[1])
        self.shift: tuple[int, int] = (shift[0], shift[1])

    def call(self, x: Any) -> Any:
        return _rolled(x[:, : self.size[0], : self.size[1]], self.shift)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape[0], *self.size, input_shape[-1]


def _rolled(x: Any, shift: tuple[int, int]) -> Any:
    # Not as ops.roll: LiteRT has no such operator.
    for axis, by in zip((1, 2), shift, strict=True):
        start = -by % x.shape[axis]
        if start:
            before, after = ops.split(x, [start], axis=axis)
            x = ops.concatenate([after, before], axis=axis)
    return x
