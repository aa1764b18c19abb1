"""A recomputed block learns exactly what the plain block learns."""

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import DepthwiseConv2D, Remat, StochasticDepth
from tests.helpers import call, randomize, to_numpy


def classifier(remat: bool) -> keras.Model:
    """Two residual blocks with batch statistics and random numbers, recomputed or not."""
    x = inputs = keras.Input((6, 6, 4))
    for seed in (1, 2):
        start = keras.Input((6, 6, 4))
        y = DepthwiseConv2D(3, use_bias=False, depthwise_initializer="zeros")(start)
        y = keras.layers.Dense(4, use_bias=False, kernel_initializer="zeros")(y)
        y = keras.layers.BatchNormalization(momentum=0.5)(y)
        y = keras.layers.Activation("gelu")(y)
        y = keras.layers.Dropout(0.3, seed=seed)(y)
        y = StochasticDepth(0.5, seed=seed)(y)
        block = keras.Model(start, keras.layers.Add()([start, y]))
        x = Remat(block)(x) if remat else block(x)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    return keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="zeros")(x))


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 6, 6, 4)).astype("float32"), rng.integers(0, 3, 8)


@pytest.fixture
def pair():
    plain, recomputed = classifier(remat=False), classifier(remat=True)
    randomize(plain)
    recomputed.set_weights(plain.get_weights())
    return plain, recomputed


def state(model):
    return [to_numpy(v) for v in model.variables if keras.backend.is_float_dtype(v.dtype)]


def test_outputs_are_equal(pair):
    x, _ = data()
    plain, recomputed = (to_numpy(call(model, x)) for model in pair)
    np.testing.assert_allclose(recomputed, plain, atol=1e-6)


@pytest.mark.parametrize(
    "run_eagerly", [False] if keras.backend.backend() == "jax" else [False, True]
)
def test_fit_takes_the_same_steps(pair, run_eagerly):
    """Equal weights after SGD are equal gradients; equal statistics, one update per step."""
    x, labels = data()
    before = state(pair[0])
    for model in pair:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=run_eagerly)
        model.fit(x, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    after, recomputed = state(pair[0]), state(pair[1])
    assert len(after) == len(recomputed)
    for old, new, other in zip(before, after, recomputed, strict=True):
        np.testing.assert_allclose(other, new, atol=1e-5)
        if old.ndim:  # all but the optimizer's learning rate
            assert np.abs(new - old).max() > 1e-6
