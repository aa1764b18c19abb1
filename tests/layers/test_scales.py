"""Learned scales of channels: LayerScale, ChannelAffine, GlobalResponseNormalization."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import ChannelAffine, GlobalResponseNormalization, LayerScale
from tests.helpers import call, gradients, to_numpy

RNG = np.random.default_rng(0)
MIXED = ["mixed_float16", "mixed_bfloat16"]


def weights(layer):
    return [to_numpy(w) for w in layer.weights]


def test_layer_scale_multiplies_each_channel():
    x = RNG.normal(size=(2, 3, 3, 4)).astype("float32")
    layer = LayerScale(0.1)
    np.testing.assert_allclose(to_numpy(call(layer, x)), 0.1 * x, rtol=1e-6)
    gamma = np.array([1.0, -2.0, 3.0, 0.5])
    layer.gamma.assign(gamma)
    np.testing.assert_allclose(to_numpy(call(layer, x)), gamma * x, rtol=1e-6)


@pytest.mark.parametrize("policy", MIXED)
def test_layer_scale_keeps_a_tiny_gain_in_float32(policy):
    layer = LayerScale(1e-6, dtype=policy)
    y = layer(keras.ops.ones((2, 3)))
    assert layer.gamma.dtype == "float32"
    np.testing.assert_array_equal(weights(layer)[0], np.float32(1e-6))
    # The output has the compute type, so all that can hold is correct rounding into it.
    rounded = keras.ops.cast(keras.ops.full((2, 3), 1e-6), policy.removeprefix("mixed_"))
    np.testing.assert_array_equal(to_numpy(y), to_numpy(rounded))
    assert to_numpy(y).min() > 0


@pytest.mark.parametrize("value", [1.0, 0.02])
@pytest.mark.parametrize("policy", MIXED)
def test_layer_scale_learns_where_its_product_vanishes(policy, value):
    """0.02 * 1e-6 is 0 in float16; the gradient for the gain, the sum of the inputs, is not."""
    layer = LayerScale(1e-6, dtype=policy)
    layer.build((None, 3))
    x = np.full((16, 3), value, "float32")
    (grad,) = gradients(
        lambda gamma: layer.stateless_call([gamma], [], keras.ops.convert_to_tensor(x))[0],
        np.full(3, 1e-6, "float32"),
    )
    np.testing.assert_allclose(grad, 16 * value, rtol=2**-8)


@pytest.mark.parametrize("init_value", [0, -1e-6])
def test_layer_scale_rejects_gains_that_are_not_positive(init_value):
    with pytest.raises(ValueError, match=r"`init_value`.*Received: init_value="):
        LayerScale(init_value)


@pytest.mark.parametrize(("gamma", "expected"), [("ones", 1.0), ("zeros", 0.0)])
def test_channel_affine_starts_as_told(gamma, expected):
    x = RNG.normal(size=(2, 3, 3, 4)).astype("float32")
    np.testing.assert_allclose(to_numpy(ChannelAffine(gamma)(x)), expected * x)


def test_channel_affine_is_scale_and_shift():
    x = RNG.normal(size=(2, 5, 4)).astype("float32")
    gamma, beta = RNG.normal(size=(2, 4))
    layer = ChannelAffine()
    layer(keras.Input(x.shape[1:]))
    layer.set_weights([gamma, beta])
    np.testing.assert_allclose(to_numpy(call(layer, x)), gamma * x + beta, atol=1e-6)
    assert [w.name for w in layer.trainable_weights] == ["gamma", "beta"]


def test_response_norm_starts_as_identity():
    x = RNG.normal(size=(2, 4, 3, 5)).astype("float32")
    np.testing.assert_array_equal(to_numpy(GlobalResponseNormalization()(x)), x)


def test_response_norm_is_the_papers_formula():
    x = RNG.normal(size=(2, 4, 3, 5))
    gamma, beta = RNG.normal(size=(2, 5))
    layer = GlobalResponseNormalization()
    layer(keras.Input(x.astype("float32").shape[1:]))
    layer.set_weights([gamma, beta])
    norm = np.sqrt((x**2).sum(axis=(1, 2), keepdims=True))
    norm = norm / (norm.mean(axis=-1, keepdims=True) + 1e-6)
    expected = gamma * (x * norm) + beta + x
    actual = to_numpy(call(layer, x.astype("float32")))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_response_norm_has_finite_gradients_for_dead_channels():
    x = RNG.normal(size=(2, 4, 3, 5)).astype("float32")
    x[..., 2] = 0
    layer = GlobalResponseNormalization()
    layer.build(x.shape)
    parameters = [np.ones(5, "float32"), np.zeros(5, "float32")]
    grads = gradients(
        lambda gamma, beta, x: layer.stateless_call([gamma, beta], [], x)[0], *parameters, x
    )
    assert all(np.isfinite(grad).all() for grad in grads)
    # A dead channel's normalised part is 0, so only the identity passes a gradient on.
    np.testing.assert_allclose(grads[2][..., 2], 1, rtol=1e-5)


@pytest.mark.parametrize("policy", MIXED)
def test_response_norm_sums_in_float32(policy):
    """The sum of 64 * 64 squares of 10 is beyond float16's largest number."""
    layer = GlobalResponseNormalization(dtype=policy)
    x = keras.ops.full((1, 64, 64, 2), 10.0)
    layer(keras.Input(x.shape[1:]))
    layer.gamma.assign([1.0, 1.0])
    np.testing.assert_allclose(to_numpy(call(layer, x)), 20.0, rtol=2**-7)
