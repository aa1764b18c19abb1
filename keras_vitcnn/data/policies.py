"""Which operations an image gets, drawn per image: RandAugment and its relatives.

What is drawn is a list of operations and their values, which can be looked at without an image.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from keras_vitcnn.data import operations
from keras_vitcnn.data.keras_cv import KerasCV

Drawn = list[tuple[str, float]]  # (name of an operation, its value), one after another
Rng = np.random.Generator

GREY = (128, 128, 128)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Random operations for an image, and how the geometric ones among them treat pixels."""

    draw: Callable[[Rng], Drawn]
    interpolation: str = "bicubic"
    fill: tuple[int, int, int] | None = None  # black

    def __call__(self, image: Any, rng: Rng) -> Any:
        """An RGB Pillow image in, one of the same size out."""
        for name, value in self.draw(rng):
            image = operations.apply(
                image, name, value, interpolation=self.interpolation, fill=self.fill
            )
        return image


@cache
def policy(name: str) -> Callable[[Any, Rng], Any]:
    """A policy by its name: `"rand-m9-mstd0.5-inc1"`, `"auto"`, `"trivial-wide"`, `"3-augment"`.

    RandAugment is named as timm names it: `m`, the magnitude out of 10, and `mstd`, its standard
    deviation; `n` operations (2), each with the probability `p` (0.5); `inc1`, strengths that grow
    with the magnitude, the only kind here. `"keras-cv"` is that package's RandAugment.

    Raises:
        ValueError: for any other name.
        ImportError: for `"keras-cv"` where it isn't installed.
    """
    if name == "keras-cv":
        return KerasCV()
    if name.startswith("rand"):
        return _rand_augment(name)
    if name not in POLICIES:
        raise ValueError(
            "`policy` must be '' (none), a RandAugment such as 'rand-m9-mstd0.5-inc1', or one of "
            f"{sorted([*POLICIES, 'keras-cv'])}. Received: policy={name!r}"
        )
    return POLICIES[name]


def _either_way(value: float, rng: Rng) -> float:
    return -value if rng.random() < 0.5 else value


def _sign(most: float) -> Callable[[float, Rng], float]:
    return lambda level, rng: _either_way(level * most, rng)


def _factor(level: float, rng: Rng) -> float:
    return max(0.1, 1 + _either_way(0.9 * level, rng))


def _none(level: float, rng: Rng) -> float:
    return 0.0


# Strengths in timm's terms: a level in [0, 1] -> the operation's value.
COMMON: dict[str, Callable[[float, Rng], float]] = {
    "autocontrast": _none,
    "equalize": _none,
    "invert": _none,
    "rotate": _sign(30),
    "shear_x": _sign(0.3),
    "shear_y": _sign(0.3),
    "translate_x_rel": _sign(0.45),
    "translate_y_rel": _sign(0.45),
    "solarize_add": lambda level, rng: min(128, int(level * 110)),
}
INCREASING = COMMON | {
    "posterize": lambda level, rng: 4 - int(level * 4),
    "solarize": lambda level, rng: 256 - min(256, int(level * 256)),
    "color": _factor,
    "contrast": _factor,
    "brightness": _factor,
    "sharpness": _factor,
}
ORIGINAL = COMMON | {
    "posterize": lambda level, rng: int(level * 4) + 4,
    "solarize": lambda level, rng: min(256, int(level * 256)),
    **dict.fromkeys(
        ("color", "contrast", "brightness", "sharpness"), lambda level, rng: level * 1.8 + 0.1
    ),
}


