"""RegNetY and RegNetZ: a rule that produces points of `ConvNetConfig`."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import numpy as np

from keras_vitcnn.config import ConvNetConfig
from keras_vitcnn.models.registry import variant

SOURCE = "arXiv:2003.13678, facebookresearch/pycls"
Z = "arXiv:2103.06877, facebookresearch/ClassyVision"

REGNET_Y = ConvNetConfig(
    expansion=1,
    strides=(2, 2, 2, 2),
    stem="conv3",
    stem_width=32,
    pool=False,
    mixer="grouped",
    squeeze=0.25,
)
# Wide in the middle, nothing but a plain sum outside, and no sum where the shape changes.
REGNET_Z = replace(
    REGNET_Y,
    shape="inverted",
    expansion=4,
    shortcut="none",
    activation="silu",
    activations="branch",
)


def regnet(
    start: ConvNetConfig,
    initial_width: int,
    slope: float,
    multiplier: float,
    depth: int,
    group_width: int,
) -> ConvNetConfig:
    """`start` with stages from the quantized line of widths, one per block (section 3.3).

    Block j wants initial_width + slope * j channels; it gets the nearest power of `multiplier`
    times initial_width, in multiples of 8. Blocks of equal width are a stage, whose width is then
    fitted to whole groups.
    """
    wanted = initial_width + slope * np.arange(depth)
    powers = np.round(np.log(wanted / initial_width) / np.log(multiplier))
    blocks = np.round(initial_width * multiplier**powers / 8) * 8
    stages = [(int(width), len(list(run))) for width, run in groupby(blocks)]
    inner = start.expansion if start.shape == "inverted" else 1
    widths = [round(width * inner / group_width) * group_width // inner for width, _ in stages]
    return replace(
        start,
        depths=tuple(length for _, length in stages),
        widths=tuple(widths),
        group_width=group_width,
    )


def regnet_y(
    initial_width: int, slope: float, multiplier: float, depth: int, group_width: int
) -> ConvNetConfig:
    """A ResNet without bottleneck, with groups of one width and squeeze-and-excitation."""
    return regnet(REGNET_Y, initial_width, slope, multiplier, depth, group_width)


def regnet_z(
    initial_width: int, slope: float, multiplier: float, depth: int, group_width: int
) -> ConvNetConfig:
    """Its inverted form, four times as wide in the middle."""
    return regnet(REGNET_Z, initial_width, slope, multiplier, depth, group_width)


RegNetY002 = variant("RegNetY002", regnet_y(24, 36.44, 2.49, 13, 8), SOURCE, timm="regnety_002")
RegNetY004 = variant("RegNetY004", regnet_y(48, 27.89, 2.09, 16, 8), SOURCE, timm="regnety_004")
RegNetY006 = variant("RegNetY006", regnet_y(48, 32.54, 2.32, 15, 16), SOURCE, timm="regnety_006")
RegNetY008 = variant("RegNetY008", regnet_y(56, 38.84, 2.4, 14, 16), SOURCE, timm="regnety_008")
RegNetY016 = variant("RegNetY016", regnet_y(48, 20.71, 2.65, 27, 24), SOURCE, timm="regnety_016")
RegNetY032 = variant("RegNetY032", regnet_y(80, 42.63, 2.66, 21, 24), SOURCE, timm="regnety_032")
RegNetY040 = variant("RegNetY040", regnet_y(96, 31.41, 2.24, 22, 64), SOURCE, timm="regnety_040")
RegNetY064 = variant("RegNetY064", regnet_y(112, 33.22, 2.27, 25, 72), SOURCE, timm="regnety_064")
RegNetY080 = variant("RegNetY080", regnet_y(192, 76.82, 2.19, 17, 56), SOURCE, timm="regnety_080")
RegNetY120 = variant("RegNetY120", regnet_y(168, 73.36, 2.37, 19, 112), SOURCE, timm="regnety_120")
RegNetY160 = variant("RegNetY160", regnet_y(200, 106.23, 2.48, 18, 112), SOURCE, timm="regnety_160")
RegNetY320 = variant("RegNetY320", regnet_y(232, 115.89, 2.53, 20, 232), SOURCE, timm="regnety_320")

Z005, Z040 = regnet_z(16, 10.7, 2.51, 21, 4), regnet_z(48, 14.5, 2.226, 28, 8)
RegNetZ005 = variant("RegNetZ005", replace(Z005, head_width=1024), Z, timm="regnetz_005")
# timm activates the last map; ClassyVision, whose name of the same network is Z-4GF, does not. The
# models of the published tables had a convolution of unpublished width there, with the million
# parameters that these lack.
RegNetZ040 = variant("RegNetZ040", replace(Z040, head_activation=True), Z, timm="regnetz_040")
RegNetZ4GF = variant("RegNetZ4GF", Z040, Z, alias="regnetz_4gf")
