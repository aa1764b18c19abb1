"""Parameters, MACs and activations of the whole zoo against timm, a recount and the papers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.registry import VARIANTS
from tests.models import counting

FACTS = Path(__file__).parents[1] / "facts"
COUNTS = json.loads((FACTS / "counts.json").read_text())
PUBLISHED = json.loads((FACTS / "published.json").read_text())["rows"]

ALIASES = {alias: row.name for row in VARIANTS.values() for alias in (row.alias, *row.timm)}
# The recount names ConViT's plus models by timm's constructor and its argument.
LABELS = {
    f"convit_{size}_plus (convit_{size}, embed_dim=64)": f"convit_{size}_plus"
    for size in ("tiny", "small", "base")
}
TIMM = [
    (LABELS.get(row["label"], row["label"]), row)
    for row in COUNTS["models"]
    if LABELS.get(row["label"], row["label"]) in ALIASES
]
ELSEWHERE = [(row["name"], row) for row in COUNTS["not_in_timm"] if row["name"] in ALIASES]

pytestmark = pytest.mark.backend_independent


@pytest.fixture(scope="module")
def costs() -> dict:
    """Our cost of every (name, height, width) that a test below asks for."""
    wanted = {(name, *row["input_size"][1:]) for name, row in TIMM + ELSEWHERE}
    wanted |= {(row["name"], row["image_size"], row["image_size"]) for row in PUBLISHED}
    wanted = sorted(wanted)
    entries = [(kv.config_of(name), height, width) for name, height, width in wanted]
    return dict(zip(wanted, counting.costs(entries), strict=True))


def test_every_model_of_the_zoo_is_checked() -> None:
    checked = {ALIASES[name] for name, _ in TIMM + ELSEWHERE}
    # timm has it too, but for an activation: the same parameters and products.
    same = replace(kv.config_of("RegNetZ4GF"), head_activation=True)
    assert same == kv.config_of("RegNetZ040")
    assert checked | {"RegNetZ4GF"} == set(VARIANTS)


@pytest.mark.parametrize(("name", "row"), TIMM, ids=[name for name, _ in TIMM])
def test_counts_equal_timm(name: str, row: dict, costs: dict) -> None:
    ours = costs[(name, *row["input_size"][1:])]
    assert ours["params"] == row["params"]
    assert ours["non_trainable"] == row["batchnorm_running_stats"]
    assert ours["macs"] == row["macs"]
    # timm's figure has no attention products.
    unattended = ours["activations"] - ours["product_outputs"]
    assert unattended == row["conv_output_elements"] + row["linear_output_elements"]


@pytest.mark.parametrize(("name", "row"), ELSEWHERE, ids=[name for name, _ in ELSEWHERE])
def test_counts_equal_the_recount(name: str, row: dict, costs: dict) -> None:
    ours = costs[(name, *row["input_size"][1:])]
    assert ours["params"] == row["params"]
    assert ours["activations"] == row["activations"]
    # The recount follows pycls for ViT_P and ViT_C: every bias is an addition that counts. For the
    # others it counts the classifier's biases alone.
    biases = ours["bias_adds"] if row["family"] == "vit_p_vit_c" else 1000
    assert ours["macs"] + biases == row["macs"]


def _half_a_last_digit(printed: float) -> float:
    decimals = len(str(printed).partition(".")[2].rstrip("0"))
    return 0.5 * 10**-decimals


# Printed figures that are not the rounded true value, each with its reason.
MISPRINTS = {
    ("convnext_base", 384, 47.0): "the README prints Swin-B's figure",
    ("convnextv2_tiny", 224, 4.47): "4.456 rounds to 4.46",
    ("resnetv2_101x3_bit", 384, 204.6): "0.2 % above the sum of its convolutions",
    ("resnetv2_152x4_bit", 480, 840.5): "0.2 % above the sum of its convolutions",
    ("mobilevit_xs", 256, 0.7): "timm's count of its 1.0 G is exactly ours",
}


@pytest.mark.parametrize(
    "row", PUBLISHED, ids=[f"{r['name']}-{r['image_size']}-{r['gflops']}" for r in PUBLISHED]
)
def test_costs_are_the_papers_to_their_precision(row: dict, costs: dict) -> None:
    name, size = row["name"], row["image_size"]
    ours = costs[(name, size, size)]
    if row["gflops"] and (name, size, row["gflops"]) not in MISPRINTS:
        printed = row["gflops"]
        # Papers differ in whether they count biases, and some cut digits off instead of rounding.
        low, high = ours["macs"] / 1e9, (ours["macs"] + ours["bias_adds"]) / 1e9
        if row["source"].startswith("ConViT paper"):  # leaves the products of attention out
            low -= ours["product_macs"] / 1e9
        margin = _half_a_last_digit(printed)
        truncated = int(low / (2 * margin)) * 2 * margin
        rounded = low - margin <= printed <= high + margin
        assert rounded or printed == pytest.approx(truncated)
    if row["activations_millions"]:
        # pycls counts the outputs of maximum pooling too; for transformers its figures lie up to
        # 0.5 % above the sum that the paper describes.
        ours_millions = (ours["activations"] + ours["pooled_outputs"]) / 1e6
        printed = row["activations_millions"]
        assert abs(ours_millions - printed) <= 0.005 * printed + _half_a_last_digit(printed)


def test_count_params_on_this_backend() -> None:
    assert kv.ConvNeXtTiny().count_params() == 28589128
