"""The pages of the zoo, which a command writes: as new as the zoo."""

import json
import re
from pathlib import Path

import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.registry import VARIANTS, published_for

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.backend_independent


def rows_of(page: str) -> list[list[str]]:
    """The cells of every row that begins with a model's name."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if re.match(r"\| `\w+` \|", line)
    ]


def test_every_model_has_its_row_of_costs() -> None:
    names = [row[0].strip("`") for row in rows_of("zoo.md")]
    assert names == list(VARIANTS) and sorted(names) == sorted(kv.list_models())


def test_its_parameters_are_those_that_timm_has() -> None:
    counts = json.loads((ROOT / "tests/facts/counts.json").read_text())
    printed = {row[0].strip("`"): row[3] for row in rows_of("zoo.md")}
    names = {row.timm[0]: row.name for row in VARIANTS.values() if row.timm}
    checked = [row for row in counts["models"] if row["label"] in names]
    assert len(checked) > 80
    for row in checked:
        assert printed[names[row["label"]]] == f"{row['params']:,}", row["label"]


def test_every_published_checkpoint_has_its_row() -> None:
    printed = [tuple(cell.strip("`") for cell in row[:2]) for row in rows_of("zoo-weights.md")]
    assert printed == [
        (row.name, checkpoint.tag) for row in VARIANTS.values() for checkpoint in published_for(row)
    ]


def test_designs_are_told_apart() -> None:
    designs = {row[0].strip("`"): row[1] for row in rows_of("zoo.md")}
    assert set(designs.values()) == {"ConvNet", "Transformer", "between"}
    for name, design in {
        "ConvNeXtTiny": "ConvNet",
        "BiTR50x1": "ConvNet",
        "EfficientNetB0": "ConvNet",
        "DeiTSmall16": "Transformer",
        "ViTP1GF": "Transformer",
        "SwinTiny": "Transformer",
        "ViTC1GF": "between",
        "ViTR50Base16": "between",
        "ConViTTiny": "between",
        "MobileViTS": "between",
    }.items():
        assert designs[name] == design, name


def test_the_chart_has_every_measured_checkpoint() -> None:
    points = json.loads((ROOT / "docs/zoo.json").read_text())
    assert [(point["model"], point["tag"], point["top1"]) for point in points] == [
        (row.name, checkpoint.tag, checkpoint.top1)
        for row in VARIANTS.values()
        for checkpoint in published_for(row)
        if checkpoint.top1
    ]
    images = {point["tag"]: point["images"] for point in points}
    assert images["fb_in1k"] == images["fcmae_ft_in1k"] == "ImageNet-1k"
    assert images["fb_in22k_ft_in1k"] == images["ns_jft_in1k"] == "more"
    # A cost that the paper prints for the size of the measurement (arXiv:2201.03545, table 1).
    costs = {(point["model"], point["px"]): point["macs"] for point in points}
    assert round(costs["ConvNeXtTiny", 224] / 1e9, 1) == 4.5
    assert round(costs["ConvNeXtBase", 384] / 1e9, 1) == 45.1
