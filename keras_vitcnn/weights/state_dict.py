"""Loading timm's tensors into a model, exactly, all or nothing, and giving them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.weights.fit import Fit, fit, recomputed
from keras_vitcnn.weights.layouts import to_timm_layout
from keras_vitcnn.weights.names import (
    CLASSIFIERS,
    COMPUTED,
    layer_of,
    names_on_top,
    stored_as_convolution,
    timm_names,
    to_torch,
)
from keras_vitcnn.weights.tensors import Tensor


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of a checkpoint's tensors, by timm's names."""

    loaded: tuple[str, ...]
    adapted: dict[str, str] = field(default_factory=dict)  # name -> what was changed on the way
    random: tuple[str, ...] = ()  # left as they were: the head of other classes, what was allowed
    unused: tuple[str, ...] = ()  # of the checkpoint: the head of a model built without one

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [f"{name} {change}" for name, change in self.adapted.items()]
        if self.random:
            parts.append(f"left random: {', '.join(self.random)}")
        if self.unused:
            parts.append(f"not used: {', '.join(self.unused)}")
        return "; ".join(parts)


def load_tensors(
    model: keras.Model, tensors: dict[str, Tensor], *, strict: bool = True, headless: bool = False
) -> LoadReport:
    """Assign a checkpoint's tensors, once every one of them is known to fit and to be sound.

    Args:
        tensors: by timm's names or those of a layout that `layouts` knows.
        strict: whether missing, unexpected and misshapen tensors are an error.
        headless: whether the checkpoint is known to have no classifier.

    Raises:
        ValueError: for tensors that don't fit or hold NaN or infinity, named.
    """
    names = timm_names(model)
    tensors = to_timm_layout(tensors, names)
    tensors = {name: t for name, t in tensors.items() if not COMPUTED.fullmatch(name)}
    plan = _planned(model, names, tensors, headless)
    if strict:
        _refuse_misfits(model, names, tensors, plan)
    unsound = [name for name in plan.fits if not _is_sound(tensors[name].read())]
    if unsound:
        raise ValueError(
            f"The checkpoint is damaged, and nothing was loaded: {_listed('non-finite', unsound)}."
        )
    for name, way in plan.fits.items():
        names[name].assign(way.convert(tensors[name].read()))
    adapted = {name: way.change for name, way in plan.fits.items() if way.change}
    return LoadReport(
        loaded=tuple(plan.fits),
        adapted=adapted | (recomputed(model) if "pos_embed" in adapted else {}),
        random=tuple(name for name in names if name not in plan.fits),
        unused=tuple(plan.unused + plan.unexpected),
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to become of every tensor, by timm's names."""

    fits: dict[str, Fit]
    missing: list[str]
    misshapen: list[str]
    unexpected: list[str]
    unused: list[str]


def _planned(
    model: keras.Model,
    names: dict[str, keras.Variable],
    tensors: dict[str, Tensor],
    headless: bool,
) -> _Plan:
    classifier = [name for name, v in names.items() if layer_of(v) in CLASSIFIERS]
    stem = next((name for name, v in names.items() if v.name == "kernel"), None)
    found = {name: tensors[name] for name in names if name in tensors}
    ways = {n: fit(model, n, names[n], t.shape, is_stem=n == stem) for n, t in found.items()}
    fits = {name: way for name, way in ways.items() if way is not None}
    missing = [name for name in names if name not in tensors]
    if headless and not found.keys() & classifier:
        missing = [name for name in missing if name not in classifier]
    if _of_other_classes(classifier, names, found):
        fits = {name: way for name, way in fits.items() if name not in classifier}
        ways = {name: way for name, way in ways.items() if name not in classifier}
    top = names_on_top(model) - names.keys()
    others = [name for name in tensors if name not in names]
    return _Plan(
        fits=fits,
        missing=missing,
        misshapen=[name for name in ways if name not in fits],
        unexpected=[name for name in others if name not in top],
        unused=[name for name in others if name in top],
    )


def _refuse_misfits(
    model: keras.Model,
    names: dict[str, keras.Variable],
    tensors: dict[str, Tensor],
    plan: _Plan,
) -> None:
    shapes = [
        f"{name} {tensors[name].shape} for {_timm_shape(model, name, names[name])}"
        for name in plan.misshapen
    ]
    wrong = {"missing": plan.missing, "unexpected": plan.unexpected, "misshapen": shapes}
    lists = "; ".join(_listed(what, found) for what, found in wrong.items() if found)
    if lists:
        raise ValueError(
            f"The checkpoint does not fit {model.name!r}, and nothing was loaded: {lists}."
        )


def load_own_file(model: keras.Model, path: Path) -> LoadReport:
    """Load a `.weights.h5` file; a classifier of other classes is left random.

    Raises:
        ValueError: if the file does not fit or is damaged; the model is then as it was.
    """
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.weights]
    heads = [layer for layer in model.layers if layer.name in CLASSIFIERS]
    skipped: list[str] = []
    for layer in heads:
        layer.load_own_variables = _unless_of_other_classes(layer, skipped)
    try:
        model.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds
        for variable, value in zip(model.weights, before, strict=True):
            variable.assign(value)
        raise ValueError(
            f"{path.name!r} does not fit {model.name!r}, or is damaged; nothing was loaded: "
            f"{' '.join(str(error).split())} Received: {str(path)!r}"
        ) from error
    finally:
        for layer in heads:
            del layer.load_own_variables
    paths = [variable.path for variable in model.weights]
    random = tuple(path for path in paths if path in skipped)
    return LoadReport(loaded=tuple(path for path in paths if path not in random), random=random)


