"""Our dense convolution is Keras', whatever its arguments."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import Conv2D, StandardizedConv2D
from tests.helpers import to_numpy

CASES = [
    {"kernel_size": 3},
    {"kernel_size": 3, "strides": 2, "padding": "same"},
    {"kernel_size": (1, 3), "padding": "same"},
    {"kernel_size": 3, "groups": 2},
    {"kernel_size": 3, "dilation_rate": 2},
    {"kernel_size": 2, "padding": "same", "use_bias": False, "activation": "relu"},
]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_as_of_keras(options: dict) -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 4)).astype("float32")
    kinds = (Conv2D, keras.layers.Conv2D)
    ours, theirs = (kind(6, data_format="channels_last", **options) for kind in kinds)
    for layer in (ours, theirs):
        layer.build(x.shape)
    theirs.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in theirs.weights])
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(to_numpy(ours(x)), to_numpy(theirs(x)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [3, (1, 3)])
def test_a_standardized_kernel_of_any_form(size: int | tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 4)).astype("float32")
    plain, ours = Conv2D(6, size), StandardizedConv2D(6, size)
    for layer in (plain, ours):
        layer.build(x.shape)
    kernel = 1 + np.random.default_rng(1).normal(size=ours.kernel.shape)
    ours.set_weights([kernel, np.zeros(6)])
    mean, variance = kernel.mean((0, 1, 2)), kernel.var((0, 1, 2))
    plain.set_weights([(kernel - mean) / np.sqrt(variance + 1e-8), np.zeros(6)])
    np.testing.assert_allclose(to_numpy(ours(x)), to_numpy(plain(x)), rtol=0, atol=1e-4)


def test_strides_apart_along_the_axes() -> None:
    with pytest.raises(ValueError, match="strides"):
        Conv2D(6, 3, strides=0)
    x = np.ones((1, 6, 6, 2), "float32")
    assert Conv2D(3, 1, strides=(1, 2))(x).shape == (1, 6, 3, 3)
