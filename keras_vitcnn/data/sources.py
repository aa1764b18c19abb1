"""Where images come from: labels first, encoded images of the chosen indices when asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_vitcnn.data.images import Progress, Source, find_unreadable
from keras_vitcnn.data.split import train_val_split
from keras_vitcnn.extras import require

SUFFIXES = frozenset(
    [".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)  # of the files that count as images
VAL_FOLDERS = ("val", "valid", "validation", "test")
DIGITS_SIZE = 16  # pixels; twice that of the scans, so that strides have something to halve
FOLDER_SIZE = 64  # photos have no size of their own


@dataclass(frozen=True, eq=False)
class Listing:
    """Labelled images that are not decoded yet."""

    labels: np.ndarray  # (n,) integers
    fetch: Callable[[np.ndarray], Sequence[Source]]  # sorted indices -> images

    def part(self, indices: np.ndarray) -> Listing:
        return Listing(self.labels[indices], lambda chosen: self.fetch(indices[chosen]))

    def split(self) -> tuple[Listing, Listing]:
        """80 % to train on and 20 % to validate with, always the same."""
        train, val = train_val_split(self.labels)
        return self.part(train), self.part(val)


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """What a reader found: two listings and what there is to say about them."""

    train: Listing
    val: Listing
    class_names: tuple[str, ...]
    image_size: int  # to use unless another is asked for
    origin: str  # a phrase for the report
    fingerprint: str  # changes with the images
    skipped: tuple[Path, ...] = ()  # files that could not be decoded


def digits() -> Collection:
    """scikit-learn's 1,797 scanned digits, 8 x 8 pixels in 17 greys, stretched to 0..255."""
    require("sklearn", "data")
    require("PIL", "data")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images * (255 / 16)).round().astype("uint8")
    train, val = Listing(bunch.target, lambda indices: list(images[indices])).split()
    return Collection(
        train=train,
        val=val,
        class_names=tuple(str(name) for name in bunch.target_names),
        image_size=DIGITS_SIZE,
        origin="scikit-learn's scanned digits (8 x 8 pixels), a fixed stratified 80/20 split",
        fingerprint=fingerprint(images.tobytes()),
    )


def folder(
    path: Path, *, skip_bad_images: bool = False, progress: Progress | None = None
) -> Collection:
    """One sub-folder per class, or `train/` and one of `val/`, `test/` with such sub-folders."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ValueError(
            f"The folder {what}. Give one with a sub-folder per class, 'digits', or 'tfds:NAME'. "
            f"Received: data={str(path)!r}"
        )
    require("PIL", "data")
    train_root, val_root = _roots(path)
    class_names = tuple(entry.name for entry in _class_folders(train_root))
    if not class_names:
        raise ValueError(
            "The folder has no sub-folders; put the images of each class into one of its own. "
            f"Received: data={str(path)!r}"
        )
    if len(class_names) == 1:
        raise ValueError(
            f"The folder has one class, {class_names[0]!r}, and a comparison needs two or more. "
            f"Received: data={str(path)!r}"
        )
    roots = [train_root] if val_root is None else [train_root, val_root]
    found = [_images_by_class(root, class_names, path) for root in roots]

    paths = [file for by_class in found for files in by_class for file in files]
    bad = find_unreadable(paths, progress)
    if bad and not skip_bad_images:
        file, reason = bad[0]
        more = f", and so are {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(
            f"{str(file)!r} is corrupt ({reason}){more}. Replace or delete such files, or pass "
            f"skip_bad_images=True (--skip-bad-images). Received: data={str(path)!r}"
        )
    skipped = {file for file, _ in bad}
    found = [[[f for f in files if f not in skipped] for files in part] for part in found]

    fewest = 2 if val_root is None else 1
    for root, part in zip(roots, found, strict=True):
        for name, files in zip(class_names, part, strict=True):
            if len(files) < fewest:
                raise ValueError(
                    f"The class folder {str(root / name)!r} has {len(files) or 'no'} readable "
                    f"image{'s' * (len(files) != 1)} ({', '.join(sorted(SUFFIXES))}) and needs "
                    f"{fewest} or more. Received: data={str(path)!r}"
                )
    listings = [_listing(part) for part in found]
    train, val = listings[0].split() if val_root is None else listings
    names = (f"{file.relative_to(path)} {file.stat().st_size}" for file in paths)
    split = f"{train_root.name}/ and {val_root.name}/" if val_root else "a stratified 80/20 split"
    return Collection(
        train=train,
        val=val,
        class_names=class_names,
        image_size=FOLDER_SIZE,
        origin=f"The folder {path.resolve().name}, {split}",
        fingerprint=fingerprint("\n".join(names).encode()),
        skipped=tuple(sorted(skipped)),
    )


def fingerprint(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _roots(path: Path) -> tuple[Path, Path | None]:
    train = path / "train"
    if not _class_folders(train):
        return path, None
    return train, next((path / name for name in VAL_FOLDERS if _class_folders(path / name)), None)


def _class_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images_by_class(root: Path, class_names: Sequence[str], path: Path) -> list[list[Path]]:
    extra = {entry.name for entry in _class_folders(root)} - set(class_names)
    if extra:
        raise ValueError(
            f"{root.name}/ has the class {min(extra)!r} that train/ lacks; both need the same "
            f"class folders. Received: data={str(path)!r}"
        )
    return [
        sorted(
            file
            for file in (root / name).rglob("*")
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        for name in class_names
    ]


def _listing(files_by_class: list[list[Path]]) -> Listing:
    files = [file for files in files_by_class for file in files]
    labels = np.repeat(np.arange(len(files_by_class)), [len(files) for files in files_by_class])
    return Listing(labels, lambda indices: [files[index] for index in indices])
