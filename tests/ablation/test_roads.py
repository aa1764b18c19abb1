"""The thesis of the library: the roads of the papers lead through one design space each."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_vitcnn as kv
from keras_vitcnn import ablation
from keras_vitcnn.ablation import Step
from keras_vitcnn.ablation.costs import FITTED
from tests.models import counting

FACTS = Path(__file__).parents[1] / "facts"
ROADS = json.loads((FACTS / "roads.json").read_text())
RECOUNT = json.loads((FACTS / "counts.json").read_text())["not_in_timm"]
COUNTS = {row["name"]: row for row in RECOUNT}
PRINTED = json.loads((FACTS / "published.json").read_text())["rows"]

ENDS = {
    "resnet50-to-convnext-tiny": ("ResNet50", "ConvNeXtTiny"),
    "resnet200-to-convnext-base": ("ResNet200", "ConvNeXtBase"),
    "resnet50-to-gresnet50": ("ResNet50", "GResNet50"),
    "vit-p-1gf-to-vit-c-1gf": ("ViTP1GF", "ViTC1GF"),
    "vit-p-4gf-to-vit-c-4gf": ("ViTP4GF", "ViTC4GF"),
    "vit-p-18gf-to-vit-c-18gf": ("ViTP18GF", "ViTC18GF"),
    "vit-p-36gf-to-vit-c-36gf": ("ViTP36GF", "ViTC36GF"),
    "deit-small-to-convit-small-plus": ("DeiTSmall16", "ConViTSmallPlus"),
}
CONVNEXT = {"resnet50-to-convnext-tiny": "T", "resnet200-to-convnext-base": "B"}
FACTS_OF = {
    "resnet50-to-convnext-tiny": "resnet50_to_convnext_t",
    "resnet200-to-convnext-base": "resnet200_to_convnext_b",
}
EARLY = {f"vit-p-{s}-to-vit-c-{s}": s.upper() for s in ("1gf", "4gf", "18gf", "36gf")}

# What each paper says that it changes, in the words of our configs.
ANNOUNCED = {
    "stage ratio": {"depths"},
    "stage ratio and width": {"depths", "widths"},
    "patchify stem": {"stem", "stem_stride", "pool"},
    "depthwise convolution": {"mixer"},
    "width": {"widths"},
    "inverted bottleneck": {"shape"},
    "depthwise moved up": {"mixer_first"},
    "kernel 5": {"kernel"},
    "kernel 7": {"kernel"},
    "kernel 9": {"kernel"},
    "kernel 11": {"kernel"},
    "GELU": {"activation"},
    "fewer activations": {"activations"},
    "fewer norms": {"norms"},
    "layer norm": {"norm"},
    "separate downsampling": {"downsample", "bias", "layer_scale"},
    "tiered stem": {"stem", "stem_width"},
    "no max pooling": {"pool", "strides"},
    "pooled shortcuts": {"shortcut"},
    "SiLU": {"activation"},
    "split norm": {"norm"},
    "convolutional stem": {"stem_widths", "stem_strides", "patch_size"},
    "one block fewer": {"depth"},
    "nine heads": {"num_heads", "width"},
    "no attention bias": {"qkv_bias"},
    "late class token": {"class_token_block", "class_token_position"},
    "local blocks": {"local_blocks", "locality_strength", "gate_init", "train_gate"},
    "trained gates, random start": {"gate_init", "train_gate"},
    "convolutional start": {"locality_strength"},
    "trained gates": {"gate_init", "train_gate"},
    # Nothing about the network.
    "training recipe": set(),
    "stride placement": set(),
}

STEPS = [(road, step) for road in ablation.roads() for step in ablation.road(road)]
each_road = pytest.mark.parametrize("name", ablation.roads())
each_step = pytest.mark.parametrize(
    ("name", "step"), STEPS, ids=[f"{road}-{step.name}" for road, step in STEPS]
)
static = pytest.mark.backend_independent


@static
def test_the_roads_and_their_ends() -> None:
    assert ablation.roads() == list(ENDS)
    for name, (start, end) in ENDS.items():
        road = ablation.road(name)
        assert isinstance(road, tuple)
        assert road[0].config == kv.config_of(start)
        assert road[-1].config == kv.config_of(end)
        assert road[-1].adopted
        assert len({step.name for step in road}) == len(road)


@static
@each_step
def test_a_step_changes_what_it_announces_and_nothing_else(name: str, step: Step) -> None:
    road = ablation.road(name)
    if step is road[0]:
        assert step.before is None
        return
    earlier = [one for one in road[: road.index(step)] if one.adopted]
    assert step.before == earlier[-1].config, "departs from the last adopted step"
    differing = {
        f.name
        for f in fields(step.config)
        if getattr(step.config, f.name) != getattr(step.before, f.name)
    }
    assert differing == ANNOUNCED[step.name] == set(step.change)
    assert step.config == replace(step.before, **step.change)


@static
def test_what_was_tried_and_not_kept() -> None:
    tried = [step.name for _, step in STEPS if not step.adopted]
    kernels = ["kernel 5", "kernel 9", "kernel 11"]
    assert tried == [*kernels, *kernels, "trained gates, random start"]


@static
@settings(deadline=None, max_examples=60)
@given(
    which=st.sampled_from(STEPS),
    size=st.integers(24, 224),
    width=st.floats(0.1, 2.0),
)
def test_a_smaller_step_is_the_same_step_or_refused(
    which: tuple[str, Step], size: int, width: float
) -> None:
    name, step = which
    road = ablation.road(name)
    try:
        config, _ = ablation.fit(road, step, size, width)
    except ValueError as error:
        assert "Received:" in str(error)
        return
    if step.before is not None:
        start = Step(name="start", change={}, config=step.before)
        before, _ = ablation.fit(road, start, size, width)
        assert set(ablation.changed(before, config)) <= ANNOUNCED[step.name] | FITTED


@pytest.fixture(scope="module")
def costs() -> dict[str, list[dict[str, Any]]]:
    """What every step of every road costs, batch statistics included."""
    roads = {name: ablation.road(name) for name in ablation.roads()}
    counted = iter(
        counting.costs([(step.config, 224, 224) for road in roads.values() for step in road])
    )
    return {name: [next(counted) for _ in road] for name, road in roads.items()}


@static
@pytest.mark.parametrize("name", CONVNEXT)
def test_the_roads_to_convnext_cost_what_the_recount_says(name: str, costs: dict) -> None:
    for step, cost, fact in zip(
        ablation.road(name), costs[name], ROADS[FACTS_OF[name]], strict=True
    ):
        assert cost["params"] == fact["params_computed"], step.name
        assert cost["non_trainable"] == fact["batchnorm_running_stats"], step.name
        assert round(cost["macs"] / 1e9, 3) == fact["gflops_computed"], step.name


@static
def test_costs_to_the_unit(costs: dict) -> None:
    # The recount adds the classifier's 1,000 biases; it has each network once.
    for name, letter in CONVNEXT.items():
        rows = {row["macs"] for row in RECOUNT if row["family"] == f"ablation_{letter}"}
        assert {cost["macs"] + 1000 for cost in costs[name]} == rows
    gresnet = costs["resnet50-to-gresnet50"][-1]
    assert gresnet["params"] == COUNTS["gresnet50"]["params"]
    assert gresnet["macs"] + 1000 == COUNTS["gresnet50"]["macs"]


@static
@pytest.mark.parametrize("name", EARLY)
def test_the_roads_to_vit_c_cost_what_the_recount_says(name: str, costs: dict) -> None:
    for step, cost, kind in zip(
        ablation.road(name), costs[name], ("vit_p", None, "vit_c"), strict=True
    ):
        if kind:
            row = COUNTS[f"{kind}_{EARLY[name].lower()}"]
            assert cost["params"] == row["params"], step.name
            assert cost["macs"] + cost["bias_adds"] == row["macs"], step.name


@static
def test_the_road_to_convit_costs_what_the_recount_says(costs: dict) -> None:
    road = ablation.road("deit-small-to-convit-small-plus")
    params = {step.name: cost["params"] for step, cost in zip(road, costs[road.name], strict=True)}
    assert params["DeiT-S"] == 22_050_664
    assert params["nine heads"] == 49_000_744
    assert params["no attention bias"] == 49_000_744 - 12 * 3 * 576
    assert params["late class token"] == params["no attention bias"] - 576  # its position
    # Ten blocks learn what three coordinates mean to nine heads, and later their gates.
    assert params["local blocks"] == params["late class token"] + 10 * (3 + 1) * 9
    assert params["convolutional start"] == params["local blocks"]
    assert params["trained gates, random start"] == params["local blocks"] + 10 * 9
    assert params["trained gates"] == 48_979_882


@static
@each_road
def test_costs_are_the_papers_to_their_precision(name: str, costs: dict) -> None:
    road = ablation.road(name)
    misprints = []
    for step, cost in zip(road, costs[name], strict=True):
        if not step.published or step.published.gflops is None:
            continue
        printed = step.published.gflops
        text = ablation.as_printed(road, step, "gflops")
        half = 0.5 * 10 ** -len(text.partition(".")[2])
        low, high = cost["macs"] / 1e9, (cost["macs"] + cost["bias_adds"]) / 1e9
        if "convit" in name:  # leaves the products of attention out
            low -= cost["product_macs"] / 1e9
        rounded = low - half <= printed <= high + half
        cut_off = printed == pytest.approx(int(low / (2 * half)) * 2 * half)
        if step.published.misprint:
            misprints.append((step.name, printed))
            assert abs(low - printed) > 2 * half, "explained, but it is right"
        else:
            assert rounded or cut_off, step.name
    known = [("layer norm", 4.46), ("separate downsampling", 4.49)]
    assert misprints == (known if name == "resnet50-to-convnext-tiny" else [])


@static
@pytest.mark.parametrize("name", CONVNEXT)
def test_published_figures_of_convnext(name: str) -> None:
    for step, fact in zip(ablation.road(name), ROADS[FACTS_OF[name]], strict=True):
        assert step.published is not None
        assert step.published.source.startswith("arXiv:2201.03545")
        figures = (step.published.top1, step.published.top1_std, step.published.gflops)
        assert figures == (fact["top1"], fact["top1_std"], fact["gflops_published"]), step.name
        assert step.adopted == fact["adopted_in_next_step"]


@static
@pytest.mark.parametrize("name", EARLY)
def test_published_figures_of_early_convolutions(name: str) -> None:
    (regime,) = [r for r in ROADS["vit_p_to_vit_c"]["regimes"] if r["regime"] == EARLY[name]]
    for step, fact in zip(ablation.road(name), regime["steps"], strict=True):
        errors = fact["top1_error_100_200_400"]
        if errors is None:
            assert step.published is None
            continue
        assert step.published is not None
        after_100, after_200, after_400 = (round(100 - error, 1) for error in errors)
        assert step.published.top1 == after_400
        assert step.published.remark.startswith(
            f"{after_100} after 100 epochs, {after_200} after 200"
        )
    if EARLY[name] == "4GF":
        stems = ROADS["vit_p_to_vit_c"]["stem_ablation_4gf_50ep"]
        for step, fact in zip(ablation.road(name)[::2], stems, strict=True):
            adamw, sgd = (
                round(100 - fact[f"top1_error_50ep_{optimizer}"], 1)
                for optimizer in ("adamw", "sgd")
            )
            assert f"{adamw} after 50 epochs of AdamW, {sgd} of SGD" in step.published.remark
    for step, kind in zip(ablation.road(name)[::2], ("vit_p", "vit_c"), strict=True):
        (row,) = [r for r in PRINTED if r["name"] == f"{kind}_{EARLY[name].lower()}"]
        assert step.published.gflops == row["gflops"]


@static
def test_published_figures_of_the_others() -> None:
    rows = {row.get("paper_row"): row for row in ROADS["deit_to_convit"]["steps"]}
    road = ablation.road("deit-small-to-convit-small-plus")
    named = {"nine heads": "e", "local blocks": "d", "trained gates, random start": "c"}
    named |= {"convolutional start": "b", "trained gates": "a"}
    for name, letter in named.items():
        figures = road.step(name).published
        assert figures.top1 == rows[letter]["top1"]
        assert figures.remark.startswith(f"row {letter}")
        assert f"{rows[letter]['top1_10pct']} with a tenth" in figures.remark
    gresnet = ablation.road("resnet50-to-gresnet50")
    facts = ROADS["resnet50_to_gresnet"]["steps"]
    for name, fact in {
        "ResNet-50": facts[0],
        "training recipe": facts[1],
        "split norm": facts[7],
    }.items():
        assert gresnet.step(name).published.top1 == fact["top1"]


@static
def test_a_change_as_text() -> None:
    road = ablation.road("resnet50-to-convnext-tiny")
    assert ablation.diff(road.step("patchify stem")).splitlines()[1:] == [
        "  stem         'conv7' -> 'patch'",
        "  stem_stride  2 -> 4",
        "  pool         True -> False",
    ]
    assert ablation.diff(road.step("training recipe")).endswith("the same network")
    assert ablation.diff(road.step("kernel 9")).splitlines()[1:] == [
        "  kernel  7 -> 9",
        "  tried, not adopted",
    ]
    assert "start" in ablation.diff(road[0])


@static
def test_unknown_names_are_answered_with_known_ones() -> None:
    with pytest.raises(ValueError, match=r"is 'resnet50-to-convnext-tiny'.*Received: road="):
        ablation.road("resnet50-to-convnext")
    with pytest.raises(ValueError, match=r"`step` must be one of \['ViT_P-1GF'.*Received: step="):
        ablation.road("vit-p-1gf-to-vit-c-1gf").step("stem")


@static
def test_figures_are_compared_between_the_same_networks() -> None:
    early = ablation.road("vit-p-1gf-to-vit-c-1gf")
    assert early.base(early[2]) is early[0], "the step between has no published figure"
    assert early.base(early[1]) is early[0]
    assert early.base(early[0]) is None
    convnext = ablation.road("resnet50-to-convnext-tiny")
    assert convnext.base(convnext.step("GELU")).name == "kernel 7"


def test_costs_need_no_weights() -> None:
    road = ablation.road("vit-p-36gf-to-vit-c-36gf")
    counted = ablation.costs(road)
    assert [cost.step for cost in counted] == list(road)
    assert counted[-1].complexity.params == 167_796_008  # 0.7 GB, had they been allocated
    small = ablation.costs(road, image_size=32, width_multiplier=0.25)
    config, note = ablation.fit(road, road[-1], 32, 0.25)
    assert small[-1].complexity == kv.complexity(config, (32, 32, 3))
    assert "8 x 8 tokens" in note


def test_a_width_that_would_change_more_than_the_step() -> None:
    road = ablation.road("deit-small-to-convit-small-plus")
    with pytest.raises(ValueError, match=r"'convolutional start'.*also change num_heads, width"):
        ablation.costs(road, image_size=32, width_multiplier=0.25)


def test_every_step_of_a_road_runs_forward() -> None:
    for step in ablation.road("resnet50-to-convnext-tiny"):
        small = kv.models.scale_width(replace(step.config, depths=(1, 1, 1, 1)), 0.25)
        model = kv.build(small, input_shape=(64, 64, 3), classes=5)
        assert model.output_shape == (None, 5), step.name
