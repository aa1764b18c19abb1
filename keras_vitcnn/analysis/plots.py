"""Pictures of what `analysis` measures: each function returns a matplotlib figure to save.

figure = kv.analysis.plot_rollout(photos, kv.analysis.rollout(maps))
figure.savefig("rollout.png")
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import keras
import numpy as np

from keras_vitcnn.analysis.attention import AttentionMap
from keras_vitcnn.analysis.sensitivity import ShiftConsistency
from keras_vitcnn.extras import require

HEAT = "inferno"
SIDE = 2.2  # inches of a photo


def plot_attention_maps(
    maps: dict[str, AttentionMap], images: Any, layer: str | None = None, query: int = 0
) -> Any:
    """Where one query looks: a row for each image, a column for each head.

    Args:
        maps: from `attention_maps`.
        images: the same batch, values in [0, 255].
        layer: a name in `maps`; the last one unless given.
        query: a token's index, 0 for the class token of a ViT; within its window for a Swin, of
            which all windows are shown at once.
    """
    if layer is not None and layer not in maps:
        raise ValueError(f"`layer` must be one of {list(maps)}. Received: layer={layer!r}")
    name = layer or list(maps)[-1]
    chosen = maps[name]
    weights = chosen.weights[..., query, chosen.prefix :]  # (b, [windows,] heads, keys)
    if chosen.window:
        weights = _joined_windows(weights, chosen)
    else:
        weights = weights.reshape(*weights.shape[:2], *chosen.grid)
    photos = _photos(images)
    figure, axes = _grid(len(photos), 1 + weights.shape[1])
    for row, photo in enumerate(photos):
        axes[row][0].imshow(photo)
        for head, heat in enumerate(weights[row]):
            _overlay(axes[row][head + 1], photo, heat)
            if row == 0:
                axes[row][head + 1].set_title(f"head {head}", fontsize=9)
    figure.suptitle(name, fontsize=10)
    return figure


def plot_rollout(images: Any, flow: np.ndarray, titles: Sequence[str] = ()) -> Any:
    """Photos, and below each where its evidence came from, of `rollout`."""
    return _heatmaps(images, flow, titles)


def plot_grad_cam(images: Any, evidence: np.ndarray, titles: Sequence[str] = ()) -> Any:
    """Photos, and below each what speaks for the class, of `grad_cam`."""
    return _heatmaps(images, evidence, titles)


def plot_effective_receptive_field(field: np.ndarray) -> Any:
    """The field on a logarithmic scale, a thousandth of its peak being black."""
    figure, axes = _grid(1, 1, side=3.6)
    shown = axes[0][0].imshow(np.log10(np.maximum(field, 1e-3)), cmap=HEAT, vmin=-3, vmax=0)
    figure.colorbar(shown, ax=axes[0][0], label="log10(gradient / largest)", shrink=0.85)
    return figure


def plot_mean_attention_distance(distances: dict[str, np.ndarray]) -> Any:
    """A dot for each head over the depth, of `mean_attention_distance`."""
    return _heads(distances, "mean attention distance (pixels)")


def plot_gates(shares: dict[str, np.ndarray]) -> Any:
    """A dot for each head over the depth, of `gates`."""
    return _heads(shares, "share of position, sigmoid(λ)", (0, 1))


def plot_head_locality(locality: dict[str, np.ndarray]) -> Any:
    """A dot for each head over the depth, of `head_locality`."""
    return _heads(locality, "mean distance of the position branch (patches)")


def plot_shift_consistency(results: dict[str, ShiftConsistency]) -> Any:
    """Bars of several models, name -> result: how far probabilities move, how often the class."""
    figure, axes = _grid(1, 2, side=3.4, aspect=0.25 + 0.12 * len(results))
    values = {
        "mean change of the probabilities (%)": lambda result: result.distance.mean(),
        "likeliest class changes (%)": lambda result: 1 - result.agreement.mean(),
    }
    for axis, (label, value) in zip(axes[0], values.items(), strict=True):
        axis.axis("on")
        axis.barh(list(results), [100 * value(result) for result in results.values()])
        axis.invert_yaxis()
        axis.set_xlabel(label)
        axis.set_xlim(0, max(axis.get_xlim()[1], 1))
    axes[0][1].set_yticklabels([])
    return figure


def _heatmaps(images: Any, heats: np.ndarray, titles: Sequence[str]) -> Any:
    photos = _photos(images)
    figure, axes = _grid(2, len(photos))
    for column, (photo, heat) in enumerate(zip(photos, heats, strict=True)):
        axes[0][column].imshow(photo)
        _overlay(axes[1][column], photo, heat)
        if titles:
            axes[0][column].set_title(shorten(titles[column], 28, placeholder=" …"), fontsize=9)
    return figure


def _overlay(axis: Any, photo: np.ndarray, heat: np.ndarray) -> None:
    height, width = photo.shape[:2]
    axis.imshow(photo.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
    low, high = np.quantile(heat, (0.02, 0.98))  # one bright patch would darken all others
    axis.imshow(
        heat,
        cmap=HEAT,
        alpha=0.6,
        interpolation="bilinear",
        extent=(0, width, height, 0),
        vmin=low,
        vmax=high,
    )


def _heads(values: dict[str, np.ndarray], label: str, limits: tuple | None = None) -> Any:
    figure, axes = _grid(1, 1, side=4.6, aspect=0.65)
    axis = axes[0][0]
    axis.axis("on")
    for depth, heads in enumerate(values.values()):
        axis.plot([depth] * len(heads), heads, "o", color="#0072B2", alpha=0.7)
    axis.plot(range(len(values)), [heads.mean() for heads in values.values()], color="#D55E00")
    axis.set_xticks(range(len(values)), [name.removesuffix("_attn") for name in values])
    axis.tick_params(axis="x", labelrotation=60, labelsize=8)
    axis.set_ylabel(label)
    axis.set_ylim(*(limits or (0, None)))
    axis.grid(alpha=0.2)
    return figure


def _joined_windows(weights: np.ndarray, layer: AttentionMap) -> np.ndarray:
    """(b, windows, heads, keys) -> (b, heads, rows, columns) of the map as it lay."""
    rows, columns = layer.window or layer.grid
    down, right = (-(-side // w) for side, w in zip(layer.grid, (rows, columns), strict=True))
    batch, _, heads, _ = weights.shape
    weights = weights.reshape(batch, down, right, heads, rows, columns)
    weights = weights.transpose(0, 3, 1, 4, 2, 5).reshape(batch, heads, down * rows, -1)
    weights = weights[:, :, : layer.grid[0], : layer.grid[1]]
    return np.roll(weights, layer.shift, axis=(2, 3))


def _photos(images: Any) -> np.ndarray:
    photos = np.asarray(images)
    if keras.config.image_data_format() == "channels_first":
        photos = photos.transpose(0, 2, 3, 1)
    return photos.clip(0, 255).astype("uint8")


def _grid(rows: int, columns: int, side: float = SIDE, aspect: float = 1.0) -> Any:
    require("matplotlib", "plot")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side * columns, side * rows * aspect + 0.2), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    return figure, axes
