"""Small images and small budgets: what `adapt_to_image_size` and `scale_width` promise."""

import re
from dataclasses import fields, replace
from math import isqrt, prod

import pytest

import keras_vitcnn as kv
from keras_vitcnn import ConvNetConfig, TransformerConfig
from keras_vitcnn.models import adapt_to_image_size, scale_width
from tests.helpers import TINY, needs_slim, slim

every_model = pytest.mark.parametrize("name", kv.list_models())
backend_independent = pytest.mark.backend_independent
TRANSFORMERS = [n for n in kv.list_models() if isinstance(kv.config_of(n), TransformerConfig)]
OWN_CONFIGS = ["RegNetY002", "MobileNetV2", "BiTR50x1", "SwinTiny", "MobileViTXXS"]
HIERARCHICAL = [n for n in kv.list_models() if n not in TRANSFORMERS]


def last_side(config, size):
    """Positions along a side of the last map, or of the tokens, at `size` pixels."""
    if isinstance(config, ConvNetConfig):
        # A padded convolution rounds up; a patch, and a kernel as large as its stride, round down.
        side = (
            size // config.stem_stride if config.stem == "patch" else -(-size // config.stem_stride)
        )
        side = -(-side // 2) if config.pool else side
        for stride in config.strides:
            side = -(-side // stride) if config.downsample == "in_block" else side // stride
        return side
    if not isinstance(config, TransformerConfig):
        # Swin cuts patches out and merges them two by two; the others pad every stride.
        swin = isinstance(config, kv.SwinConfig)
        side = size // config.stem_stride if swin else -(-size // config.stem_stride)
        strides = (2,) * (len(config.depths) - 1) if swin else config.strides
        for stride in (2,) * getattr(config, "pool", 0) + strides:
            side = -(-side // stride)
        return side
    side = last_side(config.backbone, size) if config.backbone else size
    for stride in config.stem_strides:
        side = -(-side // stride)
    return side // config.patch_size


def goal(config):
    return 2 if not isinstance(config, TransformerConfig) and len(config.depths) > 1 else 8


def token_sides(config):
    """Every side of a token, in pixels, that the rule may choose from."""
    if config.backbone:
        stem = config.backbone.stem_stride * (2 if config.backbone.pool else 1)
        return {config.total_stride // stem * side for side in halves(stem)}
    return (
        halves(config.total_stride) if config.stem_strides else set(range(1, config.patch_size + 1))
    )


def halves(number):
    return {number} | (halves(number // 2) if number % 2 == 0 else set())


def small(config):
    """The same strides with few channels and blocks, so that building costs little."""
    if needs_slim(config):
        return slim(config)
    if isinstance(config, ConvNetConfig):
        ones = (1,) * len(config.depths)
        widths = tuple(32 * config.groups for _ in ones)
        return replace(config, depths=ones, widths=widths, stem_width=32, expansion=1, kernel=3)
    depth = 1 + config.class_token_block
    backbone = config.backbone and small(config.backbone)
    return replace(
        config,
        width=16,
        num_heads=4,
        depth=depth,
        backbone=backbone,
        stem_widths=(8,) * len(config.stem_widths),
    )


# --- adapt_to_image_size


@pytest.mark.parametrize(
    "name",
    [
        "ResNet50",
        "ResNet50D",
        "GResNet50",
        "ConvNeXtTiny",
        "ConvNeXtIsoSmall",
        "RegNetY002",
        "MobileNetV2",
        "EfficientNetB0",
        "BiTR50x1",
        "SwinTiny",
        "MobileViTXXS",
    ],
)
def test_last_side_is_what_a_built_model_has(name):
    size = 40
    config = small(kv.config_of(name))
    model = kv.build(config, include_top=False, input_shape=(size, size, 3))
    assert model.output_shape[1:3] == (last_side(config, size),) * 2


@backend_independent
@every_model
def test_images_of_the_papers_change_nothing(name):
    config = kv.config_of(name)
    assert adapt_to_image_size(config, 224) == (config, "")


@backend_independent
@pytest.mark.parametrize("size", [32, 48, 64, 96])
@pytest.mark.parametrize("name", HIERARCHICAL)
def test_pyramids_keep_enough_positions_and_stride_no_less_than_needed(name, size):
    config = kv.config_of(name)
    changed, _ = adapt_to_image_size(config, size)
    pooled = "pool" in {field.name for field in fields(config)}
    finest = replace(config, stem_stride=1, **({"pool": False} if pooled else {}))
    assert last_side(changed, size) >= min(goal(config), last_side(finest, size))
    restored = {"pool": config.pool} if pooled else {}
    assert replace(changed, stem_stride=config.stem_stride, **restored) == config
    if changed != config:
        assert not getattr(changed, "pool", False), "the pooling goes first"
        coarser = replace(changed, stem_stride=2 * changed.stem_stride)
        if coarser.total_stride == config.total_stride:
            coarser = config
        assert last_side(coarser, size) < goal(config)


@backend_independent
@pytest.mark.parametrize("size", [32, 48, 64, 96])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_keep_enough_tokens_and_no_more_than_needed(name, size):
    config = kv.config_of(name)
    dividing = [side for side in token_sides(config) if size % side == 0]
    if not dividing:
        with pytest.raises(ValueError, match=rf"`image_size`.*Received: image_size={size}$"):
            adapt_to_image_size(config, size)
        return
    changed, _ = adapt_to_image_size(config, size)
    fine_enough = [side for side in dividing if size // side >= 8]
    assert changed.total_stride == (max(fine_enough) if fine_enough else min(dividing))
    assert last_side(changed, size) == size // changed.total_stride
    restored = {
        field: getattr(config, field) for field in ("patch_size", "stem_strides", "backbone")
    }
    assert replace(changed, **restored) == config


@backend_independent
@every_model
def test_the_note_says_what_the_model_has(name):
    config = kv.config_of(name)
    for size in (32, 40, 48, 64, 96):
        try:
            changed, note = adapt_to_image_size(config, size)
        except ValueError:
            continue
        if changed == config:
            assert note == ""
            continue
        before, after = map(int, re.search(r"(\d+) -> (\d+)", note).groups())
        assert before / after == config.total_stride / changed.total_stride
        side = last_side(changed, size)
        assert f"{side} x {side}" in note
        assert f"at {size} px" in note
        dropped = getattr(config, "pool", False) and not changed.pool
        assert ("no max pooling" in note) == dropped


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ResNet50", 32),
        ("ConvNeXtTiny", 32),
        ("ConvNeXtTiny", 40),
        ("ViTBase16", 32),
        ("ViTHuge14", 96),
        ("ViTC1GF", 64),
        ("ViTR26Small32", 64),
        ("ConViTTiny", 48),
        ("MobileNetV2", 32),
        ("RegNetZ005", 32),
        ("BiTR50x1", 32),
        ("SwinTiny", 32),
        ("MobileViTXXS", 32),
    ],
)
def test_adapted_models_have_what_the_note_says(name, size):
    changed, note = adapt_to_image_size(kv.config_of(name), size)
    side = int(re.search(r"(\d+) x \d+", note)[1])
    model = kv.build(small(changed), include_top=False, input_shape=(size, size, 3))
    if name in HIERARCHICAL:
        assert model.output_shape[1:3] == (side, side)
    else:
        assert model.output_shape[1] == side * side + 1


@backend_independent
@pytest.mark.parametrize("stem_stride", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(
    "name", ["ResNet50", "ConvNeXtTiny", "ViTBase16", "ViTC1GF", "MobileNetV2", "SwinTiny"]
)
def test_a_given_stem_stride_is_used(name, stem_stride):
    config = kv.config_of(name)
    stages = {"MobileNetV2": 2**4, "SwinTiny": 2**3}.get(name, 1)
    if isinstance(config, ConvNetConfig):
        stages = prod(config.strides)
    changed, note = adapt_to_image_size(config, 256, stem_stride)
    assert changed.total_stride == stem_stride * stages
    assert last_side(changed, 256) == 256 // (stem_stride * stages)
    assert (changed == config) == (note == "")


@backend_independent
@pytest.mark.parametrize(
    ("name", "size", "stem_stride", "argument"),
    [
        ("ConvNeXtTiny", 4, None, "image_size"),
        ("ConvNeXtTiny", 0, None, "image_size"),
        ("ViTBase16", 100, 16, "image_size"),
        ("ViTBase16", 8, 16, "image_size"),
        ("ViTC1GF", 96, 3, "stem_stride"),
        ("ViTC1GF", 96, 32, "stem_stride"),
        ("ViTR50Base16", 96, 6, "stem_stride"),
        ("ConvNeXtTiny", 96, -4, "stem_stride"),
        ("ConvNeXtTiny", 96, 0, "stem_stride"),
        ("ViTBase16", 96, 0, "stem_stride"),
        ("ViTBase16", 96, -16, "stem_stride"),
        ("SwinTiny", 32, -4, "stem_stride"),
        ("SwinTiny", 0, None, "image_size"),
        ("MobileNetV2", 0, None, "image_size"),
    ],
)
def test_bad_sizes_and_strides(name, size, stem_stride, argument):
    with pytest.raises(ValueError, match=rf"Received: .*{argument}="):
        adapt_to_image_size(kv.config_of(name), size, stem_stride)


@backend_independent
@pytest.mark.parametrize(
    "rule", [lambda c: adapt_to_image_size(c, 32), lambda c: scale_width(c, 2)]
)
def test_an_unknown_config_is_refused(rule):
    with pytest.raises(TypeError, match="No rule for str"):
        rule("ConvNeXtTiny")


# --- scale_width


@backend_independent
@every_model
def test_one_times_the_width_changes_nothing(name):
    assert scale_width(kv.config_of(name), 1.0) is kv.config_of(name)


def check_convnet(scaled, config, multiplier):
    single = [
        field
        for field in ("stem_width", "head_width", "group_width")
        if getattr(config, field, None)
    ]
    several = [field for field in ("widths", "token_widths") if hasattr(config, field)]
    restored = {field: getattr(config, field) for field in single + several}
    assert replace(scaled, **restored) == config
    pairs = [(getattr(scaled, field), getattr(config, field)) for field in single]
    for field in several:
        pairs += zip(getattr(scaled, field), getattr(config, field), strict=True)
    norm = "group" if isinstance(config, kv.BiTConfig) else getattr(config, "norm", "batch")
    groups, group_width = getattr(config, "groups", 1), getattr(scaled, "group_width", None)
    for new, old in pairs:
        step = max(8, groups, group_width or 0, 32 if norm == "group" else 0)
        assert new % 8 == 0
        assert new == step or abs(new - multiplier * old) <= step / 2
    assert all(width % (group_width or groups) == 0 for width in scaled.widths)
    if norm == "group":
        assert all(width % 32 == 0 for width in scaled.widths)


@backend_independent
@every_model
def test_scaled_widths_fit_heads_and_groups(name):
    for multiplier in (0.1, 0.25, 0.5, 0.75, 1.5, 2):
        check_scaled(kv.config_of(name), multiplier)


def check_scaled(config, multiplier):
    scaled = scale_width(config, multiplier)
    if isinstance(config, kv.SwinConfig):
        assert replace(scaled, widths=config.widths, num_heads=config.num_heads) == config
        for width, heads, before in zip(
            scaled.widths, scaled.num_heads, config.num_heads, strict=True
        ):
            assert width == 32 * heads
            assert heads == 1 or abs(heads - multiplier * before) <= 0.5
        return
    if not isinstance(config, TransformerConfig):
        check_convnet(scaled, config, multiplier)
        return
    assert scaled.width // scaled.num_heads == config.width // config.num_heads
    assert scaled.width % scaled.num_heads == 0
    if config.local_blocks:
        assert isqrt(scaled.num_heads) ** 2 == scaled.num_heads
    else:
        assert scaled.num_heads == 1 or abs(scaled.num_heads - multiplier * config.num_heads) <= 0.5
    assert all(width % 8 == 0 for width in scaled.stem_widths)
    if config.backbone:
        check_convnet(scaled.backbone, config.backbone, multiplier)


@pytest.mark.parametrize(
    "name",
    [
        "resnext",
        "gresnet",
        "hybrid",
        "convit",
        "vit_c",
        "mobilenet",
        "regnet_y",
        "regnet_z",
        "bit",
        "swin",
        "mobilevit",
    ],
)
def test_scaled_configs_can_be_built(name):
    model = kv.build(scale_width(TINY[name], 1.5), input_shape=(16, 16, 3), classes=3)
    assert model.output_shape == (None, 3)


@backend_independent
@pytest.mark.parametrize("multiplier", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["ConvNeXtTiny", "ViTBase16"])
def test_bad_multipliers(name, multiplier):
    with pytest.raises(ValueError, match=rf"multiplier`.*Received: \w*multiplier={multiplier}$"):
        scale_width(kv.config_of(name), multiplier)
