from __future__ import annotations

import random
from functools import cache
from math import erf, prod, sqrt
from typing import Any

import keras
import numpy as np

from keras_vitcnn.layers._register import register

LEVELS = 1 << 16


@register
class HostNormal(keras.Initializer):
    """A normal distribution drawn by NumPy.

    JAX compiles a random draw anew for every shape, which takes most of the time of building a
    model there; one draw on the host takes none, and gives the same numbers on every backend.

    Args:
        stddev: standard deviation, cut at two of them as `keras.initializers.TruncatedNormal`;
            `None` for He's sqrt(2 / fan_out), which ends at 4.2 of them (arXiv:1502.01852).
        seed: integer; by default drawn from `keras.utils.set_random_seed`.
    """

    def __init__(self, stddev: float | None = 0.02, seed: int | None = None) -> None:
        self.stddev = stddev
        self.seed = random.randint(1, 2**31 - 1) if seed is None else seed
        self._given_seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        if self.stddev is None:
            receptive_field = prod(shape[:-2]) if len(shape) > 2 else 1
            scaled = _quantiles(5) * (2 / (receptive_field * shape[-1])) ** 0.5
        else:
            scaled = _quantiles(2) * self.stddev
        drawn = np.random.default_rng(self.seed).integers(LEVELS, size=shape, dtype="uint16")
        return keras.ops.convert_to_tensor(scaled.astype("float32")[drawn], dtype)

    def get_config(self) -> dict:
        return {"stddev": self.stddev, "seed": self._given_seed}


@cache
def _quantiles(cut: float) -> np.ndarray:
    """As many equally likely values of a standard normal distribution cut at +-`cut`.

    Drawing one of them costs less than an exact draw with its rejections, which made building a
    model slower than drawing uniform numbers does.
    """
    x = np.linspace(-cut, cut, 8193)
    below = np.array([0.5 * (1 + erf(value / sqrt(2))) for value in x])
    middles = (np.arange(LEVELS) + 0.5) / LEVELS
    return np.interp(below[0] + (below[-1] - below[0]) * middles, below, x)
