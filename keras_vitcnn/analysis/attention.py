"""Where a model looks: its attention matrices, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_vitcnn.inference.image_size import token_stride
from keras_vitcnn.layers import (
    GatedPositionalSelfAttention,
    MultiHeadSelfAttention,
    PositionEmbedding,
    WindowAttention,
    WindowUnshift,
)
from keras_vitcnn.layers.gated_attention import relative_offsets


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """The attention of one layer for a batch of images.

    Rows of `weights` sum to one. Global attention: (b, heads, queries, keys), class and
    distillation token first. In windows: (b, windows, heads, queries, keys), windows row by row.
    """

    weights: np.ndarray
    grid: tuple[int, int]  # rows and columns of the positions, without what fills up windows
    pixels: float  # along the side of a position
    window: tuple[int, int] | None = None  # None: all positions see each other
    shift: tuple[int, int] = (0, 0)  # by which windows lie further down and to the right

    @property
    def prefix(self) -> int:
        """Tokens in front of the patches."""
        return 0 if self.window else self.weights.shape[-1] - self.grid[0] * self.grid[1]


def attention_maps(model: keras.Model, images: Any) -> dict[str, AttentionMap]:
    """The attention matrices of every layer of a ViT, DeiT, ConViT, hybrid or Swin.

    Args:
        model: built or loaded; not with `remat=True`, which hides its layers.
        images: a batch as the model takes it.

    Returns:
        Layer's name, such as "block3_attn", -> its `AttentionMap`, first layer first. A matrix of
        196 patches takes 0.15 MB per image and head.

    Raises:
        ValueError: for a model without such layers.
    """
    layers = _layers(model, (MultiHeadSelfAttention, GatedPositionalSelfAttention, WindowAttention))
    grid = next((one.grid for one in model.layers if isinstance(one, PositionEmbedding)), (0, 0))
    sizes = {
        layer.name.removesuffix("unshift"): layer.size
        for layer in model.layers
        if isinstance(layer, WindowUnshift)
    }
    # Queries and keys; ConViT's values, its second input, have no part in the matrix.
    inputs = {layer.name: keras.tree.flatten(layer.input)[0] for layer in layers}
    if any(
        len(x.shape) == 4 and not isinstance(layer, WindowAttention)
        for layer, x in zip(layers, inputs.values(), strict=True)
    ):
        raise ValueError(
            "Attention across the patches of a MobileViT has no map of its own. "
            f"Received: model={model.name!r}"
        )
    values = keras.Model(model.input, inputs).predict(np.asarray(images), verbose=0)
    height = model.inputs[0].shape[2 if _channels_first() else 1]
    found = {}
    for layer in layers:
        weights = keras.ops.convert_to_numpy(
            layer.attention(keras.ops.convert_to_tensor(values[layer.name]))
        )
        if isinstance(layer, WindowAttention):
            size = sizes.get(layer.name.removesuffix("attn"), inputs[layer.name].shape[1:3])
            pixels = 2.0 ** round(np.log2(height / size[0]))
            found[layer.name] = AttentionMap(
                weights=weights, grid=size, pixels=pixels, window=layer.window, shift=layer.shift
            )
        else:
            found[layer.name] = AttentionMap(
                weights=weights, grid=grid, pixels=float(token_stride(model) or 1)
            )
    return found


def rollout(maps: dict[str, AttentionMap]) -> np.ndarray:
    """How much of each image position reaches the output, if attention mixes and skips add.

    Every layer is taken for (A + I) / 2, A its attention averaged over the heads, and the layers
    are multiplied (arXiv:2005.00928, section 3). The output is the class token, or for a Swin the
    mean over the last map; its merging of 2 x 2 positions counts as their mean, and what fills up
    its windows is left out.

    Args:
        maps: of all layers of a model, from `attention_maps`.

    Returns:
        (b, rows, columns) of the first layer's positions; each image sums to at most one (the rest
        stayed with the class token or went to what fills up windows).
    """
    layers = list(maps.values())
    last = layers[-1]
    batch = len(last.weights)
    if last.window:
        flow = np.full((batch, *last.grid), 1 / (last.grid[0] * last.grid[1]))
    else:
        flow = np.zeros((batch, last.weights.shape[-1]))
        flow[:, 0] = 1
    for layer in reversed(layers):
        if layer.window:
            if flow.shape[1:] != layer.grid:
                flow = flow.repeat(2, axis=1).repeat(2, axis=2) / 4
                flow = flow[:, : layer.grid[0], : layer.grid[1]]
            flow = (flow + _through_windows(flow, layer)) / 2
        else:
            flow = flow[:, flow.shape[1] - layer.weights.shape[-1] :]  # a class token that joined
            mean = layer.weights.mean(axis=1, dtype="float64")
            flow = (flow + np.einsum("bq,bqk->bk", flow, mean)) / 2
    if layers[0].window:
        return flow
    return flow[:, layers[0].prefix :].reshape(batch, *layers[0].grid)


def mean_attention_distance(maps: dict[str, AttentionMap]) -> dict[str, np.ndarray]:
    """How far each head looks: pixels between query and key, weighted with the attention.

    Averaged over images and queries (arXiv:2010.11929, figure 7). Tokens in front of the patches
    are left out, and the rest of each row is rescaled to sum to one.

    Args:
        maps: from `attention_maps`.

    Returns:
        Layer's name -> (heads,).
    """
    distances = {}
    for name, layer in maps.items():
        between = layer.pixels * np.sqrt(relative_offsets(layer.window or layer.grid)[..., 2])
        weights = layer.weights[..., layer.prefix :, layer.prefix :].astype("float64")
        weights /= weights.sum(axis=-1, keepdims=True)
        per_query = (weights * between).sum(axis=-1)  # (b, [windows,] heads, queries)
        heads = per_query.ndim - 2
        distances[name] = per_query.mean(axis=tuple(a for a in range(per_query.ndim) if a != heads))
    return distances


def gates(model: keras.Model) -> dict[str, np.ndarray]:
    """The share of position in each head of a ConViT: layer's name -> sigmoid(lambda), (heads,).

    One attends by position alone, zero by content alone (arXiv:2103.10697, figure 6).

    Raises:
        ValueError: for a model without gated positional attention.
    """
    return {
        layer.name: 1 / (1 + np.exp(-keras.ops.convert_to_numpy(layer.gate).astype("float64")))
        for layer in _layers(model, (GatedPositionalSelfAttention,))
    }


def head_locality(model: keras.Model) -> dict[str, np.ndarray]:
    """How far the position branch of each head of a ConViT looks, in patches.

    The mean distance between query and key under the positional softmax alone, which depends on no
    image; at the convolutional start it is about the distance of the head's tap.

    Returns:
        Layer's name -> (heads,).

    Raises:
        ValueError: for a model without gated positional attention.
    """
    locality = {}
    for layer in _layers(model, (GatedPositionalSelfAttention,)):
        weights = keras.ops.convert_to_numpy(layer.position_attention())[0].astype("float64")
        distance = np.sqrt(relative_offsets(layer.grid)[..., 2])
        locality[layer.name] = (weights * distance).sum(axis=-1).mean(axis=-1)
    return locality


def _layers(model: keras.Model, kinds: tuple[type, ...]) -> list[Any]:
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    if not found:
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"`model` must have layers of {names} (build it without remat=True). "
            f"Received: model={model.name!r}"
        )
    return found


def _through_windows(flow: np.ndarray, layer: AttentionMap) -> np.ndarray:
    """flow (b, rows, columns) times the attention of windows that may be shifted and filled up."""
    rows, columns = layer.window or layer.grid
    height, width = layer.grid
    full = -(-height // rows) * rows, -(-width // columns) * columns
    rolled = np.roll(flow, (-layer.shift[0], -layer.shift[1]), axis=(1, 2))
    padded = np.zeros((len(flow), *full))
    padded[:, :height, :width] = rolled
    windows = padded.reshape(-1, full[0] // rows, rows, full[1] // columns, columns)
    windows = windows.transpose(0, 1, 3, 2, 4).reshape(len(flow), -1, rows * columns)
    mean = layer.weights.mean(axis=2, dtype="float64")
    out = np.einsum("bwq,bwqk->bwk", windows, mean)
    out = out.reshape(-1, full[0] // rows, full[1] // columns, rows, columns)
    out = out.transpose(0, 1, 3, 2, 4).reshape(-1, *full)[:, :height, :width]
    return np.roll(out, layer.shift, axis=(1, 2))


def _channels_first() -> bool:
    return keras.config.image_data_format() == "channels_first"
