"""Training hyper-parameters as data: what the papers did, in their own numbers."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from keras_vitcnn.data.augmentation import Augmentation

TABLE = Path(__file__).with_suffix(".json")

CHOICES = {
    "optimizer": ("adamw", "sgd", "lamb"),
    "schedule": ("cosine", "steps"),
    "loss": ("cross entropy", "binary"),
    "decayed": ("kernels", "all but norms", "all"),
    "distillation": ("", "hard", "soft"),
}
FRACTIONS = ("warmup", "warmup_start", "final_rate", "label_smoothing", "distillation_weight")
BELOW_ONE = ("momentum", "beta_2", "drop_path_rate", "ema", "warmup")


@dataclass(frozen=True, kw_only=True)
class Recipe(Augmentation):
    """How to train. Lengths are fractions of the training, so that any budget can be given."""

    name: str
    source: str = ""
    epochs: int = 10  # unless another number, or a time, is given
    batch_size: int = 64  # likewise
    image_size: int | None = None  # pixels, for training; by default the data decide
    optimizer: str = "adamw"  # or "sgd", whose decay is part of the gradient, or "lamb"
    learning_rate: float = 1e-3  # at its peak and at `reference_batch_size`
    reference_batch_size: int | None = 64  # the rate is scaled linearly from it; None: it is not
    weight_decay: float = 0.05
    decayed: str = "kernels"  # or "all but norms", or "all"; see `optimizers.is_decayed`
    momentum: float = 0.9  # sgd's momentum, beta_1 of the others
    nesterov: bool = True  # of sgd
    beta_2: float = 0.999
    epsilon: float = 1e-8
    schedule: str = "cosine"  # or "steps": a tenth after each of `milestones`
    milestones: tuple[float, ...] = ()  # fractions of the training
    warmup: float = 0.0  # fraction of the steps on which the learning rate rises
    warmup_start: float = 0.0  # of the peak, where it rises from
    final_rate: float = 0.0  # of the peak, where the cosine ends
    loss: str = "cross entropy"  # or "binary", a yes or no for every class
    label_smoothing: float = 0.0
    clip_norm: float | None = None  # of all gradients together
    layer_decay: float | None = None  # factor of the learning rate per layer below the head
    ema: float | None = None  # decay of the weights' average, by steps; the average is evaluated
    drop_path_rate: float = 0.0  # of the last block
    distillation: str = ""  # "hard" or "soft", from a teacher
    distillation_weight: float = 0.5  # of the teacher's part of the loss
    temperature: float = 1.0  # of soft distillation

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {list(allowed)}. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        for name in ("learning_rate", "reference_batch_size", "epochs", "batch_size", "image_size"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
        for name in FRACTIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"`{name}` must be in [0, 1]. Received: {name}={getattr(self, name)}"
                )
        for name in BELOW_ONE:
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise ValueError(
                    f"`{name}` must be in [0, 1). Received: {name}={getattr(self, name)}"
                )
        if self.layer_decay is not None and self.clip_norm is not None:
            raise ValueError(
                "`layer_decay` gives every layer an optimizer of its own, none of which knows the "
                f"norm of all gradients: set clip_norm=none. Received: clip_norm={self.clip_norm}"
            )

    def learning_rate_at(self, batch_size: int) -> float:
        """The peak of the learning rate under the linear rule of arXiv:1706.02677."""
        return self.learning_rate * batch_size / (self.reference_batch_size or batch_size)

    def rule(self, batch_size: int) -> str:
        """The linear rule in words, e.g. for a log."""
        peak = f"learning rate {self.learning_rate_at(batch_size):.3g}"
        if self.reference_batch_size is None:
            return f"{peak} at any batch size"
        return (
            f"{peak}, from {self.learning_rate:g} for {self.reference_batch_size} images a step "
            f"scaled to {batch_size}"
        )


def recipes() -> tuple[str, ...]:
    """The names of all recipes."""
    return tuple(_rows())


def recipe(name: str | Recipe, model: str | None = None, **changes: Any) -> Recipe:
    """A recipe by its name, with any of its fields changed.

    Args:
        name: one of `recipes()`, or a recipe to change.
        model: name of a constructor: some papers train their sizes differently, mostly with
            another drop-path rate.
        **changes: fields of `Recipe`.

    Raises:
        ValueError: for an unknown name, with the known ones, and for values out of their range.
    """
    if isinstance(name, Recipe):
        return replace(name, **changes)
    rows = _rows()
    if name not in rows:
        nearest = difflib.get_close_matches(name, rows, n=1)
        hint = f"the nearest is {nearest[0]!r}, " if nearest else ""
        raise ValueError(
            f"Unknown recipe; {hint}the recipes are: {', '.join(rows)}. Received: recipe={name!r}"
        )
    row = dict(rows[name])
    of_models = row.pop("models", {})
    for pattern, values in of_models.items():
        if model is not None and fnmatchcase(model, pattern):
            row |= values
    return replace(_from_papers(name, row), **changes)


def changed(asked: Recipe, settings: Iterable[str]) -> Recipe:
    """A recipe with fields changed as the command line writes it: `["epochs=10", "ema=none"]`.

    Raises:
        ValueError: for anything that is not `field=value`, naming the fields.
    """
    hints = typing.get_type_hints(Recipe)
    changes = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if name not in hints or not separator or name in ("name", "source"):
            known = sorted(set(hints) - {"name", "source"})
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f"the nearest is {nearest[0]!r}; " if nearest else ""
            raise ValueError(
                f"A setting is FIELD=VALUE; {hint}the fields are: {', '.join(known)}. "
                f"Received: set={setting!r}"
            )
        changes[name] = _parsed(text.strip(), hints[name], setting)
    return replace(asked, **changes)


def _parsed(text: str, hint: Any, setting: str) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text.lower() in ("none", "null") and type(None) in kinds:
        return None
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
        if str in kinds:
            return text
        if bool not in kinds:  # fractions, separated by commas
            return tuple(float(part) for part in text.split(","))
    except ValueError:
        pass
    names = " or ".join("none" if kind is type(None) else str(kind.__name__) for kind in kinds)
    raise ValueError(f"The value must be of type {names}. Received: set={setting!r}")


@cache
def _rows() -> dict[str, dict[str, Any]]:
    """The table, with every row whole."""
    rows: dict[str, dict[str, Any]] = {}
    for name, row in json.loads(TABLE.read_text("utf-8")).items():
        rows[name] = {**rows.get(row.pop("like", ""), {}), **row}
    return rows


def _from_papers(name: str, row: dict[str, Any]) -> Recipe:
    """Epochs and learning rates as papers print them -> fractions."""
    row = dict(row)
    epochs = row["epochs"]
    reference = row.get("reference_batch_size") or row["batch_size"]
    peak = row["learning_rate"] * row["batch_size"] / reference
    if "warmup_epochs" in row:
        row["warmup"] = row.pop("warmup_epochs") / epochs
    if "warmup_learning_rate" in row:
        row["warmup_start"] = row.pop("warmup_learning_rate") / peak
    if "min_learning_rate" in row:
        row["final_rate"] = row.pop("min_learning_rate") / peak
    row["milestones"] = tuple(epoch / epochs for epoch in row.get("milestones", ()))
    known = {field.name for field in fields(Recipe)}
    assert set(row) <= known, f"{name}: {set(row) - known}"
    return Recipe(name=name, **row)


RECIPES = {name: recipe(name) for name in recipes()}
