"""Photos as a model's checkpoint wants them, pixel for pixel what timm's evaluation gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vitcnn.data.images import Source, upright
from keras_vitcnn.extras import require
from keras_vitcnn.models.preprocessing import Preprocessing, normalization_of, preprocessing_of


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Image files, encoded bytes or arrays -> what a model's input takes.

    Called with one image, gives (h, w, c), with a list of them (n, h, w, c), in the layout of
    `keras.config.image_data_format()`: uint8 where the model normalises, otherwise float32,
    normalised.
    """

    settings: Preprocessing
    channels: int = 3
    normalize: bool = False  # whether the model leaves that to us

    def __call__(self, images: str | Source | Sequence[str | Source]) -> np.ndarray:
        """Read, resize, crop and, if the model doesn't, normalise.

        Raises:
            OSError: for a file that can't be read as an image.
            ImportError: with the command that installs Pillow.
        """
        require("PIL", "data")
        if isinstance(images, (str, Path, bytes, np.ndarray)):
            return self._one(images)
        return np.stack([self._one(image) for image in images])

    def _one(self, source: str | Source) -> np.ndarray:
        image = upright(Path(source) if isinstance(source, str) else source)
        image = _cropped(_resized(image, self.settings), self.settings)
        if self.channels == 1:
            image = image.convert("L")
        pixels = np.asarray(image).reshape(*self.settings.image_size, -1)
        if self.normalize:
            scaled = pixels.astype("float32") / np.float32(255)
            mean = np.array(self.settings.mean, "float32")
            std = np.array(self.settings.std, "float32")
            if self.channels == 1:
                mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
            pixels = (scaled - mean) / std
        if keras.config.image_data_format() == "channels_first":
            pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return pixels


def preprocess_for(model: keras.Model) -> Preprocess:
    """The resize, crop and interpolation of the weights that a model has, for the model's size.

    Without published weights: short side resized bicubically, centre 87.5 % of it.

    Raises:
        ValueError: if the model's images have neither one nor three channels.
    """
    shape = model.input_shape[1:]
    if keras.config.image_data_format() == "channels_first":
        shape = (*shape[1:], shape[0])
    if shape[2] not in (1, 3):
        raise ValueError(
            f"Only grey and colour images can be prepared. Received: a model of {shape[2]} channels"
        )
    settings = preprocessing_of(model)
    normalization = normalization_of(model)
    if settings is None:
        settings = Preprocessing()
        if normalization is not None:
            settings = replace(settings, mean=normalization[0], std=normalization[1])
    if None not in shape[:2]:
        settings = replace(settings, image_size=tuple(shape[:2]))
    return Preprocess(settings=settings, channels=shape[2], normalize=normalization is None)


def _resized(image: Any, settings: Preprocessing) -> Any:
    """The image before its crop: crop size / crop_pct, as the mode says."""
    from PIL import Image

    height, width = (floor(side / settings.crop_pct) for side in settings.image_size)
    columns, rows = image.size
    if settings.crop_mode == "squash":
        size = width, height
    elif settings.crop_mode == "center" and height == width:
        # torchvision cuts off the fraction of a pixel, timm's own resize below rounds it.
        short, long = min(rows, columns), max(rows, columns)
        longer = int(height * long / short)
        size = (height, longer) if columns <= rows else (longer, height)
    else:
        ratios = rows / height, columns / width
        ratio = min(ratios) if settings.crop_mode == "center" else max(ratios)
        size = round(columns / ratio), round(rows / ratio)
    return image.resize(size, Image.Resampling[settings.interpolation.upper()])


def _cropped(image: Any, settings: Preprocessing) -> Any:
    """The centre; what lies outside the image is black, or the mean where borders are wanted."""
    from PIL import Image

    height, width = settings.image_size
    columns, rows = image.size
    if columns < width or rows < height:
        border = settings.crop_mode == "border"
        fill = tuple(round(255 * m) for m in settings.mean) if border else (0, 0, 0)
        padded = Image.new("RGB", (max(columns, width), max(rows, height)), fill)
        padded.paste(image, (max(width - columns, 0) // 2, max(height - rows, 0) // 2))
        image, (columns, rows) = padded, padded.size
    # Python rounds halves to the even number, and so does torchvision.
    top, left = round((rows - height) / 2), round((columns - width) / 2)
    return image.crop((left, top, left + width, top + height))
