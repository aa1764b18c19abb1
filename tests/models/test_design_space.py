"""The thesis of the library: ResNet and ConvNeXt are two ends of one road through one config."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.vit import deit3, distilled
from tests.models import counting

ROADS = json.loads((Path(__file__).parents[1] / "facts" / "roads.json").read_text())

MODERN = {"stem": "patch", "stem_stride": 4, "pool": False}
SEPARATE = {"downsample": "between", "bias": True, "layer_scale": 1e-6}


def _road(start: kv.ConvNetConfig, ratio: dict, width: int) -> list[tuple[int, kv.ConvNetConfig]]:
    """(step of the paper, config) in order; the alternatives of the kernel size branch off."""
    changes = [
        (2, ratio),
        (3, MODERN),
        (4, {"mixer": "depthwise"}),
        (5, {"widths": (width, 2 * width, 4 * width, 8 * width)}),
        (6, {"shape": "inverted"}),
        (7, {"mixer_first": True}),
        (8, {"kernel": 5}),
        (10, {"kernel": 9}),
        (11, {"kernel": 11}),
        (9, {"kernel": 7}),
        (12, {"activation": "gelu"}),
        (13, {"activations": "one"}),
        (14, {"norms": "one"}),
        (15, {"norm": "layer"}),
        (16, SEPARATE),
    ]
    steps = [(0, start)]
    for step, change in changes:
        steps.append((step, replace(steps[-1][1], **change)))
    return steps


TINY_ROAD = _road(kv.config_of("ResNet50"), {"depths": (3, 3, 9, 3)}, 96)
BASE_ROAD = _road(
    kv.config_of("ResNet200"), {"depths": (3, 3, 27, 3), "widths": (84, 168, 336, 672)}, 128
)


def test_the_roads_end_at_convnext() -> None:
    assert TINY_ROAD[-1][1] == kv.config_of("ConvNeXtTiny")
    assert BASE_ROAD[-1][1] == kv.config_of("ConvNeXtBase")


@pytest.mark.backend_independent
@pytest.mark.parametrize(
    ("road", "facts"),
    [(TINY_ROAD, "resnet50_to_convnext_t"), (BASE_ROAD, "resnet200_to_convnext_b")],
    ids=["tiny", "base"],
)
def test_every_step_costs_what_the_recount_says(road: list, facts: str) -> None:
    costs = counting.costs([(config, 224, 224) for _, config in road])
    for (step, _), cost in zip(road, costs, strict=True):
        fact = ROADS[facts][step]
        assert cost["params"] == fact["params_computed"], fact["name"]
        assert cost["non_trainable"] == fact["batchnorm_running_stats"], fact["name"]
        assert round(cost["macs"] / 1e9, 3) == fact["gflops_computed"], fact["name"]


def test_every_step_of_the_road_runs_forward() -> None:
    for step, config in TINY_ROAD:
        small = kv.models.scale_width(replace(config, depths=(1, 1, 1, 1)), 0.25)
        model = kv.build(small, input_shape=(64, 64, 3), classes=5)
        assert model.output_shape == (None, 5), step


def test_deit_is_vit_and_its_relatives_are_one_replace_away() -> None:
    vit = kv.config_of("ViTSmall16")
    assert kv.config_of("DeiTSmall16") == vit
    assert kv.config_of("DeiTSmall16Distilled") == distilled(vit)
    assert kv.config_of("DeiT3Small16") == deit3(vit)
    assert replace(kv.config_of("ViTP18GF"), norm_epsilon=1e-6) == kv.config_of("ViTBase16")


def test_deit_becomes_convit() -> None:
    # 12 x 432, the width of ConViT-S: same blocks, then the road of the paper.
    deit = replace(kv.config_of("DeiTSmall16"), width=432, num_heads=9)
    convit = replace(
        deit, local_blocks=10, class_token_block=10, class_token_position=False, qkv_bias=False
    )
    assert convit == kv.config_of("ConViTSmall")
