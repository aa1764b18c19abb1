"""How training varies its images: one frozen dataclass, and what it does to one image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_vitcnn.data import operations
from keras_vitcnn.data.images import Source, upright
from keras_vitcnn.data.policies import policy

CROPS = ("shift", "resized", "simple")
INTERPOLATIONS = ("bilinear", "bicubic")
RATIO = (3 / 4, 4 / 3)  # width / height of a resized crop
TRIES = 10
SHRINKS = (8, 4, 2, 1)  # at which a JPEG can be decoded without decoding all of it
SIMPLE_PAD = 4  # pixels
JITTERED = ("brightness", "contrast", "color")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images, in this order; the data say whether they are mirrored."""

    crop: str = "shift"  # "resized": a random part, resized; "simple": resized, padded, cropped
    translate: float = 0.125  # reach of "shift", as a fraction of the image's side
    min_area: float = 0.08  # share of the photo that "resized" keeps at least
    interpolation: str = "bicubic"  # of "resized" and "simple"; what shrinks is antialiased
    policy: str = ""  # see `keras_vitcnn.data.policies.policy`
    color_jitter: float = 0.0  # reach of brightness, contrast and colour around 1
    erasing: float = 0.0  # probability of random erasing
    mixup: float = 0.0  # parameter of the Beta distribution, 0 for none
    cutmix: float = 0.0
    switch: float = 0.5  # probability of cutmix where there is mixup, too
    repeats: int = 1  # times that an image comes in a row, in as many fewer images an epoch

    def __post_init__(self) -> None:
        for name, allowed in (("crop", CROPS), ("interpolation", INTERPOLATIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {list(allowed)}. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        for name in ("translate", "min_area", "color_jitter", "erasing", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"`{name}` must be in [0, 1]. Received: {name}={getattr(self, name)}"
                )
        for name in ("mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`{name}` must not be negative. Received: {name}={getattr(self, name)}"
                )
        if self.repeats < 1:
            raise ValueError(f"`repeats` must be positive. Received: repeats={self.repeats}")
        if self.policy:
            policy(self.policy)

    @property
    def photos(self) -> bool:
        """Whether it crops the photos themselves, instead of their centres."""
        return self.crop != "shift"

    @property
    def varies(self) -> bool:
        """Whether there is anything for `vary` to do."""
        return bool(self.policy) or self.color_jitter > 0

    @property
    def mixes(self) -> bool:
        """Whether its images are float32."""
        return self.erasing > 0 or self.mixup > 0 or self.cutmix > 0

    def crop_photo(self, source: Source, size: int, rng: np.random.Generator) -> Any:
        """A random part of a photo, an RGB Pillow image of size x size."""
        from PIL import Image

        resample = Image.Resampling[self.interpolation.upper()]
        if self.crop == "simple":
            return _simple_crop(upright(source), size, rng, resample)
        box = full = (0, 0, 0, 0)

        def shrink(width: int, height: int) -> int:
            nonlocal box, full
            full = (width, height, width, height)
            box = resized_crop_box(width, height, self.min_area, rng)
            shortest = min(box[2] - box[0], box[3] - box[1])
            return next(s for s in SHRINKS if shortest >= s * size or s == 1)

        image = upright(source, shrink)
        edges = zip(box, full, 2 * image.size, strict=True)
        part = [round(edge * side / whole) for edge, whole, side in edges]
        return image.crop(part).resize((size, size), resample)

    def vary(self, image: Any, rng: np.random.Generator) -> Any:
        """The policy and the jitter of the colours on an RGB Pillow image."""
        if self.policy:
            image = policy(self.policy)(image, rng)
        return _jittered(image, self.color_jitter, rng) if self.color_jitter else image


def resized_crop_box(
    width: int, height: int, min_area: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random part of an image, as torchvision draws it.

    Its share of the area is uniform in [min_area, 1], the logarithm of its ratio in that of 3/4 to
    4/3; if ten tries don't fit, the centre of the nearest ratio. Source: arXiv:1409.4842.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(min_area, 1)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            left = int(rng.integers(width - columns + 1))
            top = int(rng.integers(height - rows + 1))
            return left, top, left + columns, top + rows
    columns = min(width, round(height * RATIO[1]))
    rows = min(height, round(width / RATIO[0]))
    left, top = (width - columns) // 2, (height - rows) // 2
    return left, top, left + columns, top + rows


def _simple_crop(image: Any, size: int, rng: np.random.Generator, resample: Any) -> Any:
    """Short side to `size`, 4 pixels reflected around it, a random square: DeiT III's."""
    from PIL import Image

    scale = size / min(image.size)
    shape = [max(size, int(side * scale)) for side in image.size]
    pixels = np.asarray(image.resize(shape, resample))
    around = ((SIMPLE_PAD, SIMPLE_PAD), (SIMPLE_PAD, SIMPLE_PAD), (0, 0))
    pixels = np.pad(pixels, around, mode="reflect")
    top, left = (rng.integers(side - size + 1) for side in pixels.shape[:2])
    return Image.fromarray(np.ascontiguousarray(pixels[top : top + size, left : left + size]))


def _jittered(image: Any, reach: float, rng: np.random.Generator) -> Any:
    """Brightness, contrast and colour, each by a factor in [1 - reach, 1 + reach], in any order."""
    for index in rng.permutation(len(JITTERED)):
        factor = rng.uniform(max(0.0, 1 - reach), 1 + reach)
        image = operations.apply(image, JITTERED[index], factor)
    return image