def _rand_augment(name: str) -> Policy:
    """timm's RandAugment (arXiv:1909.13719), which leaves every operation out half of the time."""
    values = {"m": 10.0, "mstd": 0.0, "n": 2.0, "p": 0.5, "inc": 0.0}
    first, *parts = name.split("-")
    for part in parts:
        match = re.fullmatch(r"(mstd|inc|m|n|p)(\d+\.?\d*)", part)
        if match:
            values[match[1]] = float(match[2])
        else:
            first = ""
    if first != "rand" or values["inc"] != 1 or values["p"] > 1 or values["m"] > 10:
        raise ValueError(
            "`policy` of RandAugment must be 'rand' with m (up to 10), mstd, n, p (up to 1) and "
            f"inc1, such as 'rand-m9-mstd0.5-inc1'. Received: policy={name!r}"
        )
    names = list(INCREASING)

    def draw(rng: Rng) -> Drawn:
        drawn = []
        for index in rng.integers(len(names), size=int(values["n"])):
            if rng.random() < values["p"]:
                level = np.clip(rng.normal(values["m"], values["mstd"]), 0, 10) / 10
                drawn.append((names[index], INCREASING[names[index]](level, rng)))
        return drawn

    return Policy(draw=draw, fill=GREY)


# Pairs of (operation, probability, level of 10): the ImageNet policy of arXiv:1805.09501.
AUTO = """
posterize .4 8 rotate .6 9|solarize .6 5 autocontrast .6 5|equalize .8 8 equalize .6 3
posterize .6 7 posterize .6 6|equalize .4 7 solarize .2 4|equalize .4 4 rotate .8 8
solarize .6 3 equalize .6 7|posterize .8 5 equalize 1 2|rotate .2 3 solarize .6 8
equalize .6 8 posterize .4 6|rotate .8 8 color .4 0|rotate .4 9 equalize .6 2
equalize 0 7 equalize .8 8|invert .6 4 equalize 1 8|color .6 4 contrast 1 8
rotate .8 8 color 1 2|color .8 8 solarize .8 7|sharpness .4 7 invert .6 8
shear_x .6 5 equalize 1 9|color .4 0 equalize .6 3|equalize .4 7 solarize .2 4
solarize .6 5 autocontrast .6 5|invert .6 4 equalize 1 8|color .6 4 contrast 1 8
equalize .8 8 equalize .6 3
"""
AUTO_PAIRS = [pair.split() for pair in AUTO.strip().replace("\n", "|").split("|")]


def _auto(rng: Rng) -> Drawn:
    pair = AUTO_PAIRS[rng.integers(len(AUTO_PAIRS))]
    drawn = []
    for name, probability, level in (pair[:3], pair[3:]):
        if rng.random() < float(probability):
            drawn.append((name, ORIGINAL[name](float(level) / 10, rng)))
    return drawn


def _trivial_wide(rng: Rng) -> Drawn:
    """One operation at one of 31 strengths, of any size: arXiv:2103.10158, "wide" space."""
    name = TRIVIAL_WIDE[rng.integers(len(TRIVIAL_WIDE))]
    level = rng.integers(31) / 30
    if name in ("identity", "autocontrast", "equalize"):
        return [(name, 0.0)]
    if name == "posterize":
        return [(name, 8 - round(6 * level))]
    if name == "solarize":
        return [(name, 255 * (1 - level))]
    if name.startswith("translate"):
        return [(name, int(_either_way(32 * level, rng)))]
    if name == "rotate":
        return [(name, _either_way(135 * level, rng))]
    signed = _either_way(0.99 * level, rng)
    return [(name, signed if name.startswith("shear") else 1 + signed)]


TRIVIAL_WIDE = (
    *("identity", "autocontrast", "equalize", "posterize", "solarize", "rotate"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
    *("brightness", "color", "contrast", "sharpness"),
)


def _three(rng: Rng) -> Drawn:
    """Grey, solarized or blurred: 3-Augment of arXiv:2204.07118, without its colour jitter."""
    name = ("grey", "solarize", "blur")[rng.integers(3)]
    return [(name, {"grey": 0.0, "solarize": 128.0, "blur": rng.uniform(0.1, 2.0)}[name])]


POLICIES = {
    "auto": Policy(draw=_auto, fill=GREY),
    "trivial-wide": Policy(draw=_trivial_wide, interpolation="nearest"),
    "3-augment": Policy(draw=_three),
}
