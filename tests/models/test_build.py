"""The door of every model: Keras' constructor arguments mean what `build` says."""

from contextlib import contextmanager
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_vitcnn as kv
from keras_vitcnn import ConvNetConfig, TransformerConfig
from keras_vitcnn.layers import StochasticDepth
from keras_vitcnn.models import trunk
from tests.helpers import TINY, call, images, randomize, to_numpy

BOTH = ["convnext", "vit"]
IMAGE = (16, 16, 3)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


def build(tiny, **options):
    options = {"input_shape": IMAGE, "classes": 5} | options
    return kv.build(TINY[tiny], **options)


def like(model, tiny, **options):
    """Another model with the same random weights."""
    randomize(model)
    other = build(tiny, **options)
    other.set_weights(model.get_weights())
    return other


def outputs(model, x=None):
    return to_numpy(call(model, images() if x is None else x))


@contextmanager
def data_format(name):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(name)
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


# --- what comes out


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("convnext", {}, (None, 5)),
        ("convnext", {"include_top": False}, (None, 4, 4, 16)),
        ("convnext", {"include_top": False, "pooling": "avg"}, (None, 16)),
        ("convnext", {"include_top": False, "pooling": "max"}, (None, 16)),
        ("vit", {}, (None, 5)),
        ("vit", {"include_top": False}, (None, 1 + 4 * 4, 12)),
        ("deit_distilled", {"include_top": False}, (None, 2 + 4 * 4, 12)),
        ("vit", {"include_top": False, "pooling": "avg"}, (None, 12)),
        ("vit", {"include_top": False, "pooling": "max"}, (None, 12)),
        ("vit", {"include_top": False, "pooling": "token"}, (None, 12)),
        ("mobilenet", {"include_top": False}, (None, 4, 4, 16)),
        ("bit", {"include_top": False}, (None, 2, 2, 32)),
        ("swin", {"include_top": False}, (None, 4, 4, 16)),
        ("swin", {"include_top": False, "pooling": "avg"}, (None, 16)),
        ("swin", {"input_shape": (15, 19, 5), "include_top": False}, (None, 4, 5, 16)),
        ("mobilevit", {"include_top": False}, (None, 4, 4, 16)),
        ("mobilevit", {"input_shape": (13, 18, 1), "include_top": False}, (None, 4, 5, 16)),
    ],
)
def test_output_shapes(name, options, shape):
    assert build(name, **options).output_shape == shape


@pytest.mark.parametrize("name", ["vit", "deit_distilled"])
def test_pooling_of_tokens(name):
    tokens_model = build(name, include_top=False)
    pooled = {p: like(tokens_model, name, include_top=False, pooling=p) for p in ("avg", "token")}
    tokens = outputs(tokens_model)
    prefix = 2 if name == "deit_distilled" else 1
    np.testing.assert_allclose(outputs(pooled["token"]), tokens[:, 0], atol=1e-5)
    patches = tokens[:, prefix:]
    np.testing.assert_allclose(outputs(pooled["avg"]), patches.mean(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "pooling"), [("convnext", "avg"), ("vit", "token"), ("swin", "avg"), ("bit", "avg")]
)
def test_the_head_is_a_linear_map_of_the_pooled_vector(name, pooling):
    model = build(name, classifier_activation=None)
    randomize(model)
    head = model.get_layer("head")
    pooled = build(name, include_top=False, pooling=pooling)
    pooled.set_weights(model.get_weights()[:-2])
    kernel, bias = (to_numpy(w) for w in head.weights)
    np.testing.assert_allclose(outputs(model), outputs(pooled) @ kernel + bias, atol=1e-4)


