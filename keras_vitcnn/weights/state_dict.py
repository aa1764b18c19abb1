"""Loading a timm state dict into a model, exactly, and giving it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_vitcnn.layers import PositionEmbedding, Remat, WindowAttention
from keras_vitcnn.weights.names import stored_as_convolution, timm_names, to_ours, to_torch

# Buffers of timm's that are no weights.
DERIVED = ("num_batches_tracked", "rel_indices", "relative_position_index", "attn_mask")


@dataclass(frozen=True)
class LoadReport:
    """What became of a checkpoint's tensors, by timm's names."""

    loaded: tuple[str, ...]
    adapted: tuple[str, ...]  # resized on the way

    def __str__(self) -> str:
        return f"{len(self.loaded)} tensors loaded, of which {len(self.adapted)} adapted"


def load_weights(model: keras.Model, source: Mapping[str, Any]) -> LoadReport:
    """Load a state dict of timm's model of the same architecture.

    Position embeddings of another grid, and relative positions of another window, are resized
    (bicubic, antialiased). Nothing is assigned unless everything fits.

    Args:
        model: of this library.
        source: timm's names -> arrays in PyTorch's layout (buffers that follow from the
            architecture are ignored).

    Returns:
        A report of what was loaded and adapted.

    Raises:
        ValueError: for missing, unexpected or misshapen tensors, named.
    """
    tensors = {
        name: np.asarray(tensor) for name, tensor in source.items() if not name.endswith(DERIVED)
    }
    names = timm_names(model)
    missing = [name for name in names if name not in tensors]
    unexpected = [name for name in tensors if name not in names]
    if missing or unexpected:
        raise ValueError(
            f"The checkpoint does not fit {model.name!r}: {_listed('missing', missing)}, "
            f"{_listed('unexpected', unexpected)}."
        )
    values, adapted, misshapen = {}, [], []
    resizable = {
        id(layer.weights[0]): layer
        for layer in _layers(model)
        if isinstance(layer, PositionEmbedding | WindowAttention)
    }
    for name, variable in names.items():
        value = to_ours(tensors[name], tuple(variable.shape))
        if id(variable) in resizable and value.shape != tuple(variable.shape):
            value = _resized(resizable[id(variable)], value)
            adapted.append(name)
        if value.shape != tuple(variable.shape):
            misshapen.append(f"{name} {tensors[name].shape} for {tuple(variable.shape)}")
        values[name] = value
    if misshapen:
        raise ValueError(f"The checkpoint does not fit {model.name!r}: {'; '.join(misshapen)}.")
    for name, variable in names.items():
        variable.assign(values[name])
    return LoadReport(loaded=tuple(names), adapted=tuple(adapted))


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


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """A model's layers, with those of recomputed blocks."""
    for layer in model.layers:
        if isinstance(layer, Remat):
            yield from _layers(layer.layer)
        else:
            yield layer


def _resized(layer: PositionEmbedding | WindowAttention, learned: np.ndarray) -> np.ndarray:
    """Positions of a square grid or window, resized to the layer's."""
    prefix = layer.prefix_tokens if isinstance(layer, PositionEmbedding) else 0
    side = int((learned.shape[1] - prefix) ** 0.5)
    if side * side != learned.shape[1] - prefix:
        return learned
    if isinstance(layer, WindowAttention):
        side = (side + 1) // 2  # offsets from -(side - 1) to side - 1
    return layer.resized(learned, (side, side))


def _listed(what: str, names: list[str], most: int = 5) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what} tensors" + (f" ({', '.join(names[:most])}{more})" if names else "")
