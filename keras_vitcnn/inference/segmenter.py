"""Semantic segmentation: a class for every pixel, from any backbone of this library."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

import keras

from keras_vitcnn.config import check_choice, check_positive
from keras_vitcnn.inference.features import features
from keras_vitcnn.layers import Conv2D, Dense, GroupNormalization, HostNormal, ResizeMap

LEVELS = ("P2", "P3", "P4", "P5")
BINS = (1, 2, 3, 6)  # sides of the pooled maps of UPerNet
WIDTHS = {"fpn": 128, "upernet": 512}


def segmenter(
    backbone: keras.Model,
    classes: int,
    head: str = "fpn",
    *,
    image_size: tuple[int, int] | None = None,
    width: int | None = None,
) -> keras.Model:
    """A model that gives the logits of each pixel, of a backbone and a head on its pyramid.

    `"fpn"` is the semantic branch of Panoptic FPN (arXiv:1901.02446, section 3): each level, after
    the top-down sums, goes up to stride 4 by convolutions and doublings, and all are added.
    `"upernet"` (arXiv:1807.10221, section 3) pools the last map to 1, 2, 3 and 6 positions a side
    first, and fuses the concatenated levels. Norms are group norms of at most 32 groups in both:
    batches of segmentation are small.

    Args:
        backbone: a model of this library with a fixed image size, with or without its top; its
            layers become part of the segmenter and are trained with it.
        classes: of the pixels, without the one to be ignored.
        head: `"fpn"` or `"upernet"`.
        image_size: (height, width) in pixels; the backbone's own unless given, any will do (see
            `at_image_size`). `sliding_window` takes larger images.
        width: channels inside the head; 128 (FPN) or 512 (UPerNet), as published, unless given.

    Returns:
        A functional model: images -> logits (b, h, w, classes) in float32 at the images' size,
        channels last in every layout.

    Raises:
        ValueError: for an unknown head, a number of classes below two, a backbone of variable image
            size, or one that lacks stride 4.
    """
    check_choice("head", head, tuple(WIDTHS))
    width = WIDTHS[head] if width is None else width
    check_positive(width=width, classes=classes)
    if classes < 2:
        raise ValueError(f"`classes` must be two or more. Received: classes={classes}")
    pyramid = features(backbone, LEVELS, image_size)
    first = keras.config.image_data_format() == "channels_first"
    shape = pyramid.inputs[0].shape[2:] if first else pyramid.inputs[0].shape[1:3]
    if None in shape:
        raise ValueError(
            "A segmenter needs a fixed image size: give `image_size` or build the backbone with an "
            f"`input_shape`. Received: image_size={image_size}, backbone={backbone.name!r}"
        )
    maps = [pyramid.output[level] for level in LEVELS]
    if first:
        maps = [
            keras.layers.Permute((2, 3, 1), name=f"{level.lower()}_to_channels_last")(x)
            for level, x in zip(LEVELS, maps, strict=True)
        ]
    x = (_fpn if head == "fpn" else _upernet)(maps, width)
    x = Dense(classes, kernel_initializer=HostNormal(), name="segment_logits")(x)
    x = ResizeMap(tuple(shape), name="segment_resize")(x)
    x = keras.layers.Activation("linear", dtype="float32", name="segments")(x)
    return keras.Model(pyramid.input, x, name=f"{backbone.name}_{head}")


def _fpn(maps: list[Any], width: int) -> Any:
    def lateral(name: str, x: Any) -> Any:
        return _conv(x, 2 * width, 1, name)

    summed = []
    for step, x in enumerate(_top_down(maps, lateral)):
        name = f"fpn_p{step + 2}"
        x = _conv(x, 2 * width, 3, f"{name}_out")
        for doubling in range(max(1, step)):
            x = _block(x, width, 3, f"{name}_block{doubling}")
            if step:
                finer = maps[step - doubling - 1].shape[1:3]
                x = ResizeMap(finer, name=f"{name}_up{doubling}")(x)
        summed.append(x)
    return keras.layers.Add(name="fpn_sum")(summed)


def _upernet(maps: list[Any], width: int) -> Any:
    size = maps[0].shape[1:3]
    last = maps[-1]
    pooled = [last]
    for bins in BINS:
        name = f"pool{bins}"
        sides = min(bins, last.shape[1]), min(bins, last.shape[2])
        x = keras.layers.AdaptiveAveragePooling2D(
            sides, data_format="channels_last", name=f"{name}_mean"
        )(last)
        x = _block(x, width, 1, name)
        pooled.append(ResizeMap(last.shape[1:3], name=f"{name}_up")(x))
    last = _block(keras.layers.Concatenate(name="pool_concat")(pooled), width, 3, "pool_fuse")

    def lateral(name: str, x: Any) -> Any:
        return x if x is last else _block(x, width, 1, name)

    levels = _top_down([*maps[:-1], last], lateral)
    fused = [
        x if x is last else _block(x, width, 3, f"fpn_p{step + 2}_out")
        for step, x in enumerate(levels)
    ]
    fused = [
        ResizeMap(size, name=f"fpn_p{step + 2}_up")(x) if step else x
        for step, x in enumerate(fused)
    ]
    return _block(keras.layers.Concatenate(name="fpn_concat")(fused), width, 3, "fpn_fuse")


def _top_down(maps: list[Any], lateral: Callable[[str, Any], Any]) -> list[Any]:
    """Every level, narrowed, plus the coarser one above it, resized: finest first."""
    levels: list[Any] = []
    for step in reversed(range(len(maps))):
        name = f"fpn_p{step + 2}"
        x = lateral(f"{name}_lateral", maps[step])
        if levels:
            above = ResizeMap(x.shape[1:3], name=f"{name}_from_above")(levels[0])
            x = keras.layers.Add(name=f"{name}_add")([x, above])
        levels.insert(0, x)
    return levels


def _conv(x: Any, width: int, kernel: int, name: str, use_bias: bool = True) -> Any:
    return Conv2D(
        width,
        kernel,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=HostNormal(None),
        name=name,
    )(x)


def _block(x: Any, width: int, kernel: int, name: str) -> Any:
    x = _conv(x, width, kernel, f"{name}_conv", use_bias=False)
    x = GroupNormalization(gcd(32, width), epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_act")(x)
