"""GELU by its definition, its gradient included, as far as float32 goes."""

import math
from functools import partial

import keras
import numpy as np
import pytest

from keras_vitcnn import layers
from keras_vitcnn.ops import gelu, linear
from tests.helpers import compiled, gradients, to_numpy

NEAR = np.linspace(-12, 12, 40_001).astype("float32")
FAR = np.geomspace(20, 1e30, 60).astype("float32")


def normal_distribution(x: np.ndarray) -> np.ndarray:
    return np.asarray([math.erfc(-value * math.sqrt(0.5)) / 2 for value in x.astype("float64")])


forms = pytest.mark.parametrize("training", [False, True])


@forms
def test_values(training):
    run = partial(gelu, training=training)
    y = to_numpy(compiled(run)(keras.ops.convert_to_tensor(NEAR)))
    np.testing.assert_allclose(y, NEAR * normal_distribution(NEAR), rtol=0, atol=2e-6)


@forms
def test_values_far_out(training):
    run = compiled(partial(gelu, training=training))
    np.testing.assert_array_equal(to_numpy(run(keras.ops.convert_to_tensor(FAR))), FAR)
    np.testing.assert_array_equal(to_numpy(run(keras.ops.convert_to_tensor(-FAR))), 0)


@forms
def test_gradient(training):
    upstream = np.random.default_rng(0).normal(size=NEAR.shape).astype("float32")
    (actual,) = gradients(lambda x: gelu(x, training) * keras.ops.convert_to_tensor(upstream), NEAR)
    density = np.exp(-0.5 * NEAR.astype("float64") ** 2) / math.sqrt(2 * math.pi)
    expected = upstream * (normal_distribution(NEAR) + NEAR * density)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's graph")
def test_a_step_of_training_walks_once_over_each_map():
    import tensorflow as tf

    layer = layers.Dense(4, activation="gelu")
    layer.build((None, 3))

    def operations(training):
        graph = tf.function(lambda x: layer(x, training=training))
        graph = graph.get_concrete_function(tf.TensorSpec((None, 3))).graph
        return {operation.type for operation in graph.get_operations()}

    assert not operations(True) & {"Erf", "Erfc"}
    assert operations(False) & {"Erf", "Erfc"}


@forms
def test_half_precision(training):
    x = keras.ops.cast(keras.ops.convert_to_tensor(NEAR), "bfloat16")
    y = gelu(x, training)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    x, y = (to_numpy(keras.ops.cast(each, "float32")) for each in (x, y))
    np.testing.assert_allclose(y, x * normal_distribution(x), rtol=0.02, atol=0.02)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="XLA's two branches")
def test_a_linear_map_needs_no_erfc():
    import jax

    x, kernel = np.ones((2, 3), "float32"), np.ones((3, 4), "float32")
    run = jax.make_jaxpr(lambda *tensors: linear(*tensors, activation=keras.activations.gelu))
    assert "erf" not in str(run(x, kernel))
    assert "erf" in str(run(x.astype("float16"), kernel.astype("float16")))
