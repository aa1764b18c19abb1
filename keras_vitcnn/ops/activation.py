"""Activations that a backend lowers badly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vitcnn.system import device

# The normal distribution function less a half, as x * P(x²) / Q(x²) up to where float32 has one
# half: least squares with Lawson's weights, 5.5e-9 off, and 1e-7 too steep, so that what follows
# from its rounding at the ends is cut off. Coefficients from the constant on.
REACH = 5.4
P = (
    0.3989422917366028,
    0.033372242003679276,
    0.0046508521772921085,
    0.0001643218274693936,
    6.36002096143784e-06,
    2.3386728997820683e-08,
)
Q = (
    1.0,
    0.25031790137290955,
    0.028378693386912346,
    0.0018589821411296725,
    7.240021659526974e-05,
    1.216590703734255e-06,
)


def gelu(x: Any) -> Any:
    """x times the normal distribution function of x, the exact GELU.

    JAX goes through `erfc`, of which XLA computes two forms and chooses between them: on CPUs a
    fifth of a ConvNeXt's MLP. Float32 takes a rational function there, with errors below 2e-6.

    Args:
        x: of any shape.
    """
    if keras.backend.backend() == "jax" and device() == "cpu" and x.dtype == np.float32:
        return _jax_gelu()(x)
    return keras.activations.gelu(x)


@cache
def _jax_gelu() -> Any:
    import jax

    @jax.custom_jvp
    def rational_gelu(x: Any) -> Any:
        return x * _normal_distribution(x)

    @rational_gelu.defjvp
    def _derivative(primals: Any, tangents: Any) -> Any:
        (x,), (dx,) = primals, tangents
        share = _normal_distribution(x)
        density = ops.exp(-0.5 * ops.square(x)) * float(1 / np.sqrt(2 * np.pi))
        return x * share, dx * (share + x * density)

    return rational_gelu


def _normal_distribution(x: Any) -> Any:
    x = ops.clip(x, -REACH, REACH)
    square = ops.square(x)
    return 0.5 + ops.clip(x * _polynomial(P, square) / _polynomial(Q, square), -0.5, 0.5)


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
