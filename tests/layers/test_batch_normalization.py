"""Batch normalization in training against its definition in float64."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import BatchNormalization
from tests.helpers import gradients, to_numpy

MOMENTUM, EPSILON = 0.7, 1e-2


def arrays(shape, axis):
    rng = np.random.default_rng(len(shape))
    x = rng.normal(2, 3, shape).astype("float32")
    gamma, beta = rng.normal(size=(2, shape[axis])).astype("float32")
    return x, gamma, beta


def built(shape, axis, **options):
    layer = BatchNormalization(axis, momentum=MOMENTUM, epsilon=EPSILON, **options)
    layer.build(shape)
    return layer


def expected(x, gamma, beta, axis):
    """The result, and what the moving mean and variance become."""
    x = np.moveaxis(np.float64(x), axis, -1)
    others = tuple(range(x.ndim - 1))
    mean, variance = x.mean(others), x.var(others)
    y = (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta
    moved = (1 - MOMENTUM) * mean, MOMENTUM + (1 - MOMENTUM) * variance
    return np.moveaxis(y, -1, axis), moved


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 3, 5, 6), -1), ((4, 6, 3, 5), 1), ((7, 6), -1), ((1, 6), -1)]
)
def test_training_is_the_definition(shape, axis, affine):
    x, gamma, beta = arrays(shape, axis)
    layer = built(shape, axis, center=affine, scale=affine)
    if affine:
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    y, moved = expected(x, *((gamma, beta) if affine else (1, 0)), axis)
    found = to_numpy(layer(keras.ops.convert_to_tensor(x), training=True))
    np.testing.assert_allclose(found, y, atol=2e-5)
    np.testing.assert_allclose(to_numpy(layer.moving_mean), moved[0], atol=1e-5)
    np.testing.assert_allclose(to_numpy(layer.moving_variance), moved[1], atol=1e-5)


def test_its_gradient_is_that_of_the_definition():
    x, gamma, beta = arrays((4, 3, 5, 6), -1)
    upstream = np.random.default_rng(8).normal(size=x.shape)
    layer = built(x.shape, -1)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)

    def weighted(x):
        return layer(x, training=True) * keras.ops.convert_to_tensor(upstream.astype("float32"))

    (found,) = gradients(weighted, x)
    wide = np.float64(x)
    inverse = 1 / np.sqrt(wide.var((0, 1, 2)) + EPSILON)
    normed = (wide - wide.mean((0, 1, 2))) * inverse
    inner = upstream - upstream.mean((0, 1, 2)) - normed * (upstream * normed).mean((0, 1, 2))
    np.testing.assert_allclose(to_numpy(found), gamma * inverse * inner, atol=1e-5)


def test_gains_and_shifts_are_trained():
    x, _, _ = arrays((4, 3, 5, 6), -1)
    model = keras.Sequential([keras.Input(x.shape[1:]), BatchNormalization(name="norm")])
    model.compile("sgd", "mse")
    norm = model.get_layer("norm")
    before = [to_numpy(weight).copy() for weight in norm.trainable_weights]
    model.train_on_batch(x, x**2)
    assert len(before) == 2
    for weight, old in zip(norm.trainable_weights, before, strict=True):
        assert np.abs(to_numpy(weight) - old).min() > 1e-5


@pytest.mark.parametrize("frozen", [True, False])
def test_averages_are_used_and_kept_where_nothing_is_trained(frozen):
    x, gamma, _ = arrays((4, 3, 5, 6), -1)
    layer = built(x.shape, -1, trainable=not frozen)
    layer.moving_mean.assign(gamma)
    y = to_numpy(layer(keras.ops.convert_to_tensor(x), training=frozen))
    np.testing.assert_allclose(y, (x - gamma) / np.sqrt(1 + EPSILON), atol=1e-5)
    np.testing.assert_array_equal(to_numpy(layer.moving_mean), gamma)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_statistics_of_half_precision_are_whole(dtype):
    x, gamma, beta = arrays((4, 3, 5, 6), -1)
    x = (x + 100).astype("float16").astype("float32")  # the mean is far from 0
    layer = built(x.shape, -1, dtype=dtype)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    half = keras.ops.cast(x, layer.compute_dtype)
    y, moved = expected(to_numpy(keras.ops.cast(half, "float32")), gamma, beta, -1)
    found = layer(half, training=True)
    assert keras.backend.standardize_dtype(found.dtype) == layer.compute_dtype
    np.testing.assert_allclose(to_numpy(keras.ops.cast(found, "float32")), y, atol=2e-2)
    np.testing.assert_allclose(to_numpy(layer.moving_mean), moved[0], rtol=1e-5)
    np.testing.assert_allclose(to_numpy(layer.moving_variance), moved[1], rtol=1e-3)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's own operation")
def test_it_is_one_operation():
    import torch

    x, _, _ = arrays((4, 3, 5, 6), -1)
    layer = built(x.shape, -1)
    with torch.profiler.profile() as profile:
        layer(keras.ops.convert_to_tensor(x), training=True)
    names = {event.key for event in profile.key_averages()}
    assert "aten::native_batch_norm" in names
    assert "aten::mean" not in names
