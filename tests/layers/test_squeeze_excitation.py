"""Squeeze-and-excitation against its formula in float64."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import SqueezeExcitation
from tests.helpers import call, randomize, to_numpy

RNG = np.random.default_rng(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "silu": lambda x: x * sigmoid(x)}


def built(width, hidden, activation="relu", **options):
    layer = SqueezeExcitation(hidden, activation, **options)
    layer(keras.Input((4, 5, width)))
    randomize(layer)
    return layer


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_channels_are_weighed_by_the_pooled_map(activation):
    layer = built(6, 3, activation)
    x = RNG.normal(size=(2, 4, 5, 6))
    down, down_bias, up, up_bias = (to_numpy(weight) for weight in layer.weights)
    hidden = ACTIVATIONS[activation](x.mean(axis=(1, 2)) @ down + down_bias)
    gate = sigmoid(hidden @ up + up_bias)
    expected = x * gate[:, None, None]
    np.testing.assert_allclose(to_numpy(call(layer, x.astype("float32"))), expected, atol=1e-5)


def test_the_mean_of_large_numbers_does_not_overflow_in_float16():
    layer = built(4, 2, dtype="mixed_float16")
    x = keras.ops.convert_to_tensor(np.full((1, 4, 5, 4), 30000, "float32"), "float16")
    for weight in layer.weights:
        weight.assign(np.zeros(weight.shape))
    np.testing.assert_allclose(to_numpy(call(layer, x)), 15000, rtol=1e-3)
