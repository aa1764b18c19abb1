"""Batches for `fit` and `predict` on any backend, one draw of the augmentation per image."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_vitcnn.data.augmentation import Augmentation
from keras_vitcnn.data.datasets import Split
from keras_vitcnn.data.images import LazyImages
from keras_vitcnn.data.mixing import erase, mix
from keras_vitcnn.system import cores

THREADS = min(16, cores())  # Pillow works outside the interpreter's lock


def augment(
    images: np.ndarray,
    rng: np.random.Generator,
    *,
    flip: bool,
    translate: float,
    rows: np.ndarray | None = None,
    of: int | None = None,
) -> np.ndarray:
    """Shift each image by up to `translate` of its side, edges reflected, and mirror half of them.

    Both are one gather of pixels. `images`: (b, s, s, c); 4 pixels of 32 are `translate=0.125`.
    They may be the `rows` of a batch of `of` images, and then get what they would get in there.
    """
    count, size = of or len(images), images.shape[1]
    rows = np.arange(count) if rows is None else rows
    reach = min(round(translate * size), size - 1)
    reflected = np.pad(np.arange(size), reach, mode="reflect")
    shifts = rng.integers(0, 2 * reach + 1, (2, count, 1))[:, rows]
    lines, columns = reflected[shifts + np.arange(size)]  # (b, s) each
    if flip:
        mirrored = (rng.random(count) < 0.5)[rows]
        columns[mirrored] = columns[mirrored, ::-1]
    starts = (np.arange(len(images))[:, None] * size + lines) * size
    pixels = (starts[:, :, None] + columns[:, None, :]).ravel()
    return images.reshape(-1, images.shape[-1]).take(pixels, axis=0).reshape(images.shape)


class TrainBatches(keras.utils.PyDataset):
    """Full batches of `(images, one-hot labels)` from step `start` to step `stop` of a training.

    Step i is the same on every backend and in every process: its images come from a permutation
    seeded by (seed, epoch), and what is done to them is seeded by (seed, step) and the place in the
    batch. What is left over at the end of an epoch is dropped.

    Args:
        split: where the images are.
        classes: columns of the labels.
        batch_size: images of a step, in all processes together.
        start, stop: steps.
        seed: of order and augmentation.
        flip: mirror half of the images.
        augmentation: what else is done to them. Erased or mixed images are float32.
        part: (number of this process, number of processes); each gets its share of every batch.
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
        augmentation: Augmentation | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.augmentation = augmentation or Augmentation(translate=0.0)
        busy = self.augmentation.varies or self.augmentation.photos
        super().__init__(workers=THREADS if busy else _workers(split), max_queue_size=8)
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
        self.rows = rows_of(part, batch_size)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        step = self.start + index
        chosen = self.chosen(step)[self.rows]
        augmentation = self.augmentation
        images, labels = mix(
            self._images(chosen, step),
            self.one_hot[self.split.labels[chosen]],
            np.random.default_rng((self.seed, 3, step)),
            mixup=augmentation.mixup,
            cutmix=augmentation.cutmix,
            switch=augmentation.switch,
        )
        return in_data_format(images), labels

    def chosen(self, step: int) -> np.ndarray:
        """Indices of the images of a whole batch."""
        epoch, position = divmod(step, steps_per_epoch(len(self.split), self.batch_size))
        return self._epoch_order(epoch)[position * self.batch_size :][: self.batch_size]

    def _images(self, chosen: np.ndarray, step: int) -> np.ndarray:
        """Cropped or shifted, mirrored, varied and erased: (b, s, s, 3), what `mix` may change."""
        augmentation, images = self.augmentation, self.split.images
        if augmentation.photos:
            sources = images.sources if isinstance(images, LazyImages) else images
        else:
            sources = augment(
                images[chosen],
                np.random.default_rng((self.seed, 1, step)),
                flip=self.flip,
                translate=augmentation.translate,
                rows=self.rows,
                of=self.batch_size,
            )
            if not augmentation.varies and not augmentation.mixes:
                return sources
            chosen = np.arange(len(chosen))
        size = images.shape[1]
        batch = np.empty((len(chosen), size, size, 3), "float32" if augmentation.mixes else "uint8")
        for place, (row, index) in enumerate(zip(self.rows, chosen, strict=True)):
            rng = np.random.default_rng((self.seed, 2, step, row))
            batch[place] = self._image(sources[index], rng)
            if rng.random() < augmentation.erasing:
                erase(batch[place], rng)
        return batch

    def _image(self, source: Any, rng: np.random.Generator) -> Any:
        """One image, as pixels or a Pillow image, whatever it was when nothing more was to do."""
        from PIL import Image

        image, augmentation = source, self.augmentation
        if augmentation.photos:
            image = augmentation.crop_photo(source, self.split.images.shape[1], rng)
            if self.flip and rng.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if augmentation.varies:
            if isinstance(image, np.ndarray):
                image = Image.fromarray(image)
            image = augmentation.vary(image, rng)
        return image

    def _epoch_order(self, epoch: int) -> np.ndarray:
        known, order = self._order  # one attribute, so that threads never see half of a change
        if known != epoch:
            count = len(self.split)
            order = np.random.default_rng((self.seed, 0, epoch)).permutation(count)
            order = order.repeat(self.augmentation.repeats)[:count]
            self._order = epoch, order
        return order


