"""Maximum pooling in every lowering against its definition."""

import keras
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from keras_vitcnn.ops import lowering, max_pool2d
from keras_vitcnn.ops.lowerings import CHOICES, listed
from tests.helpers import gradients, to_numpy

SHAPE = (2, 9, 6, 3)
KINDS = [(3, 2, "valid"), (3, 2, "same"), (2, 2, "same"), (3, 1, "valid"), (2, 3, "same")]
each = pytest.mark.parametrize("name", CHOICES["pool"])
kinds = pytest.mark.parametrize("kind", KINDS)


def different(shape=SHAPE):
    """All below zero, no two alike."""
    numbers = np.random.default_rng(0).permutation(np.prod(shape))
    return -1 - numbers.reshape(shape).astype("float32")


def windows(x, size, strides, padding):
    """(b, h', w', c, size * size), with minus infinity outside."""
    pads = [(0, 0)] * 4
    if padding == "same":
        for axis in (1, 2):
            total = max((-(-x.shape[axis] // strides) - 1) * strides + size - x.shape[axis], 0)
            pads[axis] = total // 2, total - total // 2
    x = np.pad(x, pads, constant_values=-np.inf)
    found = sliding_window_view(x, (size, size), axis=(1, 2))[:, ::strides, ::strides]
    return found.reshape(*found.shape[:4], -1)


@each
@kinds
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_lowering_equals_the_definition(kind, name, dtype):
    x = keras.ops.cast(keras.ops.convert_to_tensor(different() / 128), dtype)
    with lowering(name):
        y = max_pool2d(x, *kind)
    expected = windows(np.asarray(to_numpy(keras.ops.cast(x, "float32"))), *kind).max(-1)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    np.testing.assert_array_equal(to_numpy(keras.ops.cast(y, "float32")), expected)


@each
@kinds
def test_the_largest_gets_the_gradient(kind, name):
    x = different()
    largest = windows(x, *kind).max(-1)
    upstream = np.random.default_rng(1).normal(size=largest.shape).astype("float32")
    expected = np.zeros(SHAPE)
    for value, each_upstream in zip(largest.ravel(), upstream.ravel(), strict=True):
        expected[x == value] += each_upstream

    def weighted(tensor):
        with lowering(name):
            return max_pool2d(tensor, *kind) * keras.ops.convert_to_tensor(upstream)

    (found,) = gradients(weighted, x)
    np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=1e-6)


@each
def test_equal_values_share_one_gradient(name):
    def pooled(tensor):
        with lowering(name):
            return max_pool2d(tensor, 3, 3)

    (found,) = gradients(pooled, np.ones((1, 6, 6, 1), "float32"))
    found = to_numpy(found).reshape(2, 3, 2, 3)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum((1, 3)), np.ones((2, 2)), rtol=1e-6)


@pytest.mark.backend_independent
def test_the_table_has_the_fast_ones_on_cpus(monkeypatch):
    monkeypatch.setattr("keras_vitcnn.ops.lowerings.places", lambda: ("cpu",))
    found = [listed("pool", backend) for backend in ("tensorflow", "jax", "torch")]
    assert found == ["native", "shifted", "view"]
