"""The one product with a bias: Keras' own, in every mode that Keras gives its layer."""

import math
from typing import Any

import keras
import numpy as np
import pytest

from keras_vitcnn.layers import Dense
from tests.helpers import compiled, gradients, to_numpy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
KERNEL = RNG.normal(size=(5, 7)).astype("float32")
BIAS = RNG.normal(size=7).astype("float32")


def dense(**options: Any) -> Dense:
    layer = Dense(7, **options)
    layer.build(X.shape)
    layer.set_weights([KERNEL, BIAS] if layer.use_bias else [KERNEL])
    return layer


def as_a_graph(layer: Dense) -> Any:
    """As models run it: TensorFlow optimises graphs."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(layer)
    return compiled(layer)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_product_bias_activation(use_bias: bool, activation: str | None) -> None:
    expected = np.float64(X) @ np.float64(KERNEL) + (BIAS if use_bias else 0)
    expected = np.maximum(expected, 0) if activation else expected
    y = to_numpy(dense(use_bias=use_bias, activation=activation)(X))
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_exact_gelu_compiled_and_not(shape: tuple[int, ...]) -> None:
    """Far out, too, where 1 + erf cancels: TensorFlow joins product, bias and GELU into one."""
    x = 10 * RNG.normal(size=shape).astype("float32")
    layer = dense(activation="gelu")
    z = np.float64(x) @ np.float64(KERNEL) + BIAS
    expected = z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2
    for run in (layer, as_a_graph(layer)):
        np.testing.assert_allclose(to_numpy(run(x)), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the graph is TensorFlow's")
def test_tensorflow_can_join_product_bias_and_gelu() -> None:
    """Its optimiser does so only where nothing lies in between."""
    import tensorflow as tf

    step = tf.function(dense(activation="gelu"))
    graph = step.get_concrete_function(tf.TensorSpec((None, *X.shape[1:]))).graph
    (biased,) = (node for node in graph.get_operations() if node.type == "BiasAdd")
    assert biased.inputs[0].op.type == "MatMul"
    assert "Reshape" not in {node.type for node in biased.outputs[0].consumers()}


def test_gradient_of_gelu() -> None:
    layer = dense(activation="gelu")
    (actual,) = gradients(layer, X)
    z = np.float64(X) @ np.float64(KERNEL) + BIAS
    slope = (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2
    slope += z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(to_numpy(actual), slope @ np.float64(KERNEL).T, rtol=1e-5, atol=1e-5)


def test_sides_that_are_unknown() -> None:
    layer = dense()
    image = keras.Input((None, None, 5))
    model = keras.Model(image, layer(image))
    assert model.output_shape == (None, None, None, 7)
    np.testing.assert_allclose(model.predict(X, verbose=0), to_numpy(layer(X)), rtol=0, atol=1e-6)


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
