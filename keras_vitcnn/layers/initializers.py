from __future__ import annotations

import random
from math import prod
from typing import Any

import keras
import numpy as np

from keras_vitcnn.layers._register import register


@register
class HostNormal(keras.Initializer):
    """A normal distribution drawn by NumPy.

    JAX compiles a random draw anew for every shape, which takes most of the time of building a
    model there; one draw on the host takes none, and gives the same numbers on every backend.

    Args:
        stddev: standard deviation, cut at two of them as `keras.initializers.TruncatedNormal`;
            `None` for He's sqrt(2 / fan_out), uncut (arXiv:1502.01852).
        seed: integer; by default drawn from `keras.utils.set_random_seed`.
    """

    def __init__(self, stddev: float | None = 0.02, seed: int | None = None) -> None:
        self.stddev = stddev
        self.seed = random.randint(1, 2**31 - 1) if seed is None else seed
        self._given_seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        rng = np.random.default_rng(self.seed)
        draw = rng.standard_normal(shape, dtype="float32")
        if self.stddev is None:
            receptive_field = prod(shape[:-2]) if len(shape) > 2 else 1
            draw *= (2 / (receptive_field * shape[-1])) ** 0.5
        else:
            outside = np.abs(draw) > 2
            while outside.any():
                draw[outside] = rng.standard_normal(outside.sum(), dtype="float32")
                outside = np.abs(draw) > 2
            draw *= self.stddev
        return keras.ops.convert_to_tensor(draw, dtype)

    def get_config(self) -> dict:
        return {"stddev": self.stddev, "seed": self._given_seed}
