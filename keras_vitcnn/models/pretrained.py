"""The place where `build` gets trained weights from; `keras_vitcnn.weights` fills it.

Reading checkpoints lies above the models, so that building one needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_vitcnn.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Wanted:
    """What the argument `weights` of a constructor asks for."""

    source: str | Path | None
    variant: str | None = None  # the constructor's name: tags are those of a variant


class Checkpoint(Protocol):
    """Weights that were found, verified and fetched, but not yet loaded."""

    @property
    def preprocessing(self) -> Preprocessing | None: ...

    def load_into(self, model: keras.Model) -> Any: ...


_openers: list[Callable[[Wanted], Checkpoint]] = []


def opens_checkpoints(function: Callable[[Wanted], Checkpoint]) -> None:
    """Register the function that turns what is wanted into a checkpoint."""
    _openers[:] = [function]


def open_checkpoint(wanted: Wanted) -> Checkpoint:
    """Find and fetch weights; raises what the registered function raises."""
    return _openers[0](wanted)
