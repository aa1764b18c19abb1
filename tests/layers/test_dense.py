"""The one product with a bias: Keras' own, in every mode that Keras gives its layer."""

from typing import Any

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import Dense
from tests.helpers import gradients, to_numpy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
KERNEL = RNG.normal(size=(5, 7)).astype("float32")
BIAS = RNG.normal(size=7).astype("float32")


def dense(**options: Any) -> Dense:
    layer = Dense(7, **options)
    layer.build(X.shape)
    layer.set_weights([KERNEL, BIAS] if layer.use_bias else [KERNEL])
    return layer


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_product_bias_activation(use_bias: bool, activation: str | None) -> None:
    expected = np.float64(X) @ np.float64(KERNEL) + (BIAS if use_bias else 0)
    expected = np.maximum(expected, 0) if activation else expected
    y = to_numpy(dense(use_bias=use_bias, activation=activation)(X))
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_gradients() -> None:
    layer = dense()
    (actual,) = gradients(layer, X)
    expected = np.broadcast_to(np.float64(KERNEL).sum(axis=1), X.shape)
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=0, atol=1e-5)


def test_half_precision_computes_in_half() -> None:
    y = dense(dtype="mixed_bfloat16")(X)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


def test_low_rank_adapters_count() -> None:
    layer = dense()
    before = to_numpy(layer(X))
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(RNG.normal(size=(2, 7)).astype("float32"))
    full = to_numpy(layer.kernel).astype("float64")
    np.testing.assert_allclose(to_numpy(layer(X)), np.float64(X) @ full + BIAS, rtol=0, atol=1e-5)
    assert not np.allclose(before, to_numpy(layer(X)))


def test_quantized() -> None:
    layer = dense()
    exact = to_numpy(layer(X))
    layer.quantize("int8")
    y = to_numpy(layer(X))
    assert 0 < np.abs(y - exact).max() < 0.05 * np.abs(exact).max()
