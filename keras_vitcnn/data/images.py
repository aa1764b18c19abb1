"""Image files, encoded bytes or arrays -> square RGB, at once or when a batch asks for them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from keras_vitcnn.system import cores

Source = Path | bytes | np.ndarray
Progress = Callable[[Sequence[Any], str], Iterator[Any]]  # (items, what is done to them) -> items

GIB = 2**30
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 are quarter turns
THREADS = min(4, cores())  # Pillow releases the interpreter's lock


class LazyImages:
    """Images decoded whenever they are indexed: `images[indices]` is (n, s, s, 3) uint8."""

    dtype = np.dtype("uint8")

    def __init__(self, sources: Sequence[Source], size: int) -> None:
        self.sources = sources
        self.size = size

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.sources), self.size, self.size, 3

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        batch = np.empty((len(indices), *self.shape[1:]), "uint8")
        for row, index in enumerate(indices):
            batch[row] = decode(self.sources[index], self.size)
        return batch


def decode(source: Source, size: int) -> np.ndarray:
    """One image as (size, size, 3) uint8: turned upright, short side resized, centre cropped.

    Bicubic in both directions, antialiased when it shrinks; an image that has the size already
    keeps its pixels. Grey images are repeated to three channels, so every model sees the input it
    was designed for.
    """
    from PIL import Image, ImageOps

    image = upright(source)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(image)


def upright(source: Source, shrink: Callable[[int, int], int] = lambda width, height: 1) -> Any:
    """One image as a Pillow image: turned as its EXIF tag says, RGB, transparency on white.

    `shrink` gets width and height from the header, and says at which part of its size (1, 2, 4 or
    8) a JPEG is decoded, which is several times faster; other formats are decoded in full.
    """
    from PIL import ImageOps

    with _opened(source) as opened:
        orientation = opened.getexif().get(ORIENTATION, 1)
        part = shrink(*(opened.size[::-1] if orientation >= 5 else opened.size))
        if part > 1:
            opened.draft("RGB", (opened.width // part, opened.height // part))
        opened.load()
        return _rgb(opened if orientation == 1 else ImageOps.exif_transpose(opened))


def load_images(
    sources: Sequence[Source],
    size: int,
    *,
    memory_budget: int = GIB,
    progress: Progress | None = None,
) -> np.ndarray | LazyImages:
    """Decode everything, or leave it for later if that takes more than `memory_budget` bytes."""
    images = LazyImages(sources, size)
    if np.prod(images.shape) > memory_budget:
        return images
    array = np.empty(images.shape, "uint8")

    def decode_into(row: int) -> None:
        array[row] = decode(sources[row], size)

    for _ in _in_threads(decode_into, range(len(sources)), "decoding images", progress):
        pass
    return array


def find_unreadable(
    paths: Sequence[Path], progress: Progress | None = None
) -> list[tuple[Path, str]]:
    """The files that can't be decoded to their last byte, each with the reason."""
    found = _in_threads(_why_unreadable, paths, "checking images", progress)
    return [(path, reason) for path, reason in zip(paths, found, strict=True) if reason]


def _why_unreadable(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Reads the whole file, but has a JPEG decoded at an eighth of its size where it can.
            image.draft("RGB", (1, 1))
            image.load()
    except Exception as error:  # each of Pillow's decoders has kinds of its own
        reason = str(error) or type(error).__name__
        return "not an image file" if reason.startswith("cannot identify") else reason
    return ""


def _opened(source: Source) -> Any:
    from PIL import Image

    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip to 8, not scale
        return Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype("uint8")).convert(
            "RGB"
        )
    if "transparency" in image.info or image.mode.endswith("A"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _in_threads(
    function: Callable[[Any], Any], items: Sequence[Any], what: str, progress: Progress | None
) -> Iterator[Any]:
    """Results in order. Chunks, because a future an item would cost more than a small image."""

    def run(chunk: Sequence[Any]) -> list[Any]:
        return [function(item) for item in chunk]

    chunks = [items[start : start + 64] for start in range(0, len(items), 64)]
    with ThreadPoolExecutor(THREADS) as pool:
        done = pool.map(run, chunks)
        for _ in progress(chunks, what) if progress else chunks:
            yield from next(done)