def rows_of(part: tuple[int, int], batch_size: int) -> np.ndarray:
    """Places in a batch that belong to one process: a row and its partner in mixing together.

    Raises:
        ValueError: if the batch can't be divided so.
    """
    number, count = part
    if count > 1 and batch_size % (2 * count):
        raise ValueError(
            f"`batch_size` must be a multiple of {2 * count}, two for each of the {count} "
            f"processes. Received: batch_size={batch_size}"
        )
    if count == 1:
        return np.arange(batch_size)
    half = np.arange(batch_size // 2).reshape(count, -1)[number]
    return np.concatenate([half, batch_size - 1 - half[::-1]])


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
    The others get the batches made ahead in threads; Keras' own threads would hand out the second
    batch first where `fit` looks at the first one to build the model.
    """
    if keras.backend.backend() != "tensorflow":
        return Ahead(batches) if batches.workers > 1 else batches
    import tensorflow as tf

    like = [np.asarray(array) for array in batches[0]]
    made = {}

    def make(index: Any) -> tuple[np.ndarray, ...]:
        batch = batches[int(index)]
        made[int(index)] = time.perf_counter()
        return batch

    def read(index: Any) -> tuple[Any, ...]:
        arrays = tf.numpy_function(make, [index], [a.dtype for a in like])
        return tuple(tf.ensure_shape(x, a.shape) for x, a in zip(arrays, like, strict=True))

    dataset = tf.data.Dataset.range(len(batches))
    dataset = dataset.map(read, num_parallel_calls=batches.workers, deterministic=True).prefetch(2)
    dataset.made = made
    return dataset


def waiting_time(fed: Any, begun: Sequence[float]) -> float:
    """Seconds that the steps of `fit` waited for what `feed` returned.

    `begun`: when each step began, by `time.perf_counter()`.
    """
    if isinstance(fed, Ahead):
        return fed.waited
    made = getattr(fed, "made", {})
    return sum(max(0.0, made.get(number, 0.0) - start) for number, start in enumerate(begun))


class Ahead(keras.utils.PyDataset):
    """Batches that threads make before they are asked for, in any order they are asked for."""

    def __init__(self, batches: keras.utils.PyDataset) -> None:
        super().__init__()
        self.batches = batches
        self.waited = 0.0  # seconds, for batches that were not ready
        self._pool = ThreadPoolExecutor(batches.workers)
        self._begun: dict[int, Future] = {}

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        for number in range(index, min(index + 2 * self.batches.workers, len(self))):
            if number not in self._begun:
                self._begun[number] = self._pool.submit(self.batches.__getitem__, number)
        started = time.perf_counter()
        batch = self._begun.pop(index).result()
        self.waited += time.perf_counter() - started
        return batch


def steps_per_epoch(images: int, batch_size: int) -> int:
    return images // batch_size


def in_data_format(images: np.ndarray) -> np.ndarray:
    """(b, h, w, c) as `keras.config.image_data_format()` has it."""
    if keras.config.image_data_format() == "channels_first":
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images


def _workers(split: Split) -> int:
    """Decoding is worth threads; from memory one thread is ahead of any model."""
    return min(4, THREADS) if isinstance(split.images, LazyImages) else 1
