"""What every step of a road costs, as published or as small as it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_vitcnn.ablation.road import Road, Step, changed
from keras_vitcnn.analysis import Complexity, complexity
from keras_vitcnn.models import adapt_to_image_size, scale_width

PAPER_SIZE = 224  # pixels, of all papers' counts
# What `adapt_to_image_size` may touch beside a step's own change.
FITTED = frozenset({"stem_stride", "pool", "patch_size", "stem_strides"})


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A step and what one image costs it."""

    step: Step
    complexity: Complexity


def costs(
    road: Road,
    image_size: int | None = None,
    width_multiplier: float = 1.0,
    stem_stride: int | None = None,
) -> list[Cost]:
    """Count every step of a road, in seconds and without allocating a weight.

    Args:
        road: as `keras_vitcnn.ablation.road` returns it.
        image_size: pixels along a side; the stems are then adapted to it as `compare` does. The
            published networks at 224 pixels by default.
        width_multiplier: on all channels.
        stem_stride: instead of the rule of `models.adapt_to_image_size`.

    Raises:
        ValueError: if a step can't take the image size, or is another step at this width.
    """
    fitted = {
        step.name: fit(road, step, image_size, width_multiplier, stem_stride)[0] for step in road
    }
    size = image_size or PAPER_SIZE
    # Steps may share a network: count each once.
    counted = {config: complexity(config, (size, size, 3)) for config in fitted.values()}
    return [Cost(step=step, complexity=counted[fitted[step.name]]) for step in road]


def fit(
    road: Road,
    step: Step,
    image_size: int | None,
    width_multiplier: float = 1.0,
    stem_stride: int | None = None,
) -> tuple[Any, str]:
    """A step's config at a smaller scale, and what was done to it for the image size, in words.

    Raises:
        ValueError: if the step can't take the image size, or if rounding at this width changes
            more of the network than the step announces.
    """

    def small(config: Any) -> tuple[Any, str]:
        config = scale_width(config, width_multiplier)
        if image_size is None:
            return config, ""
        return adapt_to_image_size(config, image_size, stem_stride)

    try:
        config, note = small(step.config)
    except ValueError as error:
        raise ValueError(f"{step.name}: {error}") from error
    if step.before is not None:
        before, _ = small(step.before)
        more = set(changed(before, config)) - set(step.change) - FITTED
        if more:
            raise ValueError(
                f"At this width the step {step.name!r} of {road.name} would also change "
                f"{', '.join(sorted(more))}, by rounding; use another one. "
                f"Received: width_multiplier={width_multiplier}"
            )
    return config, note
