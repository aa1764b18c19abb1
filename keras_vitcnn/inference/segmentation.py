"""Training and using a segmenter: loss, class weights, mIoU, large images, coloured overlays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_vitcnn")
class PixelCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits (b, h, w, classes) with labels (b, h, w), weighted by class.

    The mean over all pixels of a batch but ignored ones, each counting with the weight of its
    class, as PyTorch's `cross_entropy(weight=..., ignore_index=...)`: 0 where all are ignored.

    Args:
        class_weights: one for each class; all alike unless given.
        ignore_class: the label of pixels that don't count; negative labels never do.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        ignore_class: int | None = None,
        name: str = "pixel_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **({"reduction": "sum"} | kwargs))  # call() takes the mean
        weights = None if class_weights is None else [float(weight) for weight in class_weights]
        if weights is not None and (min(weights) < 0 or not max(weights) > 0):
            raise ValueError(
                "`class_weights` must be non-negative, and one of them positive. "
                f"Received: class_weights={class_weights}"
            )
        self.class_weights = weights
        self.ignore_class = ignore_class

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = ops.cast(y_true, "int32")
        classes = y_pred.shape[-1]
        counted = ops.logical_and(labels >= 0, labels < classes)
        if self.ignore_class is not None:
            counted = ops.logical_and(counted, labels != self.ignore_class)
        one_hot = ops.one_hot(ops.where(counted, labels, -1), classes, dtype="float32")
        if self.class_weights is not None:
            one_hot = one_hot * ops.convert_to_tensor(self.class_weights, "float32")
        losses = -ops.sum(one_hot * ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1))
        return losses / ops.maximum(ops.sum(one_hot), 1e-12)

    def get_config(self) -> dict[str, Any]:
        own = {"class_weights": self.class_weights, "ignore_class": self.ignore_class}
        return super().get_config() | own


def mean_iou(classes: int, ignore_class: int | None = None) -> keras.metrics.MeanIoU:
    """The metric of segmentation, for `compile`: intersection over union, averaged over classes.

    Counted over all pixels of all images at once; a class that neither is there nor is predicted
    does not count.

    Args:
        ignore_class: the label of pixels that don't count.
    """
    return keras.metrics.MeanIoU(
        classes, name="mean_iou", ignore_class=ignore_class, sparse_y_pred=False
    )


def class_weights(labels: Iterable[np.ndarray], classes: int) -> np.ndarray:
    """Median-frequency balancing: (classes,), above 1 for rare classes (arXiv:1411.4734).

    median / frequency, a class's frequency being its share of the pixels of those images that have
    it at all.

    Args:
        labels: masks of integers; those outside 0..classes - 1 don't count.

    Raises:
        ValueError: if a class is in no mask.
    """
    pixels, where = np.zeros(classes), np.zeros(classes)
    for mask in labels:
        counts = np.bincount(mask[(mask >= 0) & (mask < classes)].reshape(-1), minlength=classes)
        pixels += counts
        where += (counts > 0) * counts.sum()
    if not pixels.all():
        raise ValueError(
            f"The masks lack the class {int(np.argmin(pixels))} and need each of them. "
            f"Received: classes={classes}"
        )
    frequency = pixels / where
    return np.median(frequency) / frequency


def sliding_window(
    model: keras.Model, image: np.ndarray, overlap: float = 0.5, batch_size: int = 4
) -> np.ndarray:
    """Class probabilities of an image of any size, from windows of the size that a model takes.

    Where windows overlap, their probabilities are averaged; the last window of a row ends with the
    image. An image smaller than a window is filled up with black.

    Args:
        model: a segmenter.
        image: (h, w, c) as the model takes images.
        overlap: of neighbouring windows, as a share of their side, in [0, 1).

    Returns:
        (h, w, classes), float32.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"`overlap` must be in [0, 1). Received: overlap={overlap}")
    height, width, classes = model.output.shape[1:]
    first = keras.config.image_data_format() == "channels_first"
    image = np.asarray(image)
    image = image.transpose(1, 2, 0) if first else image
    rows, columns = image.shape[:2]
    below, right = max(height - rows, 0), max(width - columns, 0)
    image = np.pad(image, [(0, below), (0, right), (0, 0)])
    corners = [
        (top, left)
        for top in _starts(image.shape[0], height, overlap)
        for left in _starts(image.shape[1], width, overlap)
    ]
    total = np.zeros((*image.shape[:2], classes), "float32")
    count = np.zeros((*image.shape[:2], 1), "float32")
    for start in range(0, len(corners), batch_size):
        part = corners[start : start + batch_size]
        views = np.stack([image[top : top + height, left : left + width] for top, left in part])
        logits = model.predict(views.transpose(0, 3, 1, 2) if first else views, verbose=0)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        for (top, left), power in zip(part, powers, strict=True):
            total[top : top + height, left : left + width] += power / power.sum(-1, keepdims=True)
            count[top : top + height, left : left + width] += 1
    return (total / count)[:rows, :columns]


def palette(classes: int) -> np.ndarray:
    """(classes, 3) colours, uint8: those of PASCAL VOC without its black background."""
    index = np.arange(1, classes + 1)
    colours = np.zeros((classes, 3), "uint8")
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype("uint8")
        index >>= 3
    return colours


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colours: np.ndarray | None = None,
    opacity: float = 0.6,
) -> np.ndarray:
    """An image (h, w, 3) with its labels (h, w) in colours over it, uint8.

    Args:
        colours: (classes, 3); `palette` unless given. Pixels of other labels stay as they are.
        opacity: of the colours, in [0, 1].
    """
    if colours is None:
        colours = palette(max(int(labels.max()) + 1, 1))
    known = (labels >= 0) & (labels < len(colours))
    painted = np.asarray(colours)[np.where(known, labels, 0)]
    mixed = (1 - opacity) * image + opacity * painted
    return np.where(known[..., None], mixed.round(), image).astype("uint8")


def _starts(side: int, window: int, overlap: float) -> list[int]:
    step = max(1, int(window * (1 - overlap)))
    return [*range(0, side - window, step), side - window]
