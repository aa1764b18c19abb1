"""Which norms of a model fold into which of its convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_vitcnn.inference import fuse_algebra as algebra
from keras_vitcnn.inference.fuse_algebra import Folding
from keras_vitcnn.inference.fuse_graph import Graph
from keras_vitcnn.layers import ChannelAffine, Padding2D, Remat, StandardizedConv2D


@dataclass
class Fold:
    """What becomes of one convolution."""

    numbers: Folding
    zeros: int | None = None  # that a layer puts between it and a norm in front, if there is one
    border: bool = False  # whether such a norm's shift is cut by zeros, those or its own


@dataclass
class Plan:
    """What folds into what in one model, and in the models inside it."""

    model: keras.Model
    folds: dict[str, Fold] = field(default_factory=dict)
    dropped: dict[str, list[str]] = field(default_factory=dict)  # norm -> convolutions behind it
    kept: list[str] = field(default_factory=list)
    standardized: list[str] = field(default_factory=list)
    nested: dict[str, Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Of a subclass this is the plain graph, whatever its constructor and config are.
        model = self.model = _plain(self.model)
        self._layers = {layer.name: layer for layer in model.layers}
        self._graph = Graph(model)
        for name, layer in self._layers.items():
            inner = layer.layer if isinstance(layer, Remat) else layer
            if is_functional(inner):
                self.nested[name] = Plan(inner)
            elif type(layer) is StandardizedConv2D and algebra.foldable(layer):
                self.standardized.append(name)
                self.folds[name] = Fold(Folding.of(layer))
        norms = [
            (name, affine)
            for name in self._graph.sources  # from the inputs on
            if (affine := algebra.affine(self._layers.get(name))) is not None
        ]
        norms = [norm for norm in norms if not self._fold_behind(*norm)]
        for norm in reversed(norms):
            self._fold_in_front(*norm)
        self.kept = [
            name
            for name in self._graph.sources
            if isinstance(self._layers.get(name), keras.layers.BatchNormalization | ChannelAffine)
        ]

    @property
    def changes(self) -> bool:
        return bool(self.folds) or any(plan.changes for plan in self.nested.values())

    def names(self, what: str) -> Iterator[str]:
        """The entries of one of its fields, of all plans."""
        yield from getattr(self, what)
        for name, plan in self.nested.items():
            for entry in plan.names(what):
                yield f"{name}/{entry}"

    def _fold(self, name: str) -> Fold:
        return self.folds.setdefault(name, Fold(Folding.of(self._layers[name])))

    def _takes(self, name: str, norm: str) -> bool:
        """Whether a layer is a convolution over whose channels the norm is one."""
        layer: Any = self._layers.get(name)
        if not algebra.foldable(layer) or not self._graph.is_simple(name):
            return False
        rank = len(layer.output.shape)
        axis = getattr(self._layers[norm], "axis", -1)
        return axis % rank == algebra.channel_axis(layer, rank)

    def _fold_behind(self, norm: str, affine: tuple[np.ndarray, np.ndarray]) -> bool:
        """Fold a norm into the convolution that feeds it alone."""
        if not self._graph.is_simple(norm):
            return False
        (source,) = self._graph.sources[norm]
        alone = self._graph.consumers[source] == [norm]
        if not alone or not self._takes(source, norm) or algebra.activated(self._layers[source]):
            return False
        fold = self._fold(source)
        fold.numbers = fold.numbers.behind(*affine)
        self._drop(norm, [])
        return True

    def _fold_in_front(self, norm: str, affine: tuple[np.ndarray, np.ndarray]) -> None:
        """Fold a norm into all the convolutions that it feeds, or into none."""
        if not self._graph.is_simple(norm):
            return
        targets = [self._target(name, norm) for name in self._graph.consumers[norm]]
        found = [target for target in targets if target is not None]
        if len(found) < max(1, len(targets)):
            return
        for name, zeros, border in found:
            fold = self._fold(name)
            fold.zeros, fold.border = zeros, border
            fold.numbers = fold.numbers.in_front(*affine)
        self._drop(norm, [name for name, *_ in found])

    def _target(self, name: str, norm: str) -> tuple[str, int, bool] | None:
        """The convolution that `name` is or pads for, as (name, zeros in front, has a border)."""
        zeros = 0
        layer: Any = self._layers.get(name)
        if type(layer) is Padding2D and not layer.lowest and self._graph.is_simple(name):
            zeros, consumers = layer.size, self._graph.consumers[name]
            if len(consumers) != 1:
                return None
            name, layer = consumers[0], self._layers.get(consumers[0])
        if not self._takes(name, norm):
            return None
        already = self.folds[name].zeros if name in self.folds else None
        if already not in (None, zeros):  # another norm, on the other side of the zeros
            return None
        border = zeros > 0 or algebra.padded(layer)
        # It is added behind the convolution, channels last.
        addable = not algebra.activated(layer) and algebra.channel_axis(layer, 4) == 3
        return (name, zeros, border) if addable or not border else None

    def _drop(self, norm: str, targets: list[str]) -> None:
        self.dropped[norm] = targets
        self._graph.remove(norm)


def is_functional(model: Any) -> bool:
    """Whether this is a model whose graph is known: functional, or `Sequential` and built."""
    return isinstance(model, keras.Model) and bool(getattr(model, "inputs", None))


def _plain(model: keras.Model) -> keras.Model:
    """A view of the same layers that is functional and nothing else."""
    if isinstance(model, keras.Sequential):  # which has no `input` before its first call
        inputs, outputs = model.inputs[0], model.outputs[0]
    else:
        inputs, outputs = model.input, model.output
    return keras.Model(inputs, outputs, name=model.name)
