"""`complexity` counts what the papers count: checked against arithmetic written out by hand."""

from contextlib import contextmanager

import keras
import pytest

import keras_vitcnn as kv
from keras_vitcnn import Complexity, ConvNetConfig, TransformerConfig, complexity
from keras_vitcnn.layers import (
    GatedPositionalSelfAttention,
    MultiHeadSelfAttention,
    SqueezeExcitation,
    WindowAttention,
)
from tests.helpers import TINY

IMAGE = (16, 16, 3)
OWN_BLOCKS = ["efficientnet", "regnet_z", "bit", "swin", "mobilevit"]


@contextmanager
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def test_a_resnet_by_hand():
    config = ConvNetConfig(depths=(1, 1), widths=(4, 8), strides=(1, 2), expansion=2, stem_width=6)
    model = kv.build(config, input_shape=IMAGE, classes=5)
    products = [  # positions, channels out, taps
        (8 * 8, 6, 7 * 7 * 3),  # stem, stride 2; pooling then leaves 4 x 4
        (4 * 4, 4, 6),
        (4 * 4, 4, 3 * 3 * 4),
        (4 * 4, 8, 4),
        (4 * 4, 8, 6),  # shortcut
        (4 * 4, 8, 8),  # the stride is on the 3x3 that follows
        (2 * 2, 8, 3 * 3 * 8),
        (2 * 2, 16, 8),
        (2 * 2, 16, 8),  # shortcut
        (1, 5, 16),  # classifier, the only one with a bias
    ]
    kernels = sum(width * taps for _, width, taps in products)
    norms = 2 * (6 + 4 + 4 + 8 + 8 + 8 + 8 + 16 + 16)
    assert complexity(model) == Complexity(
        params=kernels + norms + 5,
        macs=sum(positions * width * taps for positions, width, taps in products),
        activations=sum(positions * width for positions, width, _ in products),
        bias_adds=5,
    )


def test_a_convnext_by_hand():
    config = TINY["convnext"]  # 3x3 depthwise, widths 8 and 16, patches of 2 pixels
    products = [
        (8 * 8, 8, 2 * 2 * 3),
        (8 * 8, 8, 3 * 3),  # depthwise
        (8 * 8, 32, 8),
        (8 * 8, 8, 32),
        (4 * 4, 16, 2 * 2 * 8),  # downsampling
        (4 * 4, 16, 3 * 3),
        (4 * 4, 64, 16),
        (4 * 4, 16, 64),
        (1, 1000, 16),
    ]
    kernels = sum(width * taps for _, width, taps in products)
    biases = sum(width for _, width, _ in products)
    norms = 2 * (8 + 8 + 8 + 16 + 16)  # stem, block, downsampling, block, head
    scales = 8 + 16
    outputs = sum(positions * width for positions, width, _ in products)
    assert complexity(config, IMAGE) == Complexity(
        params=kernels + biases + norms + scales,
        macs=sum(positions * width * taps for positions, width, taps in products),
        activations=outputs,
        bias_adds=outputs,
    )


def test_a_grouped_convolution_by_hand():
    config = ConvNetConfig(
        depths=(1,), widths=(8,), strides=(1,), expansion=1, stem="patch", stem_stride=4,
        pool=False, mixer="grouped", groups=4,
    )  # fmt: skip
    # Patches of 4 leave 4 x 4 positions; a group has 2 channels in and 2 out.
    expected = 16 * (8 * 48 + 8 * 8 + 8 * 9 * 2 + 8 * 8) + 8 * 1000
    assert complexity(config, IMAGE).macs == expected


def test_two_tokens_of_attention_by_hand():
    qkv = keras.Input((2, 3 * 4))
    model = keras.Model(qkv, MultiHeadSelfAttention(2)(qkv))
    # Per head of 2 channels: 2 x 2 scores of 2 products, and as many for the weighted values.
    assert complexity(model) == Complexity(
        params=0,
        macs=2 * (2 * 2 * 2) + 2 * (2 * 2 * 2),
        activations=2 * (2 * 2) + 2 * 4,
        bias_adds=0,
    )


def test_two_tokens_of_gated_attention_by_hand():
    qk, value = keras.Input((2, 2 * 4)), keras.Input((2, 4))
    model = keras.Model([qk, value], GatedPositionalSelfAttention(2, (1, 2))(qk, value))
    # On top of ordinary attention each head maps three offsets to a score per pair of tokens.
    assert complexity(model) == Complexity(
        params=3 * 2 + 2 + 2,
        macs=16 + 16 + 3 * 2 * (2 * 2),
        activations=8 + 8 + 2 * (2 * 2),
        bias_adds=0,
    )


def test_sets_of_tokens_attend_within_themselves_by_hand():
    qkv = keras.Input((5, 2, 3 * 4))
    cost = complexity(keras.Model(qkv, MultiHeadSelfAttention(2)(qkv)))
    alone = keras.Input((2, 3 * 4))
    one = complexity(keras.Model(alone, MultiHeadSelfAttention(2)(alone)))
    assert (cost.macs, cost.activations) == (5 * one.macs, 5 * one.activations)


def test_windows_by_hand():
    qkv = keras.Input((4, 6, 3 * 4))
    # 4 windows of 6 positions: 6 x 6 scores of 2 products for each of 2 heads, then as many again.
    assert complexity(keras.Model(qkv, WindowAttention(2, (2, 3))(qkv))) == Complexity(
        params=2 * 3 * 5,
        macs=2 * 4 * 2 * (6 * 6 * 2),
        activations=4 * (2 * 6 * 6 + 6 * 4),
        bias_adds=0,
    )


