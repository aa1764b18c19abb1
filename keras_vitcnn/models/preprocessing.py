"""How images reach a model: what happens outside it, and its mean and standard deviation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import keras

from keras_vitcnn.layers import ImageNormalization
from keras_vitcnn.layers.image_normalization import IMAGENET_MEAN, IMAGENET_STD

CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize, crop and normalisation of one checkpoint, in timm's terms."""

    image_size: tuple[int, int] = (224, 224)  # (height, width) of the crop
    crop_pct: float = 0.875  # side of the crop / side of the resized image
    crop_mode: str = "center"  # "squash": both sides resized; "border": nothing cut off
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN  # per colour, of images in [0, 1]
    std: tuple[float, ...] = IMAGENET_STD
    labels: tuple[str, ...] = ()  # names of the classes, where the checkpoint brings its own

    def __post_init__(self) -> None:
        _check(self.crop_mode in CROP_MODES, "crop_mode", self.crop_mode, f"one of {CROP_MODES}")
        known = self.interpolation in INTERPOLATIONS
        _check(known, "interpolation", self.interpolation, f"one of {INTERPOLATIONS}")
        _check(self.crop_pct > 0, "crop_pct", self.crop_pct, "positive")
        _check(all(s > 0 for s in self.std), "std", self.std, "positive numbers")
        same = len(self.mean) == len(self.std)
        _check(same, "mean", self.mean, f"as many numbers as `std` has, {len(self.std)}")
        two = len(self.image_size) == 2 and all(side >= 1 for side in self.image_size)
        _check(two, "image_size", self.image_size, "a height and a width")

    @classmethod
    def of(cls, values: dict[str, Any]) -> Preprocessing:
        """From plain values, as JSON and the layer's config hold them; others are ignored."""
        known = {field.name for field in fields(cls)}
        found: dict[str, Any] = {key: value for key, value in values.items() if key in known}
        found |= {key: tuple(v) for key, v in found.items() if isinstance(v, list)}
        return cls(**found)


def _check(fine: bool, name: str, value: Any, allowed: str) -> None:
    if not fine:
        raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value!r}")


def attach(model: keras.Model, preprocessing: Preprocessing) -> None:
    """Make a checkpoint's preprocessing that of a model: its normalisation, and what is outside."""
    layer = _normalization(model)
    if layer is None:
        model.preprocessing = preprocessing
        return
    if (layer.mean, layer.std) != (preprocessing.mean, preprocessing.std):
        # The numbers are constants of whatever was compiled before.
        model.train_function = model.test_function = model.predict_function = None
    layer.mean, layer.std = preprocessing.mean, preprocessing.std
    # The layer's config is what a .keras file keeps.
    layer.evaluation = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(preprocessing).items()
        if key not in ("mean", "std")
    }


def preprocessing_of(model: keras.Model) -> Preprocessing | None:
    """What `attach` made known of a model; `None` where no weights were loaded."""
    layer = _normalization(model)
    if layer is None:
        return getattr(model, "preprocessing", None)
    if layer.evaluation is None:
        return None
    return Preprocessing.of({**layer.evaluation, "mean": layer.mean, "std": layer.std})


def normalization_of(model: keras.Model) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """(mean, std) that a model applies itself; `None` if its images come normalised."""
    layer = _normalization(model)
    return None if layer is None else (layer.mean, layer.std)


def _normalization(model: keras.Model) -> ImageNormalization | None:
    return next((layer for layer in model.layers if isinstance(layer, ImageNormalization)), None)
