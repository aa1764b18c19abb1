"""What a config type must provide to become a model; `build` is the door in front of it.

A family with a config class of its own registers these functions for it; for a `Pyramid` all but
`features` are there.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from keras_vitcnn.blocks import classifier, pool_map
from keras_vitcnn.config import Pyramid


def _unknown(config: Any) -> TypeError:
    return TypeError(f"No builder is registered for {type(config).__name__}. Received: {config!r}")


@singledispatch
def features(config: Any, x: Any, *, drop_path_rate: float, remat: bool) -> Any:
    """Normalised image (b, h, w, c) -> last map (b, h', w', width) or tokens (b, n, width)."""
    raise _unknown(config)


@singledispatch
def pooled(config: Any, x: Any, pooling: str) -> Any:
    """Features -> one vector per image (b, width), as the classifier would see it."""
    raise _unknown(config)


@singledispatch
def classified(config: Any, x: Any, classes: int, dropout_rate: float) -> Any:
    """Features -> logits (b, classes)."""
    raise _unknown(config)


@singledispatch
def check_image(config: Any, height: int | None, width: int | None) -> None:
    """Raise `ValueError` for an image size in pixels that the config can't take."""
    raise _unknown(config)


@pooled.register
def _(config: Pyramid, x: Any, pooling: str) -> Any:
    return pool_map(x, pooling)


@classified.register
def _(config: Pyramid, x: Any, classes: int, dropout_rate: float) -> Any:
    return classifier(pooled(config, x, "avg"), classes, dropout_rate)


@check_image.register
def _(config: Pyramid, height: int | None, width: int | None) -> None:
    """Any size will do: every stride is padded."""


def default_size(config: Any) -> int:
    """Side in pixels of the images that a config is published for, 224 where it does not say."""
    return getattr(config, "image_size", 224)
