from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register


@register
class StochasticDepth(keras.layers.Layer):
    """Drop a residual branch for whole samples while training, and scale up the ones that stay.

    Each sample's branch is zeroed with probability `rate` and otherwise divided by `1 - rate`, so
    that the mean is kept. Identity at inference. Input and output: (batch, ...).

    Args:
        rate: probability in [0, 1).
        seed: integer; by default drawn from `keras.utils.set_random_seed`.

    Source: arXiv:1603.09382; per sample, as timm's `DropPath`.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate}")
        self.rate = rate
        self.seed = seed
        # A generator that is a layer's own state is what makes the draw traceable under JAX.
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return x
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        keep = ops.cast(draw >= self.rate, "float32") / (1 - self.rate)
        return x * ops.cast(keep, x.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
