from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.layers.attention import softmax
from keras_vitcnn.layers.initializers import HostNormal
from keras_vitcnn.ops import resize_grid

MASKED = -100.0  # what the published weights were trained with; a float16 softmax stays finite


@register
class WindowAttention(keras.layers.Layer):
    """Softmax attention inside the windows of a map: (b, h, w, 3 * d) -> (b, h, w, d).

    The channels of the input are queries, keys and values as for `MultiHeadSelfAttention`. Every
    head adds a learned bias for each offset between query and key. Where the map was shifted
    (`WindowShift`), positions that came together only by that do not see each other. Scores, bias
    and softmax are float32.

    Weights saved with another window are resized on loading (bicubic, antialiased).

    Args:
        num_heads: divides `d`.
        window: (rows, columns) of a window; they divide h and w.
        shift: (rows, columns) by which the map was shifted.

    Source: arXiv:2103.14030, section 3.2; official `swin_transformer.py`.
    """

    def __init__(
        self,
        num_heads: int,
        window: tuple[int, int],
        shift: tuple[int, int] = (0, 0),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.window: tuple[int, int] = (window[0], window[1])
        self.shift: tuple[int, int] = (shift[0], shift[1])

    def build(self, input_shape: tuple) -> None:
        size = input_shape[1], input_shape[2]
        if None in size or size[0] % self.window[0] or size[1] % self.window[1]:
            raise ValueError(
                f"The input must be a map of whole windows of {self.window}, of known size. "
                f"Received: input_shape={input_shape}"
            )
        offsets = (2 * self.window[0] - 1) * (2 * self.window[1] - 1)
        self.relative_position = self.add_weight(
            name="relative_position",
            shape=(self.num_heads, offsets),
            initializer=HostNormal(),
            autocast=False,
        )
        self._index = relative_index(self.window).reshape(-1)
        self._mask = shift_mask(size, self.window, self.shift) if any(self.shift) else None

    def call(self, qkv: Any) -> Any:
        rows, columns = self.window
        grid = qkv.shape[1] // rows, qkv.shape[2] // columns
        width = qkv.shape[3] // 3
        query, key, value = self.split(qkv)
        y = ops.matmul(ops.cast(self._weights(query, key), value.dtype), value)
        y = ops.reshape(y, (-1, grid[1], self.num_heads, rows, columns, width // self.num_heads))
        y = ops.transpose(y, (0, 3, 1, 4, 2, 5))
        return ops.reshape(y, (-1, *qkv.shape[1:3], width))

    def split(self, qkv: Any) -> list[Any]:
        """Queries, keys and values, each (b, windows, heads, positions of a window, head_dim)."""
        rows, columns = self.window
        grid = qkv.shape[1] // rows, qkv.shape[2] // columns
        head_dim = qkv.shape[3] // 3 // self.num_heads
        # Six axes, with the rows of windows among the images: LiteRT transposes no more at once.
        shape = -1, rows, grid[1], columns, self.num_heads, head_dim
        windows = -1, grid[0] * grid[1], self.num_heads, rows * columns, head_dim
        return [
            ops.reshape(ops.transpose(ops.reshape(part, shape), (0, 2, 4, 1, 3, 5)), windows)
            for part in ops.split(qkv, 3, axis=-1)
        ]

    def attention(self, qkv: Any) -> Any:
        """The attention matrices, float32: (b, windows, heads, queries, keys)."""
        query, key, _ = self.split(qkv)
        return self._weights(query, key)

    def _weights(self, query: Any, key: Any) -> Any:
        scale = query.shape[-1] ** -0.5
        scores = ops.matmul(query * scale, ops.transpose(key, (0, 1, 2, 4, 3)))
        scores = ops.cast(scores, "float32") + self.bias()
        if self._mask is not None:
            scores = scores + ops.convert_to_tensor(self._mask[:, None], "float32")
        return softmax(scores)

    def bias(self) -> Any:
        """The learned part of the scores, float32: (heads, queries, keys) of a window."""
        area = self.window[0] * self.window[1]
        # Along the first axis a look-up in a table, which every format of exported models has.
        bias = ops.take(ops.transpose(self.relative_position), self._index, axis=0)
        return ops.reshape(ops.transpose(bias), (self.num_heads, area, area))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return *input_shape[:-1], input_shape[-1] // 3

    def save_own_variables(self, store: dict) -> None:
        super().save_own_variables(store)
        store["window"] = np.array(self.window)

    def load_own_variables(self, store: dict) -> None:
        rows, columns = (int(size) for size in store["window"])
        self.relative_position.assign(self.resized(np.asarray(store["0"]), (rows, columns)))

    def resized(self, table: np.ndarray, window: tuple[int, int]) -> np.ndarray:
        """A table (heads, offsets) learned with `window`, as this layer needs it."""
        if window == self.window:
            return table
        old = 2 * window[0] - 1, 2 * window[1] - 1
        new = 2 * self.window[0] - 1, 2 * self.window[1] - 1
        grid = resize_grid(table.T.reshape(*old, -1), new)
        return grid.reshape(-1, grid.shape[-1]).T


def relative_index(window: tuple[int, int]) -> np.ndarray:
    """Which offset, query minus key, each pair of a window's positions has: (area, area)."""
    rows, columns = np.divmod(np.arange(window[0] * window[1]), window[1])
    dy = rows[:, None] - rows[None] + window[0] - 1
    dx = columns[:, None] - columns[None] + window[1] - 1
    return dy * (2 * window[1] - 1) + dx


def shift_mask(
    size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> np.ndarray:
    """What to add to the scores of a shifted map: (windows, area, area), 0 or -100.

    The last window of an axis holds two regions, the end of the map and what was rolled behind it.
    """
    regions = [
        np.repeat([0, 1, 2], [side - side_window, side_window - by, by]) if by else np.zeros(side)
        for side, side_window, by in zip(size, window, shift, strict=True)
    ]
    labels = 3 * regions[0][:, None] + regions[1][None]  # (h, w)
    grid = size[0] // window[0], size[1] // window[1]
    labels = labels.reshape(grid[0], window[0], grid[1], window[1]).transpose(0, 2, 1, 3)
    labels = labels.reshape(grid[0] * grid[1], -1)
    return np.where(labels[:, :, None] == labels[:, None], 0, MASKED).astype("float32")
