"""docs/zoo.md, which a command writes: as new as the zoo."""

import json
import re
from pathlib import Path

import pytest

import keras_vitcnn as kv
from keras_vitcnn.models.registry import VARIANTS, published_for

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.backend_independent


def test_every_model_has_its_row_of_costs() -> None:
    page = (ROOT / "docs/zoo.md").read_text()
    rows = {
        name: line
        for line in page.splitlines()
        if (name := (re.match(r"\| `(\w+)` \| \d+ \| [\d,]{7,} \|", line) or [None, None])[1])
    }
    assert list(rows) == list(VARIANTS) and sorted(rows) == sorted(kv.list_models())
    for name, line in rows.items():
        for checkpoint in published_for(VARIANTS[name]):
            assert f"`{checkpoint.tag}`" in line


def test_its_parameters_are_those_that_timm_has() -> None:
    page = (ROOT / "docs/zoo.md").read_text()
    counts = json.loads((ROOT / "tests/facts/counts.json").read_text())
    printed = dict(re.findall(r"\| `(\w+)` \| \d+ \| ([\d,]{7,}) \|", page))
    names = {row.timm[0]: row.name for row in VARIANTS.values() if row.timm}
    checked = [row for row in counts["models"] if row["label"] in names]
    assert len(checked) > 80
    for row in checked:
        assert printed[names[row["label"]]] == f"{row['params']:,}", row["label"]