def to_timm(model: keras.Model) -> dict[str, np.ndarray]:
    """A model's weights under timm's names and in PyTorch's layout, the inverse of `load_weights`.

    Raises:
        ValueError: for a model that timm does not have.
    """
    state = {}
    for name, variable in timm_names(model).items():
        value = keras.ops.convert_to_numpy(variable)
        state[name] = to_torch(value, stored_as_convolution(name, value.shape, model))
    return state


def _of_other_classes(
    classifier: list[str], names: Mapping[str, keras.Variable], found: Mapping[str, Tensor]
) -> bool:
    """Whether the checkpoint's classifier is whole, and differs in its number of classes alone."""
    if not classifier or any(name not in found for name in classifier):
        return False
    counts = {found[name].shape[:1] for name in classifier}
    ours = {names[name].shape[-1:] for name in classifier}
    inputs = [
        (int(np.prod(found[name].shape[1:])), int(np.prod(names[name].shape[:-1])))
        for name in classifier
    ]
    return len(counts) == 1 and counts != ours and all(a == b for a, b in inputs)


def _unless_of_other_classes(
    layer: keras.layers.Layer, skipped: list[str]
) -> Callable[[Any], None]:
    """The layer's own `load_own_variables`, which skips weights of another number of classes."""
    load = layer.load_own_variables

    def load_own_variables(store: Any) -> None:  # Keras numbers the variables
        stored = [store[str(i)].shape for i in range(len(store.keys()))]
        shapes = [variable.shape for variable in layer.weights]
        same_inputs = [tuple(s[:-1]) for s in stored] == [tuple(s[:-1]) for s in shapes]
        if same_inputs and [s[-1] for s in stored] != [s[-1] for s in shapes]:
            skipped.extend(variable.path for variable in layer.weights)
        else:
            load(store)

    return load_own_variables


def _is_sound(tensor: np.ndarray) -> bool:
    # A sum is finite unless an entry isn't, or it overflows: then every entry is looked at.
    if not np.issubdtype(tensor.dtype, np.floating):
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(tensor.sum(dtype=tensor.dtype)) or np.isfinite(tensor).all())


def _timm_shape(model: keras.Model, name: str, variable: keras.Variable) -> tuple[int, ...]:
    shape = tuple(variable.shape)
    empty = np.broadcast_to(np.float32(0), shape)
    return to_torch(empty, stored_as_convolution(name, shape, model)).shape


def _listed(what: str, names: list[str], most: int = 5) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what} tensors ({', '.join(names[:most])}{more})"
