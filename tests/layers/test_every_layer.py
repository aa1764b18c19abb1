"""What holds for every public layer: Keras can store it, predict its shape and change its dtype."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from keras_vitcnn import layers
from tests.helpers import call, randomize, to_numpy

NORMAL = layers.HostNormal(0.1, seed=1)


def block(width=6):
    inputs = keras.Input((5, 4, width))
    x = keras.layers.Dense(width, kernel_initializer=NORMAL)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = layers.StochasticDepth(0.5, seed=1)(x)
    return keras.Model(inputs, keras.layers.Add()([inputs, x]))


class Case(NamedTuple):
    make: Callable[..., keras.layers.Layer]
    shapes: tuple[tuple[int, ...], ...] = ((3, 5, 4, 6),)
    any_size: bool = True  # whether height and width may be unknown


MAP = ((3, 5, 4, 6),)
CASES = {
    "BatchNormalization": Case(lambda **k: layers.BatchNormalization(epsilon=1e-2, **k)),
    "BorderBias": Case(
        lambda **k: layers.BorderBias((3, 5), (2, 1), (1, 1), "same", 1, **k),
        ((3, 4, 6, 5), (3, 5, 4, 2)),
        False,
    ),
    "ChannelAffine": Case(lambda **k: layers.ChannelAffine("zeros", **k)),
    "ClassToken": Case(lambda **k: layers.ClassToken(**k), ((3, 7, 6),), False),
    "Conv2D": Case(
        lambda **k: layers.Conv2D(
            4, 3, 2, "same", activation="relu", **k, kernel_initializer=NORMAL
        )
    ),
    "Dense": Case(lambda **k: layers.Dense(4, activation="gelu", kernel_initializer=NORMAL, **k)),
    "DepthwiseConv2D": Case(
        lambda **k: layers.DepthwiseConv2D(
            3, 2, asymmetric=True, activation="gelu", depthwise_initializer=NORMAL, **k
        )
    ),
    "FoldPatches": Case(lambda **k: layers.FoldPatches((5, 3), 2, **k), ((3, 4, 6, 5),), False),
    "GatedPositionalSelfAttention": Case(
        lambda **k: layers.GatedPositionalSelfAttention(
            4, (2, 3), locality_strength=0.5, gate_init=0.3, train_gate=False, **k
        ),
        ((3, 6, 16), (3, 6, 8)),
        False,
    ),
    "GlobalResponseNormalization": Case(
        lambda **k: layers.GlobalResponseNormalization(epsilon=1e-3, **k)
    ),
    "GroupNormalization": Case(
        lambda **k: layers.GroupNormalization(2, 1e-3, gamma_initializer="zeros", **k)
    ),
    "GroupedConv2D": Case(
        lambda **k: layers.GroupedConv2D(
            4, 3, 2, groups=2, use_bias=False, kernel_initializer=NORMAL, **k
        )
    ),
    "ImageNormalization": Case(
        lambda **k: layers.ImageNormalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), **k)
    ),
    "LayerScale": Case(lambda **k: layers.LayerScale(0.3, **k)),
    "MultiHeadSelfAttention": Case(
        lambda **k: layers.MultiHeadSelfAttention(2, **k), ((3, 5, 24),), False
    ),
    "MaxPooling2D": Case(lambda **k: layers.MaxPooling2D(3, 2, "same", **k)),
    "Padding2D": Case(lambda **k: layers.Padding2D(2, lowest=False, **k)),
    "PatchEmbedding": Case(lambda **k: layers.PatchEmbedding(8, 2, **k), ((3, 5, 4, 6),), False),
    "PatchMerging": Case(lambda **k: layers.PatchMerging(**k), MAP, False),
    "PositionEmbedding": Case(
        lambda **k: layers.PositionEmbedding((2, 3), prefix_tokens=1, **k), ((3, 7, 6),), False
    ),
    "Remat": Case(lambda **k: layers.Remat(block(), **k), MAP, False),
    "ResizeMap": Case(lambda **k: layers.ResizeMap((7, 3), **k), MAP, False),
    "SqueezeExcitation": Case(lambda **k: layers.SqueezeExcitation(2, "silu", **k)),
    "StandardizedConv2D": Case(
        lambda **k: layers.StandardizedConv2D(
            4, 3, 2, "same", epsilon=1e-3, kernel_initializer=NORMAL, **k
        )
    ),
    "StochasticDepth": Case(lambda **k: layers.StochasticDepth(0.3, seed=4, **k)),
    "UnfoldPatches": Case(lambda **k: layers.UnfoldPatches(2, **k), MAP, False),
    "WindowAttention": Case(
        lambda **k: layers.WindowAttention(2, (2, 3), (1, 1), **k), ((3, 4, 6, 24),), False
    ),
    "WindowShift": Case(lambda **k: layers.WindowShift((2, 3), (1, 1), **k), MAP, False),
    "WindowUnshift": Case(lambda **k: layers.WindowUnshift((4, 3), (1, 1), **k), MAP, False),
}
every_layer = pytest.mark.parametrize("name", list(CASES))


def arrays(case: Case) -> list[Any]:
    rng = np.random.default_rng(0)
    return [keras.ops.convert_to_tensor(rng.normal(size=s).astype("float32")) for s in case.shapes]


def built(case: Case, **options: Any) -> keras.layers.Layer:
    layer = case.make(**options)
    layer(*(keras.Input(batch_shape=shape) for shape in case.shapes))
    randomize(layer)
    return layer


@pytest.mark.backend_independent
def test_every_public_layer_has_a_case():
    public = [name for name in layers.__all__ if issubclass(getattr(layers, name), keras.Layer)]
    assert sorted(CASES) == sorted(public)


@every_layer
def test_serialization_gives_an_equal_layer(name):
    case = CASES[name]
    layer = built(case, name="the_layer")
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    clone = keras.saving.deserialize_keras_object(stored)
    assert type(clone) is type(layer) is getattr(layers, name)
    # A tuple is a list once it has been stored.
    assert json.dumps(clone.get_config()) == json.dumps(layer.get_config())

    clone(*(keras.Input(batch_shape=shape) for shape in case.shapes))
    assert [w.shape for w in clone.weights] == [w.shape for w in layer.weights]
    assert [w.trainable for w in clone.weights] == [w.trainable for w in layer.weights]
    clone.set_weights(layer.get_weights())
    expected = to_numpy(call(layer, *arrays(case)))
    np.testing.assert_array_equal(to_numpy(call(clone, *arrays(case))), expected)


@every_layer
def test_output_shape_is_predicted_with_and_without_the_batch_size(name):
    case = CASES[name]
    layer = built(case)
    symbolic = [keras.Input(shape[1:]) for shape in case.shapes]
    model = keras.Model(symbolic, layer(*symbolic))
    shapes = [(None, *shape[1:]) for shape in case.shapes]
    assert model.output_shape == tuple(layer.compute_output_shape(*shapes))
    expected = call(layer, *arrays(case))
    assert tuple(expected.shape) == tuple(layer.compute_output_shape(*case.shapes))
    actual = call(lambda *x: model(list(x)), *arrays(case))
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.any_size])
def test_height_and_width_may_be_unknown(name):
    case = CASES[name]
    layer = built(case)
    image = keras.Input((None, None, 6))
    model = keras.Model(image, layer(image))
    assert model.output_shape == tuple(layer.compute_output_shape((None, None, None, 6)))
    expected, actual = (to_numpy(call(f, *arrays(case))) for f in (layer, model))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "training"),
    [(name, False) for name in CASES] + [("Remat", True), ("StochasticDepth", True)],
)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(name, policy, training):
    case = CASES[name]
    if name == "Remat":  # a wrapper's policy is not its block's
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            layer = built(case)
        finally:
            keras.config.set_dtype_policy(before)
    else:
        layer = built(case, dtype=policy)
    assert {w.dtype for w in layer.trainable_weights} <= {"float32"}

    y = layer(*arrays(case), training=True) if training else call(layer, *arrays(case))
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    assert np.isfinite(to_numpy(y)).all()
    if not training:
        reference = built(case)
        expected = to_numpy(call(reference, *arrays(case)))
        precision = 2**-10 if policy == "mixed_float16" else 2**-7
        np.testing.assert_allclose(
            to_numpy(y), expected, rtol=0, atol=8 * precision * np.abs(expected).max()
        )
