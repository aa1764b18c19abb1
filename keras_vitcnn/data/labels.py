"""Names for the classes that a model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Written by scripts/timm_tables.py: WordNet id, tab, names.
CLASSES = Path(__file__).with_name("imagenet_classes.txt")


class Prediction(NamedTuple):
    """One of the likeliest classes of an image."""

    id: str  # in WordNet, e.g. "n01491361"; the class index where labels were given
    name: str
    probability: float


@cache
def class_names() -> tuple[tuple[str, str], ...]:
    """(WordNet id, names) of ImageNet-1k's 1,000 classes, in the order of a classifier's outputs.

    Names are WordNet's, all of them, separated by commas.
    """
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    return tuple((line.split("\t")[0], line.split("\t")[1]) for line in lines)


def decode_predictions(
    probs: Any, top: int = 5, labels: Sequence[str] | None = None
) -> list[list[Prediction]]:
    """The likeliest classes of every image, the likeliest first.

    Args:
        probs: (images, classes), a model's probabilities.
        top: classes per image.
        labels: a name per class, e.g. `preprocess_for(model).settings.labels`; ImageNet-1k's by
            default.

    Raises:
        ValueError: if there is no name for some class.
    """
    probs = np.asarray(probs)
    if probs.ndim != 2:
        raise ValueError(
            f"`probs` must have the shape (images, classes). Received: shape {probs.shape}"
        )
    named = [(str(i), name) for i, name in enumerate(labels)] if labels else class_names()
    if probs.shape[1] != len(named):
        hint = "" if labels else " Give the names of other classes as `labels`."
        raise ValueError(
            f"`probs` must have one column for each of the {len(named)} classes.{hint} "
            f"Received: shape {probs.shape}"
        )
    if not 1 <= top <= len(named):
        raise ValueError(f"`top` must be from 1 to {len(named)}. Received: top={top}")
    order = np.argsort(-probs, axis=1, kind="stable")[:, :top]
    return [
        [Prediction(named[index][0], named[index][1], float(row[index])) for index in indices]
        for row, indices in zip(probs, order, strict=True)
    ]
