import keras
import numpy as np
import pytest

from keras_vitcnn.layers import StochasticDepth
from tests.helpers import to_numpy

ones = keras.ops.ones
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0.0, True), (0.0, False)])
def test_identity_at_inference_and_at_rate_zero(rate, training):
    x = keras.ops.convert_to_tensor(RNG.normal(size=(8, 3, 3, 2)).astype("float32"))
    y = StochasticDepth(rate)(x, training=training)
    np.testing.assert_array_equal(to_numpy(y), to_numpy(x))


def test_each_sample_is_dropped_or_scaled_as_a_whole():
    x = keras.ops.convert_to_tensor(RNG.normal(size=(64, 3, 2, 5)).astype("float32"))
    y = to_numpy(StochasticDepth(0.25, seed=3)(x, training=True)).reshape(64, -1)
    scaled = to_numpy(x).reshape(64, -1) / 0.75
    dropped = (y == 0).all(axis=1)
    np.testing.assert_allclose(y[~dropped], scaled[~dropped], rtol=1e-6)
    assert 0 < dropped.sum() < 64


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_mean_is_kept(rate):
    samples = 10_000
    mean = to_numpy(StochasticDepth(rate, seed=1)(ones((samples, 1)), training=True)).mean()
    # A Bernoulli variable divided by 1 - rate has the standard deviation sqrt(rate / (1 - rate)).
    assert abs(mean - 1) < 4 * (rate / (1 - rate) / samples) ** 0.5


def test_a_seed_reproduces_the_draws():
    first, second = (
        [to_numpy(layer(ones((100, 1)), training=True)) for _ in range(2)]
        for layer in (StochasticDepth(0.5, seed=7), StochasticDepth(0.5, seed=7))
    )
    np.testing.assert_array_equal(first, second)
    assert (first[0] != first[1]).any(), "consecutive calls must draw anew"


def test_the_global_seed_reproduces_the_draws():
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        draws.append(to_numpy(StochasticDepth(0.5)(ones((100, 1)), training=True)))
    np.testing.assert_array_equal(*draws)


def test_two_layers_draw_independently():
    a, b = (to_numpy(StochasticDepth(0.5)(ones((100, 1)), training=True)) for _ in range(2))
    assert (a != b).any()


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan")])
def test_bad_rates_raise(rate):
    with pytest.raises(ValueError, match=rf"`rate`.*Received: rate={rate}$"):
        StochasticDepth(rate)
