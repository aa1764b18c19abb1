import keras
import numpy as np
import pytest

from keras_vitcnn.layers import HostNormal
from tests.helpers import to_numpy


def test_a_deviation_is_cut_at_two_of_them():
    draw = to_numpy(HostNormal(0.02, seed=1)((200, 500)))
    assert np.abs(draw).max() <= 0.04 + 1e-9
    # The standard deviation of a unit normal cut at two is 0.8796.
    np.testing.assert_allclose(draw.std() / 0.02, 0.8796, rtol=0.02)
    np.testing.assert_allclose(draw.mean(), 0, atol=4 * 0.02 / 100_000**0.5)


@pytest.mark.parametrize(
    ("shape", "fan_out"), [((3, 3, 20, 300), 2700), ((200, 300), 300), ((7, 7, 2000, 1), 49)]
)
def test_he_by_fan_out(shape, fan_out):
    draw = to_numpy(HostNormal(None, seed=1)(shape))
    np.testing.assert_allclose(draw.std(), (2 / fan_out) ** 0.5, rtol=0.02)
    assert np.abs(draw).max() > 3 * draw.std(), "it is not cut"


def test_seeds():
    def draw(**options):
        return to_numpy(HostNormal(**options)((5, 4)))

    np.testing.assert_array_equal(draw(seed=3), draw(seed=3))
    assert (draw(seed=3) != draw(seed=4)).all()
    keras.utils.set_random_seed(1)
    first, second = draw(), draw()
    assert (first != second).all()
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(draw(), first)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_type(dtype):
    assert keras.backend.standardize_dtype(HostNormal()((2, 2), dtype).dtype) == dtype


@pytest.mark.parametrize("options", [{}, {"stddev": None, "seed": 5}, {"stddev": 0.1}])
def test_round_trip(options):
    config = keras.saving.serialize_keras_object(HostNormal(**options))
    clone = keras.saving.deserialize_keras_object(config)
    assert isinstance(clone, HostNormal)
    assert clone.get_config() == {"stddev": 0.02, "seed": None} | options
