"""What moves a model's output: Grad-CAM, the effective receptive field, shifts of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_vitcnn.analysis.gradients import input_gradient
from keras_vitcnn.inference.features import own_levels
from keras_vitcnn.layers import PositionEmbedding

DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def grad_cam(
    model: keras.Model, images: Any, classes: int | Sequence[int] | None = None
) -> np.ndarray:
    """Where the evidence for a class lies: the last map, weighted by how its channels move a logit.

    relu(sum over channels of map * mean gradient), arXiv:1610.02391, equations 1 and 2. The map is
    that of the last stage; of a model with a class token, the patches that enter the last block,
    since what leaves it does not reach the class any more.

    Args:
        model: any family, with its top.
        images: a batch as the model takes it.
        classes: one for all images or one for each; the likeliest of each unless given.

    Returns:
        (b, rows, columns), not scaled: zero where nothing speaks for the class.

    Raises:
        ValueError: for a model without a classifier, or a class that it lacks.
    """
    logits = _logits(model)
    where, crop = _explained(model)
    images = np.asarray(images)
    maps = keras.Model(model.input, where).predict(images, verbose=0)
    rest = keras.Model(where, logits)
    if classes is None:
        wanted = rest.predict(maps, verbose=0).argmax(axis=-1)
    else:
        wanted = np.broadcast_to(np.asarray(classes), (len(images),))
    count = logits.shape[-1]
    if wanted.dtype.kind not in "iu" or wanted.min() < 0 or wanted.max() >= count:
        raise ValueError(
            f"`classes` must be integers from 0 to {count - 1}. Received: classes={classes!r}"
        )
    chosen = np.eye(count, dtype="float32")[wanted]
    _, gradient = input_gradient(rest, lambda y: y * keras.ops.convert_to_tensor(chosen), maps)
    maps, gradient = crop(np.asarray(maps, "float32")), crop(gradient)
    weights = gradient.mean(axis=(1, 2), keepdims=True)
    return np.maximum((weights * maps).sum(axis=-1), 0)


def effective_receptive_field(model: keras.Model, images: Any) -> np.ndarray:
    """Which pixels move the centre of the last map, and how much.

    |d(sum of the centre's channels) / d(pixel)|, averaged over images and colours and divided by
    its largest value (arXiv:1701.04128).

    Args:
        model: any family, with or without its top.
        images: a batch as the model takes it; some dozens make a smooth picture.

    Returns:
        (h, w) in [0, 1].
    """
    levels = own_levels(model)
    last = levels[max(levels)]
    rows, columns = last.shape[1], last.shape[2]
    if rows is None or columns is None:
        raise ValueError(
            "The model must have a fixed image size; see `inference.at_image_size`. "
            f"Received: model={model.name!r}"
        )

    def centre(maps: Any) -> Any:
        return maps[:, rows // 2, columns // 2]

    trunk = keras.Model(model.input, last)
    _, gradient = input_gradient(trunk, centre, np.asarray(images))
    if keras.config.image_data_format() == "channels_first":
        gradient = gradient.transpose(0, 2, 3, 1)
    field = np.abs(gradient).mean(axis=(0, 3))
    return field / field.max()


@dataclass(frozen=True, eq=False)
class ShiftConsistency:
    """What a shift of the image changes; columns are `directions`."""

    distance: np.ndarray  # (b, 4): half the sum of |p - p'| over classes, 0 to 1
    agreement: np.ndarray  # (b, 4): whether the likeliest class stayed the same
    directions: tuple[str, ...] = tuple(DIRECTIONS)


def shift_consistency(model: keras.Model, images: Any, pixels: int = 1) -> ShiftConsistency:
    """How much shifting an image by some pixels moves the class probabilities.

    What comes in at the border repeats the outermost row or column.

    Args:
        model: a classifier with one output, of probabilities or logits.
        images: a batch as the model takes it.
        pixels: of the shift, up, down, to the left and to the right.

    Source: arXiv:1904.11486, section 4.2, which compares likeliest classes.
    """
    if not isinstance(pixels, int) or pixels < 1:
        raise ValueError(f"`pixels` must be a positive integer. Received: pixels={pixels!r}")
    logits = keras.Model(model.input, _logits(model))
    images = np.asarray(images)
    first = keras.config.image_data_format() == "channels_first"
    border = [(0, 0)] * (2 if first else 1) + [(pixels, pixels)] * 2 + [(0, 0)] * (not first)
    padded = np.pad(images, border, mode="edge")
    height, width = images.shape[2:] if first else images.shape[1:3]

    def shifted(down: int, right: int) -> np.ndarray:
        rows = slice(pixels * (1 - down), pixels * (1 - down) + height)
        columns = slice(pixels * (1 - right), pixels * (1 - right) + width)
        view = padded[:, :, rows, columns] if first else padded[:, rows, columns]
        return _softmax(logits.predict(view, verbose=0).astype("float64"))

    before = shifted(0, 0)
    after = np.stack([shifted(*direction) for direction in DIRECTIONS.values()], axis=1)
    return ShiftConsistency(
        distance=np.abs(after - before[:, None]).sum(axis=-1) / 2,
        agreement=after.argmax(axis=-1) == before.argmax(axis=-1)[:, None],
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _logits(model: keras.Model) -> Any:
    """What goes into the classifier's activation."""
    for name in ("head_mean", "head"):
        if any(layer.name == name for layer in model.layers):
            return model.get_layer(name).output
    raise ValueError(
        "`model` must have a classifier: build it with include_top=True. "
        f"Received: model={model.name!r}"
    )


def _explained(model: keras.Model) -> tuple[Any, Any]:
    """The tensor through which everything flows to the logits, and how to see it as a map."""
    embedding = next((one for one in model.layers if isinstance(one, PositionEmbedding)), None)
    if embedding is None:
        levels = own_levels(model)
        return levels[max(levels)], lambda values: values
    rows, columns = embedding.grid
    names = [one.name for one in model.layers if one.name.endswith("_norm1")]
    if not names:
        raise ValueError(
            "`model` must show its blocks: build it without remat=True. "
            f"Received: model={model.name!r}"
        )
    tokens = model.get_layer(names[-1]).input

    def patches(values: np.ndarray) -> np.ndarray:
        return values[:, -rows * columns :].reshape(len(values), rows, columns, -1)

    return tokens, patches
