"""Fitting a published design to small images and small budgets, as a change of its config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch, wraps
from math import prod
from typing import Any

from keras_vitcnn.config import ConvNetConfig, Pyramid, TransformerConfig

# The coarsest grid that a design is allowed to keep: positions along a side.
LAST_MAP = 2  # of a hierarchical model, in front of its pooling
TOKENS = 7  # of a columnar model, all the way


@singledispatch
def adapt_to_image_size(
    config: Any, image_size: int, stem_stride: int | None = None
) -> tuple[Any, str]:
    """Make a config keep enough positions of a small square image.

    The rule: the stem's stride is halved, its pooling dropped first, until the last map of a
    hierarchical model has 2 x 2 positions or a columnar one 7 x 7 tokens, or the stride is 1; a
    plain patch takes the largest size that divides the image and leaves 7 x 7 tokens.

    Args:
        config: of a model of the zoo.
        image_size: pixels along a side.
        stem_stride: total stride of the stem (the patch size of a ViT) to use instead of the rule.

    Returns:
        The config, and a sentence that says what was changed ("" for nothing).

    Raises:
        ValueError: if the model can't take the image size.
    """
    raise TypeError(f"No rule for {type(config).__name__}. Received: {config!r}")


@adapt_to_image_size.register
def _(config: Pyramid, image_size: int, stem_stride: int | None = None) -> tuple[Any, str]:
    _check_stem_stride(stem_stride)
    before = config.stem_reduction
    goal = LAST_MAP if len(config.depths) > 1 else TOKENS

    def side(stride: int) -> int:
        return config.with_stem_reduction(stride).last_side(image_size)

    after = stem_stride or _halved(before, lambda stride: side(stride) >= goal)
    if side(after) < 1:
        raise ValueError(
            f"`image_size` is too small: the last map would be empty at a stem stride of {after}. "
            f"Received: image_size={image_size}"
        )
    if after == before:
        return config, ""
    changed = config.with_stem_reduction(after)
    what = f"stem stride {before} -> {after}"
    if config.pool and not changed.pool:
        what += ", no max pooling"
    return changed, f"{what}: the last map is {side(after)} x {side(after)} at {image_size} px."


@adapt_to_image_size.register
def _(
    config: TransformerConfig, image_size: int, stem_stride: int | None = None
) -> tuple[Any, str]:
    _check_stem_stride(stem_stride)
    before = config.total_stride
    after = stem_stride or _token_side(config, image_size)
    if image_size % after or image_size < after:
        raise ValueError(
            f"`image_size` must be a multiple of {after} px, the side of a token. "
            f"Received: image_size={image_size}"
        )
    if after == before:
        return config, ""
    changed = _with_token_side(config, after)
    side = image_size // after
    return changed, (
        f"token side {before} -> {after} px: {side} x {side} tokens at {image_size} px."
    )


def _check_stem_stride(stem_stride: int | None) -> None:
    if stem_stride is not None and stem_stride < 1:
        raise ValueError(
            f"`stem_stride` must be a positive integer or None. Received: stem_stride={stem_stride}"
        )


def _token_side(config: TransformerConfig, image_size: int) -> int:
    before = config.total_stride

    def fits(side: int) -> bool:
        return image_size % side == 0 and image_size // side >= TOKENS

    if config.backbone:  # its stem can shrink, the strides of its stages stay
        return max(before // config.backbone.stem_reduction, _halved(before, fits))
    if config.stem_strides:
        return _halved(before, fits)
    return max((side for side in range(1, before + 1) if fits(side)), default=1)


def _with_token_side(config: TransformerConfig, side: int) -> TransformerConfig:
    if config.backbone:
        stages = config.total_stride // config.backbone.stem_reduction
        if side % stages:
            raise ValueError(
                f"The side of a token must be a multiple of {stages} px, the stride of the "
                f"backbone's stages. Received: stem_stride={side}"
            )
        return replace(config, backbone=config.backbone.with_stem_reduction(side // stages))
    strides = list(config.stem_strides)
    patch_size = config.patch_size
    # Later convolutions lose their stride first: early ones see the whole image at less cost.
    for i in reversed(range(len(strides))):
        while prod(strides) * patch_size > side and strides[i] % 2 == 0:
            strides[i] //= 2
    if not strides:
        patch_size = side
    if prod(strides) * patch_size != side:
        raise ValueError(
            f"The stem can't have a total stride of {side}: use a power of two. "
            f"Received: stem_stride={side}"
        )
    return replace(config, stem_strides=tuple(strides), patch_size=patch_size)


def _halved(stride: int, enough: Any) -> int:
    while stride > 1 and stride % 2 == 0 and not enough(stride):
        stride //= 2
    return stride


@singledispatch
def scale_width(config: Any, multiplier: float) -> Any:
    """Multiply the widths of a config: channels rounded to multiples of 8, heads kept whole.

    Args:
        config: of a model of the zoo.
        multiplier: positive; 1.0 leaves the config as it is.
    """
    raise TypeError(f"No rule for {type(config).__name__}. Received: {config!r}")


def scales_width(rule: Callable[[Any, float], Any]) -> Callable[[Any, float], Any]:
    """Register the rule of a config's type, for positive multipliers other than 1."""

    @wraps(rule)
    def checked(config: Any, multiplier: float) -> Any:
        if not multiplier > 0:
            raise ValueError(f"`multiplier` must be positive. Received: multiplier={multiplier}")
        return config if multiplier == 1 else rule(config, multiplier)

    return scale_width.register(checked)


def scaled(width: int, multiplier: float, step: int = 8) -> int:
    """`width` times `multiplier`, to the nearest multiple of `step` but zero."""
    return max(step, round(width * multiplier / step) * step)


@scales_width
def _(config: ConvNetConfig, multiplier: float) -> Any:
    step = 8 * max(1, config.groups // 8) if config.norm != "group" else 32
    group_width = config.group_width
    if group_width:  # scales along, so that narrow models keep several groups (arXiv:2103.06877)
        group_width = step = scaled(group_width, multiplier)
    return replace(
        config,
        widths=tuple(scaled(width, multiplier, step) for width in config.widths),
        stem_width=config.stem_width and scaled(config.stem_width, multiplier),
        head_width=config.head_width and scaled(config.head_width, multiplier),
        group_width=group_width,
    )


@scales_width
def _(config: TransformerConfig, multiplier: float) -> Any:
    head_dim = config.width // config.num_heads
    heads = max(1, round(config.num_heads * multiplier))
    if config.local_blocks and config.locality_strength is not None:
        # The heads are the taps of a square convolution.
        heads = max(1, round((config.num_heads * multiplier) ** 0.5)) ** 2
    return replace(
        config,
        num_heads=heads,
        width=heads * head_dim,
        stem_widths=tuple(scaled(width, multiplier) for width in config.stem_widths),
        backbone=config.backbone and scale_width(config.backbone, multiplier),
    )
