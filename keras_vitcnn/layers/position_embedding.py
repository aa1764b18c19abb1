from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.layers.initializers import HostNormal
from keras_vitcnn.ops import resize_grid


@register
class PositionEmbedding(keras.layers.Layer):
    """Add a learned position to every token: (b, prefix + rows * columns, d), same shape out.

    Weights saved on another grid are resized on loading (bicubic, antialiased; prefix tokens keep
    their positions), so a model built for 384 px loads the weights of one built for 224 px.

    Args:
        grid: (rows, columns) of the patches.
        prefix_tokens: class and distillation tokens in front that have a position too.

    Source: arXiv:2010.11929, equation 1 and section 3.2.
    """

    def __init__(self, grid: tuple[int, int], prefix_tokens: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid: tuple[int, int] = (grid[0], grid[1])
        self.prefix_tokens = prefix_tokens

    def build(self, input_shape: tuple) -> None:
        tokens = self.prefix_tokens + self.grid[0] * self.grid[1]
        if input_shape[1] != tokens:
            raise ValueError(
                f"The input must have prefix_tokens + rows * columns = {tokens} tokens. "
                f"Received: input_shape={input_shape}"
            )
        self.embedding = self.add_weight(
            name="embedding",
            shape=(1, tokens, input_shape[-1]),
            initializer=HostNormal(),
        )

    def call(self, x: Any) -> Any:
        return x + ops.cast(self.embedding, x.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def save_own_variables(self, store: dict) -> None:
        super().save_own_variables(store)
        store["grid"] = np.array(self.grid)

    def load_own_variables(self, store: dict) -> None:
        rows, columns = (int(size) for size in store["grid"])
        self.embedding.assign(self.resized(np.asarray(store["0"]), (rows, columns)))

    def resized(self, embedding: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """An embedding (1, prefix + tokens, d) learned on `grid`, as this layer needs it."""
        if grid == self.grid:
            return embedding
        prefix = embedding[0, : self.prefix_tokens]
        patches = embedding[0, self.prefix_tokens :]
        patches = resize_grid(patches.reshape(*grid, -1), self.grid)
        return np.concatenate([prefix, patches.reshape(-1, patches.shape[-1])])[None]
