"""Which trained weights of each model are published, and how they want their images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from keras_vitcnn.models.preprocessing import Preprocessing

# Written by scripts/timm_tables.py from timm's registry; never by hand.
TABLE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A checkpoint on the Hugging Face hub, as timm's registry describes it."""

    timm: str  # timm's name of the architecture
    tag: str  # what it was trained on, and how
    hub: str  # repository: owner/name
    classes: int  # of its classifier; 0 where it has none
    preprocessing: Preprocessing
    top1: float | None = None  # per cent of ImageNet-1k's validation images, as timm measured
    top1_size: int | None = None  # the image size of that measurement

    @property
    def name(self) -> str:
        """timm's name of the checkpoint, which no other one has."""
        return f"{self.timm}.{self.tag}"


@cache
def table() -> dict[str, tuple[Published, ...]]:
    """timm's name of an architecture -> its checkpoints, timm's default first."""
    rows = json.loads(TABLE.read_text())["checkpoints"]
    return {name: tuple(_parsed(name, row) for row in found) for name, found in rows.items()}


def checkpoints(timm_names: Sequence[str]) -> list[Published]:
    """The checkpoints of all of these architectures, in their order."""
    return [row for name in timm_names for row in table().get(name, ())]


def by_name(name: str) -> Published | None:
    """The checkpoint of a name such as `"convnext_tiny.fb_in1k"`, if there is one."""
    rows = table().get(name.split(".", 1)[0], ())
    return next((row for row in rows if row.name == name), None)


def _parsed(name: str, row: dict) -> Published:
    return Published(
        timm=name,
        tag=row["tag"],
        hub=row["hub"],
        classes=row["classes"],
        preprocessing=Preprocessing.of(row),
        top1=row.get("top1"),
        top1_size=row.get("top1_size"),
    )
