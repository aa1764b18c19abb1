"""`load`: any of the three kinds of data as two splits of square uint8 images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_vitcnn.data import sources, tfds
from keras_vitcnn.data.images import GIB, LazyImages, Progress, load_images
from keras_vitcnn.data.sources import Listing
from keras_vitcnn.data.split import stratified

# A mirrored 3 is no digit: sets whose names hold one of these words are not flipped by default.
ONE_WAY = ("digit", "mnist", "svhn", "omniglot", "letter", "character", "cmaterdb", "sign")
EITHER_WAY = ("fashion_mnist",)


@dataclass(frozen=True, eq=False)
class Split:
    """Images (n, s, s, 3) uint8, in memory or decoded when indexed, and their labels (n,)."""

    images: np.ndarray | LazyImages
    labels: np.ndarray
    files: tuple[Path, ...] = ()  # of a folder's images

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """Images to train on and to validate with."""

    name: str  # as it was asked for
    train: Split
    val: Split
    class_names: tuple[str, ...]
    image_size: int  # pixels, both sides
    flip: bool  # whether a mirrored image keeps its class
    description: str  # a sentence for the report
    fingerprint: str  # equal for equal images
    skipped: tuple[Path, ...] = ()  # files that could not be decoded


def load(
    data: str | Path = "digits",
    *,
    image_size: int | None = None,
    limit_train: int | None = None,
    limit_val: int | None = None,
    flip: bool | None = None,
    skip_bad_images: bool = False,
    photos: bool = False,
    data_dir: str | Path | None = None,
    memory_budget: int = GIB,
    progress: Progress | None = None,
) -> ImageData:
    """Load labelled images.

    Args:
        data: `"digits"` (scikit-learn's scans), the path of a folder with one sub-folder per class
            or with `train/` and `val/` or `test/` of such sub-folders, or `"tfds:NAME"`.
        image_size: side in pixels; images are resized (short side, bicubic, antialiased) and
            centre-cropped to it. By default 16 for digits, the set's own size for a
            tensorflow-datasets set that has one, and 64 otherwise.
        limit_train, limit_val: at most so many images, every class keeping its share.
        flip: whether training may mirror images; by default not for digits, letters and signs.
        skip_bad_images: leave out files of a folder that can't be decoded, instead of raising.
        photos: keep the training images as they are stored, for an augmentation that crops them
            itself (`Augmentation.photos`); they are decoded batch by batch.
        data_dir: of prepared tensorflow-datasets; `$TFDS_DATA_DIR` by default.
        memory_budget: bytes of decoded images held in memory; a larger split is decoded batch by
            batch.
        progress: called as `progress(items, what)`, returns an iterator over the items.

    Raises:
        ValueError: for data that can't be compared on; the message says how to mend them.
        OSError: if a tensorflow-datasets set has to be downloaded and can't.
        ImportError: with the command that installs what is missing.
    """
    name = str(data)
    if image_size is not None and image_size < 1:
        raise ValueError(f"`image_size` must be positive. Received: image_size={image_size}")
    if name == "digits":
        found = sources.digits()
    elif name.startswith("tfds:"):
        found = tfds.read(name.removeprefix("tfds:"), data_dir)
    else:
        found = sources.folder(Path(data), skip_bad_images=skip_bad_images, progress=progress)
    size = image_size or found.image_size
    classes = len(found.class_names)
    limits = {"limit_train": limit_train, "limit_val": limit_val}
    train, val = (
        _limited(listing, argument, limit, classes)
        for listing, (argument, limit) in zip((found.train, found.val), limits.items(), strict=True)
    )
    splits = [
        _split(listing, size, memory_budget=budget, progress=progress)
        for listing, budget in ((train, 0 if photos else memory_budget), (val, memory_budget))
    ]
    return ImageData(
        name=name,
        train=splits[0],
        val=splits[1],
        class_names=found.class_names,
        image_size=size,
        flip=_keeps_class_when_mirrored(name, found.class_names) if flip is None else flip,
        description=_description(found, splits, size),
        fingerprint=found.fingerprint,
        skipped=found.skipped,
    )


def _limited(listing: Listing, argument: str, limit: int | None, classes: int) -> Listing:
    if limit is None or limit >= len(listing.labels):
        return listing
    if limit < classes:
        raise ValueError(
            f"`{argument}` must be at least the number of classes, {classes}. "
            f"Received: {argument}={limit}"
        )
    return listing.part(stratified(listing.labels, limit))


def _split(listing: Listing, size: int, *, memory_budget: int, progress: Progress | None) -> Split:
    sources = listing.fetch(np.arange(len(listing.labels)))
    images = load_images(sources, size, memory_budget=memory_budget, progress=progress)
    files = tuple(source for source in sources if isinstance(source, Path))
    return Split(images, listing.labels.astype("int64"), files)


def _keeps_class_when_mirrored(name: str, class_names: tuple[str, ...]) -> bool:
    name = name.removeprefix("tfds:").lower()
    if any(word in name for word in EITHER_WAY):
        return True
    sided = any(side in word.lower() for word in class_names for side in ("left", "right"))
    glyphs = all(len(word) == 1 for word in class_names)
    return not (sided or glyphs or any(word in name for word in ONE_WAY))


def _description(found: sources.Collection, splits: list[Split], size: int) -> str:
    sentence = (
        f"{found.origin}: {len(splits[0]):,} images to train on, {len(splits[1]):,} to validate "
        f"with, {len(found.class_names)} classes, {size} x {size} pixels (bicubic, short side "
        "resized and centre cropped where a size differed)."
    )
    if found.skipped:
        sentence += f" {len(found.skipped)} unreadable files were left out."
    return sentence
