"""Batches for `fit` and `predict` on any backend, augmented in numpy, one draw per image."""

from __future__ import annotations

import math
import os
from typing import Any

import keras
import numpy as np

from keras_vitcnn.data.datasets import Split
from keras_vitcnn.data.images import LazyImages


def augment(
    images: np.ndarray, rng: np.random.Generator, *, flip: bool, translate: float
) -> np.ndarray:
    """Shift each image by up to `translate` of its side, edges reflected, and mirror half of them.

    Both are one gather of pixels. `images`: (b, s, s, c); 4 pixels of 32 are `translate=0.125`.
    """
    count, size = images.shape[:2]
    reach = min(round(translate * size), size - 1)
    reflected = np.pad(np.arange(size), reach, mode="reflect")
    shifts = rng.integers(0, 2 * reach + 1, (2, count, 1))
    rows, columns = reflected[shifts + np.arange(size)]  # (b, s) each
    if flip:
        mirrored = rng.random(count) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    row_starts = (np.arange(count)[:, None] * size + rows) * size
    pixels = (row_starts[:, :, None] + columns[:, None, :]).ravel()
    return images.reshape(-1, images.shape[-1]).take(pixels, axis=0).reshape(images.shape)


class TrainBatches(keras.utils.PyDataset):
    """Full batches of `(images, one-hot labels)` from step `start` to step `stop` of a training.

    Step i is the same on every backend and in every process: its images come from a permutation
    seeded by (seed, epoch), and its augmentation is seeded by (seed, step). What is left over at
    the end of an epoch is dropped.
    """

    def __init__(
        self,
        split: Split,
        *,
        classes: int,
        batch_size: int,
        start: int,
        stop: int,
        seed: int = 0,
        flip: bool = False,
        translate: float = 0.0,
    ) -> None:
        super().__init__(workers=_workers(split), max_queue_size=8)
        if batch_size > len(split):
            raise ValueError(
                f"`batch_size` must be at most the number of training images, {len(split)}. "
                f"Received: batch_size={batch_size}"
            )
        self.split = split
        self.one_hot = np.eye(classes, dtype="float32")
        self.batch_size = batch_size
        self.start = start
        self.stop = stop
        self.seed = seed
        self.flip = flip
        self.translate = translate
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        step = self.start + index
        epoch, position = divmod(step, steps_per_epoch(len(self.split), self.batch_size))
        chosen = self._epoch_order(epoch)[position * self.batch_size :][: self.batch_size]
        rng = np.random.default_rng((self.seed, 1, step))
        images = augment(self.split.images[chosen], rng, flip=self.flip, translate=self.translate)
        return in_data_format(images), self.one_hot[self.split.labels[chosen]]

    def _epoch_order(self, epoch: int) -> np.ndarray:
        known, order = self._order  # one attribute, so that threads never see half of a change
        if known != epoch:
            order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.split))
            self._order = epoch, order
        return order


class EvalBatches(keras.utils.PyDataset):
    """All images of a split in order, for `predict`.

    The last batch is filled up with its last image, so that every batch has the shape that was
    compiled: cut the predictions to `len(split)`.
    """

    def __init__(self, split: Split, batch_size: int) -> None:
        super().__init__(workers=_workers(split), max_queue_size=8)
        self.split = split
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any]:
        rows = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        return (in_data_format(self.split.images[rows.clip(max=len(self.split) - 1)]),)


def feed(batches: keras.utils.PyDataset) -> Any:
    """The form of `batches` that this backend's `fit(..., shuffle=False)` and `predict` read best.

    TensorFlow gets a `tf.data.Dataset` that asks for batches by number. Keras itself would go
    through `Dataset.from_generator`, which makes the C library hand every freed block back to the
    system: training a narrow ResNet18 on two CPU cores was measured to take twice as long.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    like = [np.asarray(array) for array in batches[0]]

    def read(index: Any) -> tuple[Any, ...]:
        arrays = tf.numpy_function(lambda i: batches[int(i)], [index], [a.dtype for a in like])
        return tuple(tf.ensure_shape(x, a.shape) for x, a in zip(arrays, like, strict=True))

    dataset = tf.data.Dataset.range(len(batches))
    return dataset.map(read, num_parallel_calls=batches.workers, deterministic=True).prefetch(2)


def steps_per_epoch(images: int, batch_size: int) -> int:
    return images // batch_size


def in_data_format(images: np.ndarray) -> np.ndarray:
    """(b, h, w, c) as `keras.config.image_data_format()` has it."""
    if keras.config.image_data_format() == "channels_first":
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images


def _workers(split: Split) -> int:
    """Decoding is worth threads; from memory one thread is ahead of any model."""
    return min(4, os.cpu_count() or 1) if isinstance(split.images, LazyImages) else 1
