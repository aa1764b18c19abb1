"""The whole state of a training in one file: what it was, and the one before it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.files import replacing_stream
from keras_vitcnn.training.records import Record
from keras_vitcnn.training.variables import value_of

KEPT = 2
PATTERN = "step_*.npz"
NOTES = "notes"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights, statistics and random seeds of a model, its optimizer's state, and notes."""

    path: Path
    notes: Record  # the step above all, from which data and schedule go on
    values: dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints of a folder, the last two of which are kept.

    A file appears whole or not at all. Each of its arrays has a checksum, so that a damaged file
    is noticed, and the one before it taken instead.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, model: keras.Model, notes: Record) -> Path:
        """Write the state of a compiled model after `notes["step"]` steps.

        Raises:
            OSError: if it can't be written; the last good checkpoint stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self.folder.glob(f".{PATTERN}*"):
            unfinished.unlink()
        path = self.folder / f"step_{notes['step']:09d}.npz"
        arrays: dict[str, Any] = {name: value_of(kept) for name, kept in state(model).items()}
        arrays[NOTES] = np.array(json.dumps(notes))
        with replacing_stream(path) as stream:
            np.savez(stream, **arrays)
        for old in self.paths()[:-KEPT]:
            old.unlink()
        return path

    def paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob(PATTERN))

    def last(self) -> tuple[Checkpoint | None, list[str]]:
        """The last one that can be read, and what is wrong with those after it."""
        complaints: list[str] = []
        for path in reversed(self.paths()):
            try:
                return _read(path), complaints
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                complaints.append(f"{path} is damaged ({reason})")
        return None, complaints


def state(model: keras.Model) -> dict[str, keras.Variable]:
    """Every variable that a training changes, random seeds included, by a name of its own."""
    named = {}
    for owner, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
        for number, variable in enumerate(variables):
            named[f"{owner}/{number}/{variable.path}"] = variable
    return named


def restore(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's state into a model that is compiled as it was.

    Raises:
        ValueError: if the model or its optimizer is another one.
    """
    variables = state(model)
    differing = sorted(_places(variables) ^ _places(checkpoint.values))
    if differing:
        raise ValueError(
            "The checkpoint is of another model or optimizer "
            f"(one of the two lacks {differing[0]}). Received: {str(checkpoint.path)!r}"
        )
    for (name, variable), value in zip(variables.items(), checkpoint.values.values(), strict=True):
        if tuple(variable.shape) != value.shape:
            raise ValueError(
                f"The checkpoint's {name} has the shape {value.shape}, the model's "
                f"{tuple(variable.shape)}. Received: {str(checkpoint.path)!r}"
            )
        variable.assign(value)


def _places(names: Any) -> set[str]:
    """Owner, number and last part of the path: Keras numbers the optimizers of a process."""
    return {f"{'/'.join(name.split('/')[:2])}/{name.rsplit('/', 1)[1]}" for name in names}


def _read(path: Path) -> Checkpoint:
    # NumPy itself would leave a damaged file open.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        values = {name: file[name] for name in file.files}  # checks the sums
    notes = json.loads(str(values.pop(NOTES)))
    return Checkpoint(path=path, notes=notes, values=values)
