from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.layers.attention import attention_weights, heads_first, softmax
from keras_vitcnn.layers.initializers import HostNormal


@register
class GatedPositionalSelfAttention(keras.layers.Layer):
    """ConViT's attention: a learned gate per head mixes content with relative position.

    Inputs: queries and keys fused, (b, n, 2 * d), and values, (b, n, d), for n = rows * columns
    patches without a class token; output (b, n, d). Both softmaxes and the gate run in float32.

    With a `locality_strength` the heads start as the taps of a convolution: head h attends as
    exp(-strength * |delta - delta_h|^2), delta_h running over a sqrt(heads) x sqrt(heads) grid;
    heads beyond that square start at random.

    Args:
        num_heads: divides `d`.
        grid: (rows, columns) of the patches.
        locality_strength: alpha of the convolutional start; `None` starts the positions at random.
        gate_init: initial lambda; sigmoid(lambda) is the share of the position branch.
        train_gate: whether lambda is learned.

    Source: arXiv:2103.10697, equations 6-8; official `convit.py`.
    """

    def __init__(
        self,
        num_heads: int,
        grid: tuple[int, int],
        locality_strength: float | None = 1.0,
        gate_init: float = 1.0,
        train_gate: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.grid: tuple[int, int] = (grid[0], grid[1])
        self.locality_strength = locality_strength
        self.gate_init = gate_init
        self.train_gate = train_gate

    def build(self, input_shape: list[tuple]) -> None:
        self.position_kernel = self.add_weight(
            name="position_kernel",
            shape=(3, self.num_heads),
            initializer=self._locality,
            autocast=False,
        )
        self.position_bias = self.add_weight(
            name="position_bias", shape=(self.num_heads,), initializer="zeros", autocast=False
        )
        self.gate = self.add_weight(
            name="gate",
            shape=(self.num_heads,),
            initializer=keras.initializers.Constant(self.gate_init),
            trainable=self.train_gate,
            autocast=False,
        )
        self._offsets = relative_offsets(self.grid)

    def _locality(self, shape: tuple, dtype: Any = None) -> Any:
        kernel = HostNormal()(shape, dtype)
        if self.locality_strength is None:
            return kernel
        kernel = np.array(ops.convert_to_numpy(kernel))
        side = int(self.num_heads**0.5)
        centre = (side - 1) / 2 if side % 2 == 0 else side // 2
        for column in range(side):
            for row in range(side):
                kernel[:, row + side * column] = self.locality_strength * np.array(
                    [2 * (column - centre), 2 * (row - centre), -1]
                )
        return ops.convert_to_tensor(kernel, dtype)

    def call(self, qk: Any, value: Any) -> Any:
        (values,) = heads_first(value, 1, self.num_heads)
        y = ops.matmul(ops.cast(self.attention(qk), value.dtype), values)
        return ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, *value.shape[1:]))

    def attention(self, qk: Any) -> Any:
        """The mixed attention matrix, float32: (b, heads, queries, keys); rows sum to one."""
        gate = ops.reshape(ops.sigmoid(self.gate), (1, -1, 1, 1))
        return (1 - gate) * self.content_attention(qk) + gate * self.position_attention()

    def content_attention(self, qk: Any) -> Any:
        """softmax(q k^T / sqrt(head_dim)), float32: (b, heads, queries, keys)."""
        return attention_weights(*heads_first(qk, 2, self.num_heads))

    def position_attention(self) -> Any:
        """The part that depends on the geometry alone, float32: (1, heads, queries, keys)."""
        offsets = ops.convert_to_tensor(self._offsets, "float32")
        scores = ops.matmul(offsets, self.position_kernel) + self.position_bias  # (q, k, heads)
        return softmax(ops.transpose(scores, (2, 0, 1)))[None]

    def compute_output_shape(self, qk_shape: tuple, value_shape: tuple) -> tuple:
        return value_shape


def relative_offsets(grid: tuple[int, int]) -> np.ndarray:
    """(dx, dy, dx^2 + dy^2) from every query to every key in patches: (queries, keys, 3)."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    dx = columns[None] - columns[:, None]
    dy = rows[None] - rows[:, None]
    return np.stack([dx, dy, dx**2 + dy**2], axis=-1).astype("float32")