def test_a_transposed_convolution_by_hand():
    """Each of the 4 * 3 * 5 numbers that go in meets 2 * 2 * 7 weights."""
    image = keras.Input((4, 3, 5))
    up = keras.layers.Conv2DTranspose(7, 2, 2, data_format="channels_last")
    assert complexity(keras.Model(image, up(image))) == Complexity(
        params=2 * 2 * 7 * 5 + 7,
        macs=4 * 3 * 5 * 2 * 2 * 7,
        activations=8 * 6 * 7,
        bias_adds=8 * 6 * 7,
    )


def test_squeeze_and_excitation_by_hand():
    image = keras.Input((4, 6, 8))
    assert complexity(keras.Model(image, SqueezeExcitation(2)(image))) == Complexity(
        params=8 * 2 + 2 + 2 * 8 + 8, macs=8 * 2 + 2 * 8, activations=2 + 8, bias_adds=2 + 8
    )


def test_an_efficientnet_by_hand():
    products = [  # positions, channels out, taps
        (8 * 8, 8, 3 * 3 * 3),
        (8 * 8, 8, 3 * 3),  # depthwise; the first stage does not widen
        (1, 2, 8),  # squeeze and excite: a quarter of the block's input
        (1, 8, 2),
        (8 * 8, 8, 8),
        (8 * 8, 16, 8),  # widened twice
        (4 * 4, 16, 5 * 5),
        (1, 2, 16),
        (1, 16, 2),
        (4 * 4, 16, 16),
        (4 * 4, 32, 16),
        (4 * 4, 32, 5 * 5),
        (1, 4, 32),
        (1, 32, 4),
        (4 * 4, 16, 32),
        (4 * 4, 16, 16),  # in front of the pooling
        (1, 1000, 16),
    ]
    cost = complexity(TINY["efficientnet"], IMAGE)
    assert cost.macs == sum(positions * width * taps for positions, width, taps in products)
    assert cost.activations == sum(positions * width for positions, width, _ in products)
    assert cost.bias_adds == 2 + 8 + 2 + 16 + 4 + 32 + 1000


def test_a_vit_by_hand():
    config = TransformerConfig(width=12, depth=2, num_heads=3, patch_size=4)
    patches, tokens, width = 16, 17, 12
    block_macs = tokens * width * (3 * width + width + 8 * width) + 2 * tokens**2 * width
    linear_outputs = tokens * (3 * width + width + 4 * width + width)
    block_params = (
        12 * width**2 + (3 + 1 + 4 + 1) * width  # qkv, proj, fc1, fc2 and their biases
        + 4 * width  # two norms
    )  # fmt: skip
    patch_macs, head_macs = patches * width * 48, 1000 * width
    assert complexity(config, IMAGE) == Complexity(
        params=48 * width + width + width + tokens * width  # patches, class token, positions
        + 2 * block_params + 2 * width + 1000 * width + 1000,
        macs=patch_macs + 2 * block_macs + head_macs,
        activations=patches * width
        + 2 * (linear_outputs + 3 * tokens**2 + tokens * width)
        + 1000,
        bias_adds=patches * width + 2 * linear_outputs + 1000,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "convnext_v2",
        "resnet_d",
        "resnext",
        "gresnet",
        "hybrid",
        "convit",
        "efficientnet",
        "swin",
        "mobilevit",
    ],
)
def test_config_and_models_cost_the_same(name):
    config = TINY[name]
    cost = complexity(config, IMAGE)
    assert cost.macs > 0
    assert complexity(kv.build(config, input_shape=IMAGE)) == cost
    assert complexity(kv.build(config, input_shape=IMAGE, remat=True)) == cost
    with channels_first():
        assert complexity(config, (3, 16, 16)) == cost
        assert complexity(kv.build(config, input_shape=(3, 16, 16))) == cost


def test_a_model_of_variable_size_needs_a_size():
    model = kv.build(TINY["convnext"], include_top=False)
    with pytest.raises(ValueError, match=r"`input_shape`.*Received: input_shape=None$"):
        complexity(model)
    fixed = kv.build(TINY["convnext"], include_top=False, input_shape=(24, 20, 3))
    assert complexity(model, (24, 20, 3)) == complexity(fixed)
    assert model.input_shape == (None, None, None, 3), "the model itself stays as it was"


def test_another_size_of_a_model_of_fixed_size():
    model = kv.build(TINY["resnet"], input_shape=IMAGE)
    assert complexity(model, (32, 32, 3)) == complexity(TINY["resnet"], (32, 32, 3))
    assert complexity(model, IMAGE) == complexity(model)


def test_models_inside_models_are_counted():
    inner = kv.build(TINY["resnet"], include_top=False, pooling="avg", input_shape=IMAGE)
    inputs = keras.Input(IMAGE)
    outer = keras.Model(inputs, keras.layers.Dense(7, use_bias=False)(inner(inputs)))
    alone, whole = complexity(inner), complexity(outer)
    width = inner.output_shape[-1]
    assert whole.macs == alone.macs + 7 * width
    assert whole.activations == alone.activations + 7
    assert whole.params == alone.params + 7 * width


def test_the_text_is_in_the_papers_units():
    cost = Complexity(params=28_589_128, macs=4_456_000_000, activations=13_440_000, bias_adds=0)
    assert str(cost) == "28.59 M parameters, 4.456 GMACs, 13.44 M activations"
