"""Photos with a label for every pixel: pairs of files, batches of crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_vitcnn.data.batches import in_data_format
from keras_vitcnn.data.images import upright
from keras_vitcnn.data.sources import SUFFIXES
from keras_vitcnn.extras import require
from keras_vitcnn.system import cores


def mask_pairs(images: str | Path, masks: str | Path) -> list[tuple[Path, Path]]:
    """(photo, mask) of two folders whose files are named alike but for their suffixes, sorted.

    Raises:
        ValueError: for a folder without images, and for a photo without a mask.
    """
    folders = [Path(images), Path(masks)]
    found = []
    for folder in folders:
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        found.append({file.stem: file for file in files if file.suffix.lower() in SUFFIXES})
        if not found[-1]:
            raise ValueError(f"The folder holds no images. Received: {str(folder)!r}")
    missing = sorted(found[0].keys() - found[1].keys())
    if missing:
        raise ValueError(
            f"{len(missing)} photos have no mask, the first is {missing[0]!r}. "
            f"Received: masks={str(folders[1])!r}"
        )
    return [(photo, found[1][stem]) for stem, photo in sorted(found[0].items())]


class MaskBatches(keras.utils.PyDataset):
    """Batches of `(images, labels)`, (b, h, w, 3) uint8 and (b, h, w) int32, for `fit`.

    For training, every photo is scaled by a random factor, cropped at random and mirrored half of
    the time; what the crop finds outside the photo is black, with the ignored label. Batch i of
    epoch e is the same on every backend and in every process. For evaluation (`training=False`)
    every photo is resized to the size, its mask to the nearest labels, in order.

    Args:
        pairs: (photo, mask) files, of `mask_pairs`; a mask is an image of class numbers.
        image_size: (height, width) of what comes out.
        batch_size: at most the number of pairs; the rest of an epoch is dropped in training, and
            is a smaller batch in evaluation.
        training: whether to augment.
        scales: lowest and highest factor, on the size that just covers `image_size`.
        ignore_class: the label of what is outside the photo.
        seed: of order and augmentation.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        image_size: tuple[int, int],
        batch_size: int,
        *,
        training: bool = True,
        scales: tuple[float, float] = (0.75, 2.0),
        ignore_class: int = 255,
        seed: int = 0,
    ) -> None:
        require("PIL", "data")
        super().__init__(workers=min(4, cores()), max_queue_size=8)
        if not 1 <= batch_size <= len(pairs):
            raise ValueError(
                f"`batch_size` must be from 1 to the number of pairs, {len(pairs)}. "
                f"Received: batch_size={batch_size}"
            )
        self.pairs = list(pairs)
        self.size = image_size
        self.batch_size = batch_size
        self.training = training
        self.scales = scales
        self.ignore_class = ignore_class
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        full, rest = divmod(len(self.pairs), self.batch_size)
        return full if self.training else full + bool(rest)

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.arange(len(self.pairs))
        rng = np.random.default_rng((self.seed, self.epoch, index))
        if self.training:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        samples = [self._sample(self.pairs[int(row)], rng) for row in rows]
        images, labels = (np.stack(parts) for parts in zip(*samples, strict=True))
        return in_data_format(images), labels

    def _sample(
        self, pair: tuple[Path, Path], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        from PIL import Image

        photo, mask = pair
        image = upright(photo)
        with Image.open(mask) as opened:
            # A mask holds numbers: a palette would turn them into colours.
            labels = opened.copy() if opened.mode in ("P", "L") else opened.convert("L")
        if image.size != labels.size:
            raise ValueError(
                f"A photo and its mask must have the same size, not {image.size} and "
                f"{labels.size}. Received: {str(photo)!r}, {str(mask)!r}"
            )
        height, width = self.size
        if not self.training:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
            labels = labels.resize((width, height), Image.Resampling.NEAREST)
            return np.asarray(image), np.asarray(labels, "int32")
        cover = max(width / image.width, height / image.height)
        factor = cover * np.exp(rng.uniform(*np.log(self.scales)))
        size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        left, top = (
            int(rng.integers(min(0, side - want), max(0, side - want) + 1))
            for side, want in zip(size, (width, height), strict=True)
        )
        box = (left, top, left + width, top + height)
        image = image.resize(size, Image.Resampling.BILINEAR).crop(box)
        outside = Image.new("L", (width, height), self.ignore_class)
        outside.paste(labels.resize(size, Image.Resampling.NEAREST), (-left, -top))
        pixels, numbers = np.asarray(image), np.asarray(outside, "int32")
        if rng.random() < 0.5:
            pixels, numbers = pixels[:, ::-1], numbers[:, ::-1]
        return pixels, numbers