def test_the_classifier_activation():
    logits = build("vit", classifier_activation=None)
    probabilities = like(logits, "vit")
    sigmoid = like(logits, "vit", classifier_activation="sigmoid")
    x = outputs(logits)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(outputs(probabilities), e / e.sum(-1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(outputs(sigmoid), 1 / (1 + np.exp(-x)), atol=1e-5)


def test_a_distilled_model_averages_its_heads():
    model = build("deit_distilled", classifier_activation=None)
    randomize(model)
    heads = [model.get_layer(name).output for name in ("head", "head_dist")]
    class_logits, distilled = call(keras.Model(model.input, heads), images())
    mean = (to_numpy(class_logits) + to_numpy(distilled)) / 2
    np.testing.assert_allclose(outputs(model), mean, atol=1e-5)
    tokens = build("deit_distilled", include_top=False)
    tokens.set_weights(model.get_weights()[:-4])
    kernel, bias = (to_numpy(w) for w in model.get_layer("head_dist").weights)
    expected = outputs(tokens)[:, 1] @ kernel + bias
    np.testing.assert_allclose(to_numpy(distilled), expected, atol=1e-4)


# --- what goes in


def test_bytes_and_floats_give_the_same():
    model = build("vit")
    randomize(model)
    np.testing.assert_allclose(
        outputs(model), outputs(model, images().astype("float32")), atol=1e-6
    )


def test_preprocessing_is_imagenets_normalization():
    inside = build("vit")
    outside = like(inside, "vit", include_preprocessing=False)
    normalised = ((images() / 255 - MEAN) / STD).astype("float32")
    np.testing.assert_allclose(outputs(inside), outputs(outside, normalised), atol=1e-5)


@pytest.mark.parametrize("include_preprocessing", [True, False])
@pytest.mark.parametrize("channels", [1, 4, 5])
def test_any_number_of_channels(channels, include_preprocessing):
    shape = (16, 16, channels)
    model = build("convnext", input_shape=shape, include_preprocessing=include_preprocessing)
    assert model.get_layer("stem_conv0").kernel.shape == (2, 2, channels, 8)
    model = build("vit", input_shape=shape, include_preprocessing=include_preprocessing)
    assert model.get_layer("patch_embed").projection.kernel.shape == (4, 4, channels, 12)
    if channels == 4:
        y = outputs(model, images(channels=4))
        np.testing.assert_allclose(y.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(("name", "top"), [("convnext", False), ("vit", True)])
def test_channels_first_is_the_same_model(name, top):
    last = build(name, include_top=top)
    with data_format("channels_first"):
        first = like(last, name, include_top=top, input_shape=(3, 16, 16))
        assert first.input_shape == (None, 3, 16, 16)
        actual = outputs(first, images().transpose(0, 3, 1, 2))
    expected = outputs(last)
    if expected.ndim == 4:
        expected = expected.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_default_sizes():
    assert kv.build(TINY["convnext"]).input_shape == (None, 224, 224, 3)
    assert kv.build(TINY["convnext"], include_top=False).input_shape == (None, None, None, 3)
    assert kv.build(TINY["vit"], include_top=False).input_shape == (None, 224, 224, 3)
    with data_format("channels_first"):
        assert kv.build(TINY["convnext"]).input_shape == (None, 3, 224, 224)
        assert kv.build(TINY["resnet"], include_top=False).input_shape == (None, 3, None, None)
    larger = {"EfficientNetB7": 600, "SwinBase384": 384, "MobileViTS": 256}
    for name, size in larger.items():
        assert trunk.default_size(kv.config_of(name)) == size
    config = replace(TINY["mobilevit"], image_size=24)
    assert kv.build(config).input_shape == (None, 24, 24, 3)
    assert kv.build(config, include_top=False).input_shape == (None, 24, 24, 3)


@pytest.mark.parametrize("name", ["convnext", "gresnet", "efficientnet", "regnet_z", "bit"])
def test_a_convnet_without_top_takes_any_size(name):
    model = build(name, include_top=False, input_shape=None)
    fixed = like(model, name, include_top=False, input_shape=(21, 34, 3))
    x = images(size=(21, 34))
    np.testing.assert_allclose(outputs(model, x), outputs(fixed, x), atol=1e-5)


def test_rectangular_images():
    assert build("vit", input_shape=(8, 20, 3), include_top=False).output_shape == (None, 11, 12)
    assert build("convit", input_shape=(8, 20, 3)).output_shape == (None, 5)


def test_input_tensor_extends_another_graph():
    pixels = keras.Input((16, 16, 3), name="pixels")
    model = build("vit", input_tensor=255 - pixels, input_shape=None)
    assert model.inputs[0] is pixels
    plain = like(model, "vit")
    np.testing.assert_allclose(outputs(model), outputs(plain, 255 - images()), atol=1e-6)


def test_input_tensor_and_input_shape_must_agree():
    pixels = keras.Input(IMAGE)
    assert build("convnext", input_tensor=pixels, input_shape=IMAGE).inputs[0] is pixels
    with pytest.raises(ValueError, match=r"`input_shape`.*Received: input_shape=\(8, 16, 3\)$"):
        build("convnext", input_tensor=pixels, input_shape=(8, 16, 3))


# --- names, weights, types


def test_names():
    assert build("convnext", name="mine").name == "mine"
    assert kv.ResNet18(input_shape=(32, 32, 3), include_top=False).name == "resnet18"
    assert kv.ResNet18(input_shape=(32, 32, 3), include_top=False, name="mine").name == "mine"


def test_weights_from_a_file(tmp_path):
    model = build("vit")
    randomize(model)
    model.save_weights(tmp_path / "tiny.weights.h5")
    for path in (tmp_path / "tiny.weights.h5", str(tmp_path / "tiny.weights.h5")):
        loaded = build("vit", weights=path)
        for ours, theirs in zip(loaded.weights, model.weights, strict=True):
            np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


@pytest.mark.parametrize("activation", ["softmax", None])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("name", BOTH)
def test_classifier_outputs_are_float32(name, policy, activation):
    model = build(name, dtype=policy, classifier_activation=activation)
    assert model.output.dtype == "float32"
    expected = "float32" if policy.startswith("mixed") else policy
    assert {w.dtype for w in model.get_layer("head").weights} == {expected}


def test_half_precision_probabilities_sum_to_one():
    y = outputs(build("vit", dtype="mixed_bfloat16", classes=1000))
    np.testing.assert_allclose(y.sum(axis=-1), 1, atol=1e-5)


def test_dtype_does_not_leak():
    before = keras.config.dtype_policy()
    model = build("convnext", dtype="mixed_bfloat16")
    assert model.get_layer("head").dtype_policy.name == "mixed_bfloat16"
    assert keras.config.dtype_policy() == before
    with pytest.raises(ValueError, match="`input_shape`"):
        build("vit", dtype="mixed_bfloat16", input_shape=(17, 16, 3))
    assert keras.config.dtype_policy() == before
    with pytest.raises(ValueError, match="`dtype`"):
        build("vit", dtype="float33")
    assert keras.config.dtype_policy() == before


def test_a_policy_object_is_a_dtype_too():
    model = build("vit", dtype=keras.DTypePolicy("mixed_float16"))
    assert model.get_layer("block0_qkv").compute_dtype == "float16"


# --- regularisation


def drop_rates(config, **options):
    """Names and rates of the stochastic depth layers."""
    model = kv.build(config, include_top=False, input_shape=IMAGE, **options)
    return {x.name: x.rate for x in model.layers if isinstance(x, StochasticDepth)}


def test_drop_path_rises_linearly_over_all_blocks():
    config = replace(TINY["convnext"], depths=(1, 2))
    assert drop_rates(config, drop_path_rate=0.2) == pytest.approx(
        {"stage0_block0_drop": 0.0, "stage1_block0_drop": 0.1, "stage1_block1_drop": 0.2}
    )
    config = replace(TINY["vit"], depth=3)
    assert drop_rates(config, drop_path_rate=0.2) == pytest.approx(
        {f"block{i}_drop{j}": 0.1 * i for i in range(3) for j in (1, 2)}
    )


def test_drop_path_of_efficientnet_stays_one_block_short_of_its_rate():
    config = replace(TINY["efficientnet"], depths=(2, 2), widths=(8, 8))
    # Block i of n drops at rate * i / n, where there is a sum: not in the block with the stride.
    assert drop_rates(config, drop_path_rate=0.2) == pytest.approx(
        {"stage0_block0_drop": 0.0, "stage0_block1_drop": 0.05, "stage1_block1_drop": 0.15}
    )


def test_drop_path_of_deit3_is_constant():
    rates = {f"block{i}_drop{j}": 0.2 for i in range(2) for j in (1, 2)}
    assert drop_rates(TINY["deit3"], drop_path_rate=0.2) == rates


@pytest.mark.parametrize("name", ["convnext", "vit", "deit3"])
def test_no_drop_path_by_default(name):
    assert set(drop_rates(TINY[name]).values()) == {0.0}


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("convnext", ["head_dropout"]),
        ("vit", ["head_dropout"]),
        ("deit_distilled", ["head_dropout", "head_dist_dropout"]),
    ],
)
def test_dropout_is_in_front_of_each_classifier(name, layers):
    model = build(name, dropout_rate=0.3)
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert sorted(layer.name for layer in dropouts) == sorted(layers)
    assert {layer.rate for layer in dropouts} == {0.3}


@pytest.mark.parametrize("name", ["gresnet", "vit"])
def test_remat_keeps_weights_and_outputs(name):
    model = build(name)
    recomputed = like(model, name, remat=True)
    np.testing.assert_allclose(outputs(recomputed), outputs(model), atol=1e-5)


# --- bad arguments


def raises(argument):
    """The error of one argument: it is named, and the message ends with what was received."""
    return pytest.raises(ValueError, match=rf"(?s)`{argument}`.*Received: \w[^`]*$")


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("classes", {"classes": 0}),
        ("classes", {"classes": -3}),
        ("classes", {"classes": 2.5}),
        ("classes", {"classes": True}),
        ("drop_path_rate", {"drop_path_rate": 1}),
        ("drop_path_rate", {"drop_path_rate": -0.1}),
        ("drop_path_rate", {"drop_path_rate": float("nan")}),
        ("dropout_rate", {"dropout_rate": 1.0}),
        ("dropout_rate", {"dropout_rate": -0.1}),
        ("pooling", {"pooling": "avg"}),
        ("pooling", {"include_top": False, "pooling": "mean"}),
        ("input_shape", {"input_shape": (16, 16)}),
        ("input_shape", {"input_shape": (None, 16, 16, 3)}),
        ("input_shape", {"input_shape": (16, 16, None)}),
        ("input_shape", {"input_shape": (16, 16, 0)}),
        ("weights", {"weights": "imagenet"}),
        ("weights", {"weights": "nowhere.weights.h5"}),
        ("dtype", {"dtype": "float33"}),
        ("dtype", {"dtype": 16}),
        ("input_tensor", {"input_tensor": np.zeros((1, 16, 16, 3)), "input_shape": None}),
    ],
)
@pytest.mark.parametrize("name", BOTH)
def test_bad_arguments(name, argument, options):
    with raises(argument):
        build(name, **options)


