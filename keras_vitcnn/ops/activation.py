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


def gelu(x: Any, training: bool | None = False) -> Any:
    """x times the normal distribution function of x, the exact GELU.

    JAX goes through `erfc`, of which XLA computes two forms and chooses between them: on CPUs a
    fifth of a ConvNeXt's MLP. Float32 takes a rational function there, with errors below 2e-6.
    TensorFlow walks over x four times and for the gradient ten; in training XLA makes that one
    walk each. Otherwise it joins GELU to the product in front of it (`linear`).

    Args:
        x: of any shape.
        training: whether a gradient is wanted, of which TensorFlow must be told beforehand.
    """
    if x.dtype == np.float32 and device() == "cpu":
        if keras.backend.backend() == "jax":
            return _jax_gelu()(x)
        if keras.backend.backend() == "tensorflow" and training:
            return _tensorflow_gelu()(x)
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
        return x * share, dx * (share + x * _normal_density(x))

    return rational_gelu


@cache
def _tensorflow_gelu() -> Any:
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def value(x: Any) -> Any:
        return x * _normal_distribution(x)

    @tf.function(jit_compile=True, autograph=False)
    def backward(x: Any, upstream: Any) -> Any:
        return upstream * (_normal_distribution(x) + x * _normal_density(x))

    @tf.custom_gradient
    def rational_gelu(x: Any) -> Any:
        return value(x), lambda upstream: backward(x, upstream)

    return rational_gelu


def _normal_density(x: Any) -> Any:
    return ops.exp(-0.5 * ops.square(x)) * float(1 / np.sqrt(2 * np.pi))


def _normal_distribution(x: Any) -> Any:
    x = ops.clip(x, -REACH, REACH)
    square = ops.square(x)
    return 0.5 + ops.clip(x * _polynomial(P, square) / _polynomial(Q, square), -0.5, 0.5)


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
