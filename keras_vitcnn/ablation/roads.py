"""The roads by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from keras_vitcnn.ablation.convnets import (
    resnet50_to_convnext_tiny,
    resnet50_to_gresnet50,
    resnet200_to_convnext_base,
)
from keras_vitcnn.ablation.road import Road, nearest
from keras_vitcnn.ablation.transformers import VIT_P_TO_VIT_C, deit_small_to_convit_small_plus

LAID: tuple[Callable[[], Road], ...] = (
    resnet50_to_convnext_tiny,
    resnet200_to_convnext_base,
    resnet50_to_gresnet50,
    *VIT_P_TO_VIT_C,
    deit_small_to_convit_small_plus,
)


@cache
def _by_name() -> dict[str, Road]:
    return {road.name: road for road in (lay() for lay in LAID)}


def roads() -> list[str]:
    """The names of all roads."""
    return list(_by_name())


def road(name: str) -> Road:
    """The road of a name: an ordered tuple of `Step`.

    Raises:
        ValueError: for an unknown name, with all of them.
    """
    known = _by_name()
    if name not in known:
        raise ValueError(
            f"Unknown road; the nearest is {nearest(name, known)!r}, the roads are: "
            f"{', '.join(known)}. Received: road={name!r}"
        )
    return known[name]