@pytest.mark.parametrize(
    ("name", "argument", "options"),
    [
        ("convnext", "pooling", {"include_top": False, "pooling": "token"}),
        ("convnext", "input_shape", {"input_shape": (3, 16, 3)}),
        ("vit", "input_shape", {"input_shape": (18, 16, 3)}),
        ("vit", "input_shape", {"input_shape": (0, 16, 3)}),
        ("vit", "input_shape", {"input_shape": (None, None, 3)}),
        ("vit_c", "input_shape", {"input_shape": (18, 16, 3)}),
        ("hybrid", "input_shape", {"input_shape": (17, 16, 3)}),
        ("swin", "input_shape", {"input_shape": (16, 1, 3)}),
        ("swin", "input_shape", {"input_shape": (None, None, 3)}),
        ("swin", "pooling", {"include_top": False, "pooling": "token"}),
        ("mobilevit", "input_shape", {"input_shape": (None, 16, 3)}),
        ("mobilenet", "pooling", {"include_top": False, "pooling": "token"}),
        ("bit", "pooling", {"include_top": False, "pooling": "token"}),
    ],
)
def test_bad_arguments_of_one_family(name, argument, options):
    with raises(argument):
        build(name, **options)


def test_weights_say_what_is_allowed():
    with pytest.raises(ValueError, match=r"None \(random\).*\.weights\.h5.*weights='imagenet'$"):
        build("vit", weights="imagenet")


