"""How one tensor of a checkpoint becomes one variable, as it is or adapted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import keras
import numpy as np

from keras_vitcnn.layers import (
    GatedPositionalSelfAttention,
    PatchEmbedding,
    PositionEmbedding,
    Remat,
    WindowAttention,
)
from keras_vitcnn.ops import resize_patch_kernel
from keras_vitcnn.weights.names import layer_of, to_ours


@dataclass(frozen=True)
class Fit:
    """A way from a tensor to a variable's value, and what it changes ("" for nothing)."""

    convert: Callable[[np.ndarray], np.ndarray]
    change: str = ""


def fit(
    model: keras.Model, name: str, variable: Any, shape: tuple[int, ...], is_stem: bool
) -> Fit | None:
    """How a tensor of `shape`, in PyTorch's layout, fits a variable; `None` if it can't.

    Position embeddings are resized, a stem's kernel that cuts patches too, and its input channels
    are summed or repeated, all as timm does.

    Args:
        name: timm's, of the variable.
        is_stem: whether the variable is the kernel that sees the image.
    """
    target = tuple(variable.shape)
    if name == "patch_embed.proj.weight" and len(shape) == 2 and len(target) == 4:
        # The projection of patches as a linear layer, before it became a convolution.
        channels = target[2] if shape[1] == prod(target[:3]) else 3
        side = int((shape[1] // channels) ** 0.5)
        unflat = (shape[0], channels, side, side)
        same = prod(unflat) == prod(shape)
        inner = fit(model, name, variable, unflat, is_stem) if same else None
        return inner and Fit(lambda x: inner.convert(x.reshape(unflat)), inner.change)
    # The layout's rule is tried on an array that has a shape and no memory.
    arrived = to_ours(np.broadcast_to(np.float32(0), shape), target).shape
    if arrived == target:
        return Fit(lambda x: to_ours(x, target))
    if name == "pos_embed" and len(shape) == 3 and shape[2] == target[2]:
        return _position_embedding(model, shape)
    if name.endswith("relative_position_bias_table") and len(shape) == 2:
        return _window_table(model, variable, arrived, target)
    if is_stem and len(shape) == 4 and arrived[3] == target[3]:
        return _stem(model, variable, arrived, target)
    return None


def recomputed(model: keras.Model) -> dict[str, str]:
    """What a model computes anew for a grid other than the checkpoint's, by timm's names."""
    layers = [x for x in model.layers if isinstance(x, GatedPositionalSelfAttention)]
    names = [layer.name.removeprefix("block").removesuffix("_attn") for layer in layers]
    return {
        f"blocks.{name}.attn.rel_indices": f"recomputed for {layer.grid[0]} x {layer.grid[1]}"
        for name, layer in zip(names, layers, strict=True)
    }


def _position_embedding(model: keras.Model, shape: tuple[int, ...]) -> Fit | None:
    layer = model.get_layer("pos_embed")
    assert isinstance(layer, PositionEmbedding)
    tokens = shape[1] - layer.prefix_tokens
    side = int(max(tokens, 0) ** 0.5)
    if not tokens or side * side != tokens:  # a grid that isn't square has no known sides
        return None
    rows, columns = layer.grid
    return Fit(
        lambda x: layer.resized(x, (side, side)),
        f"resized from {side} x {side} to {rows} x {columns} tokens",
    )


def _window_table(
    model: keras.Model, variable: Any, arrived: tuple[int, ...], target: tuple[int, ...]
) -> Fit | None:
    layer = next(x for x in _layers(model) if x.weights and x.weights[0] is variable)
    assert isinstance(layer, WindowAttention)
    offsets = int(arrived[1] ** 0.5)  # from -(side - 1) to side - 1, in both directions
    if offsets**2 != arrived[1] or offsets % 2 == 0 or arrived[2:] != target[2:]:
        return None
    side = (offsets + 1) // 2
    return Fit(
        lambda x: layer.resized(to_ours(x, target), (side, side)),
        f"resized from windows of {side} x {side} to {layer.window[0]} x {layer.window[1]}",
    )


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """A model's layers, with those of recomputed blocks."""
    for layer in model.layers:
        if isinstance(layer, Remat):
            yield from _layers(layer.layer)
        else:
            yield layer


def _stem(
    model: keras.Model, variable: Any, arrived: tuple[int, ...], target: tuple[int, ...]
) -> Fit | None:
    changes = []
    if arrived[:2] != target[:2]:
        if not _cuts_patches(model.get_layer(layer_of(variable))):
            return None
        changes.append(f"resized from {_size(arrived)} to {_size(target)} pixels")
    if arrived[2] != target[2]:
        how = "summed" if target[2] == 1 else "repeated and rescaled"
        changes.append(f"{how} from {arrived[2]} to {target[2]} input channels")

    def convert(x: np.ndarray) -> np.ndarray:
        kernel = to_ours(x, target)
        if kernel.shape[:2] != target[:2]:
            kernel = resize_patch_kernel(kernel, (target[0], target[1]))
        return with_channels(kernel, target[2])

    return Fit(convert, ", ".join(changes))


def with_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel (h, w, c, filters) for another number of input channels.

    One channel gets the sum, so that a grey image gives what its three equal colours gave; more get
    the channels in turn, scaled so that equal ones give the same sum.
    """
    before = kernel.shape[2]
    if channels == before:
        return kernel
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeated = np.tile(kernel, (1, 1, ceil(channels / before), 1))[:, :, :channels]
    return repeated * np.float32(before / channels)


def _cuts_patches(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, PatchEmbedding):
        return True
    return isinstance(layer, keras.layers.Conv2D) and layer.strides == layer.kernel_size


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"
