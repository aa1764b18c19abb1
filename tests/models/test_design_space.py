"""Families are points of one design space, or rules that produce them."""

from dataclasses import replace

import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.vit import deit3, distilled


def test_deit_is_vit_and_its_relatives_are_one_replace_away() -> None:
    vit = kv.config_of("ViTSmall16")
    assert kv.config_of("DeiTSmall16") == vit
    assert kv.config_of("DeiTSmall16Distilled") == distilled(vit)
    assert kv.config_of("DeiT3Small16") == deit3(vit)
    assert replace(kv.config_of("ViTP18GF"), norm_epsilon=1e-6) == kv.config_of("ViTBase16")


# Widths, depths and group width as pycls and timm list them, from which the rule must arrive there.
REGNETS = {
    "RegNetY002": ((24, 56, 152, 368), (1, 1, 4, 7), 8),
    "RegNetY006": ((48, 112, 256, 608), (1, 3, 7, 4), 16),
    "RegNetY008": ((64, 128, 320, 768), (1, 3, 8, 2), 16),
    "RegNetY032": ((72, 216, 576, 1512), (2, 5, 13, 1), 24),
    "RegNetY040": ((128, 192, 512, 1088), (2, 6, 12, 2), 64),
    "RegNetY080": ((168, 448, 896, 2016), (2, 4, 10, 1), 56),
    "RegNetY320": ((232, 696, 1392, 3712), (2, 5, 12, 1), 232),
    "RegNetZ005": ((16, 40, 104, 256), (1, 4, 9, 7), 4),
    "RegNetZ040": ((48, 104, 240, 528), (2, 6, 14, 6), 8),
}


@pytest.mark.parametrize("name", list(REGNETS))
def test_the_quantized_line_gives_regnets(name: str) -> None:
    config = kv.config_of(name)
    assert isinstance(config, kv.ConvNetConfig)
    assert (config.widths, config.depths, config.group_width) == REGNETS[name]


# arXiv:1905.11946 scales channels and blocks of B0; widths and repeats as in tensorflow/tpu.
EFFICIENTNETS = {
    "B0": (32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 1280, 224),
    "B1": (32, (16, 24, 40, 80, 112, 192, 320), (2, 3, 3, 4, 4, 5, 2), 1280, 240),
    "B2": (32, (16, 24, 48, 88, 120, 208, 352), (2, 3, 3, 4, 4, 5, 2), 1408, 260),
    "B3": (40, (24, 32, 48, 96, 136, 232, 384), (2, 3, 3, 5, 5, 6, 2), 1536, 300),
    "B4": (48, (24, 32, 56, 112, 160, 272, 448), (2, 4, 4, 6, 6, 8, 2), 1792, 380),
    "B5": (48, (24, 40, 64, 128, 176, 304, 512), (3, 5, 5, 7, 7, 9, 3), 2048, 456),
    "B6": (56, (32, 40, 72, 144, 200, 344, 576), (3, 6, 6, 8, 8, 11, 3), 2304, 528),
    "B7": (64, (32, 48, 80, 160, 224, 384, 640), (4, 7, 7, 10, 10, 13, 4), 2560, 600),
}


@pytest.mark.parametrize("name", list(EFFICIENTNETS))
def test_compound_scaling_gives_efficientnets(name: str) -> None:
    c = kv.config_of(f"EfficientNet{name}")
    assert (c.stem_width, c.widths, c.depths, c.head_width, c.image_size) == EFFICIENTNETS[name]


def test_the_dialects_of_efficientnet_differ_in_numerics_alone() -> None:
    published, symmetric = (kv.config_of(f"EfficientNetB0{s}") for s in ("", "Symmetric"))
    assert (published.padding, published.norm_epsilon) == ("same", 1e-3)
    numerics = {"padding": "symmetric", "norm_epsilon": 1e-5, "norm_momentum": 0.9}
    assert replace(published, **numerics) == symmetric


def test_lite_is_efficientnet_without_squeezing() -> None:
    b0, lite = kv.config_of("EfficientNetB0"), kv.config_of("EfficientNetLite0")
    assert replace(b0, squeeze=None, activation="relu6") == lite
    b4, lite4 = kv.config_of("EfficientNetB4"), kv.config_of("EfficientNetLite4")
    assert (lite4.widths, lite4.depths[1:-1]) == (b4.widths, b4.depths[1:-1])
    # Stem, head and the blocks of the outer stages are not scaled.
    assert (lite4.stem_width, lite4.head_width) == (b0.stem_width, b0.head_width)
    assert (lite4.depths[0], lite4.depths[-1]) == (1, 1)