def test_a_size_that_is_too_small_for_channels_first_names_height_and_width():
    with data_format("channels_first"), raises("input_shape"):
        build("convnext", input_shape=(3, 16, 3))


BAD_CONVNETS = [
    ("stem", {"stem": "conv5"}),
    ("shape", {"shape": "wide"}),
    ("mixer", {"mixer": "attention"}),
    ("norm", {"norm": "instance"}),
    ("norms", {"norms": "none"}),
    ("activation", {"activation": "tanh"}),
    ("activations", {"activations": "two"}),
    ("downsample", {"downsample": "after"}),
    ("shortcut", {"shortcut": "both"}),
    ("padding", {"padding": "valid"}),
    ("depths", {"depths": (3, 0, 6, 3)}),
    ("depths", {"depths": ()}),
    ("depths", {"depths": (3, 4, 6)}),
    ("widths", {"widths": (64, 128, 256, -512)}),
    ("strides", {"strides": (1, 2, 2, 0)}),
    ("strides", {"strides": (1, 2, 2)}),
    ("expansion", {"expansion": 0}),
    ("stem_stride", {"stem_stride": 0}),
    ("kernel", {"kernel": 4}),
    ("kernel", {"kernel": 0}),
    ("mixer_first", {"mixer_first": True}),
    ("stride_on", {"stride_on": "last"}),
    ("groups", {"groups": 4}),
    ("groups", {"mixer": "grouped", "groups": 0}),
    ("groups", {"mixer": "grouped", "groups": 7}),  # 64 channels are not 7 equal groups
    ("group_width", {"group_width": 8}),
    ("group_width", {"mixer": "grouped", "group_width": 48}),
    ("group_width", {"mixer": "grouped", "group_width": 8, "groups": 2}),
    ("squeeze", {"squeeze": 0.0}),
    ("head_width", {"head_width": -1}),
    ("stem_width", {"stem_width": -8}),
    ("layer_scale", {"layer_scale": 0.0}),
    ("norm_epsilon", {"norm_epsilon": -1e-5}),
]
BAD_TRANSFORMERS = [
    ("drop_path_schedule", {"drop_path_schedule": "cosine"}),
    ("width", {"width": 0}),
    ("width", {"width": 385}),
    ("depth", {"depth": 0}),
    ("depth", {"depth": 2.5}),
    ("num_heads", {"num_heads": 5}),
    ("num_heads", {"num_heads": 0}),
    ("mlp_ratio", {"mlp_ratio": 0}),
    ("patch_size", {"patch_size": -16}),
    ("stem_strides", {"stem_widths": (24, 48), "stem_strides": (2,)}),
    ("stem_strides", {"stem_widths": (24, 48), "stem_strides": (2, 0)}),
    ("stem_widths", {"stem_widths": (24, -48), "stem_strides": (2, 2)}),
    (
        "backbone",
        {"backbone": ConvNetConfig(), "stem_widths": (24, 48), "stem_strides": (2, 2)},
    ),
    ("class_token_block", {"class_token_block": 12, "class_token_position": False}),
    ("class_token_position", {"class_token_block": 2}),
    ("layer_scale", {"layer_scale": 0.0}),
    ("activation", {"activation": "relu"}),
]
BAD_OTHERS = [
    (kv.MobileNetConfig, "depths", {"depths": (1, 2)}),
    (kv.MobileNetConfig, "kernels", {"kernels": (3, 3, 4, 3, 3, 3, 3)}),
    (kv.MobileNetConfig, "expansions", {"expansions": (0, 6, 6, 6, 6, 6, 6)}),
    (kv.MobileNetConfig, "activation", {"activation": "tanh"}),
    (kv.MobileNetConfig, "padding", {"padding": "valid"}),
    (kv.MobileNetConfig, "squeeze", {"squeeze": -0.25}),
    (kv.BiTConfig, "depths", {"depths": (3, 4)}),
    (kv.BiTConfig, "stem_width", {"stem_width": 0}),
    (kv.BiTConfig, "norm_epsilon", {"norm_epsilon": 0.0}),
    (kv.SwinConfig, "num_heads", {"num_heads": (3, 6, 12)}),
    (kv.SwinConfig, "num_heads", {"num_heads": (5, 6, 12, 24)}),
    (kv.SwinConfig, "window", {"window": 0}),
    (kv.MobileViTConfig, "token_depths", {"token_depths": (2, 4)}),
    (kv.MobileViTConfig, "num_heads", {"num_heads": 7}),
    (kv.MobileViTConfig, "strides", {"strides": (1, 2)}),
]


@pytest.mark.backend_independent
@pytest.mark.parametrize(
    ("config_class", "argument", "change"),
    [
        pytest.param(config_class, *row, id=f"{config_class.__name__}-{row[0]}")
        for config_class, rows in (
            (ConvNetConfig, BAD_CONVNETS),
            (TransformerConfig, BAD_TRANSFORMERS),
        )
        for row in rows
    ]
    + [pytest.param(*row, id=f"{row[0].__name__}-{row[1]}") for row in BAD_OTHERS],
)
def test_bad_configs(config_class, argument, change):
    with pytest.raises(ValueError, match=rf"(?s)\b{argument}\b.*Received: \w+=[^`]*$"):
        config_class(**change)


@pytest.mark.backend_independent
def test_more_local_blocks_than_tokens_without_class():
    with pytest.raises(ValueError, match=r"local_blocks.*Received: local_blocks=3, class_token"):
        TransformerConfig(local_blocks=3, class_token_block=2, class_token_position=False)
