"""BiT: a pre-activation ResNet with group normalization and standardized weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from keras_vitcnn.blocks import activated, conv, drop_path_rates, preactivation_block, recomputed
from keras_vitcnn.config import ConvNetConfig, Pyramid, check_positive, check_positive_or_none
from keras_vitcnn.layers import MaxPooling2D, Padding2D
from keras_vitcnn.models import trunk
from keras_vitcnn.models.adapt import scaled, scales_width
from keras_vitcnn.models.registry import variant

SOURCE = "arXiv:1912.11370, google-research/big_transfer"


@dataclass(frozen=True, kw_only=True)
class BiTConfig(Pyramid):
    """A ResNet whose norms and activations stand in front of its convolutions.

    Not a `ConvNetConfig`: stem, blocks, shortcuts and head all differ from those of the road from
    ResNet to ConvNeXt. The defaults are R50x1.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks per stage
    widths: tuple[int, ...] = (64, 128, 256, 512)  # narrow side of a stage's blocks
    expansion: int = 4  # wide side / narrow side
    strides: tuple[int, ...] = (1, 2, 2, 2)  # at the entrance of each stage
    stem_width: int = 64
    stem_stride: int = 2
    pool: bool = True  # 3x3 maximum pooling, stride 2, after the stem
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_positive(stem_width=self.stem_width)
        check_positive_or_none(norm_epsilon=self.norm_epsilon)
        _ = self.layout  # which checks what it shares

    @property
    def layout(self) -> ConvNetConfig:
        """How each of its convolutions is made, and how its blocks are shaped."""
        return ConvNetConfig(
            depths=self.depths,
            widths=self.widths,
            expansion=self.expansion,
            strides=self.strides,
            stem_width=self.stem_width,
            stem_stride=self.stem_stride,
            pool=self.pool,
            norm="group",
            norm_epsilon=self.norm_epsilon,
            weight_standardization=True,
        )


@trunk.features.register
def _(config: BiTConfig, x: Any, *, drop_path_rate: float, remat: bool) -> Any:
    layout = config.layout
    width, stride = config.stem_width, config.stem_stride
    x = conv(x, width, layout, "stem_conv0", kernel=7, stride=stride, normed=False)
    if config.pool:
        # With zeros, though what it pools may be negative: the published weights were trained so.
        x = Padding2D(1, name="stem_pool_pad")(x)
        x = MaxPooling2D(3, 2, name="stem_pool")(x)
    rates = iter(drop_path_rates(drop_path_rate, sum(config.depths)))
    for stage, depth in enumerate(config.depths):
        for index in range(depth):
            name = f"stage{stage}_block{index}"
            block = partial(
                preactivation_block,
                cfg=layout,
                stage=stage,
                stride=config.strides[stage] if index == 0 else 1,
                rate=next(rates),
                name=name,
            )
            x = recomputed(block, x, name) if remat else block(x)
    return activated(x, layout, "head")


@scales_width
def _(config: BiTConfig, multiplier: float) -> Any:
    return replace(  # group normalization has 32 groups
        config,
        widths=tuple(scaled(width, multiplier, 32) for width in config.widths),
        stem_width=scaled(config.stem_width, multiplier, 32),
    )


def bit(depths: tuple[int, ...], width_factor: int) -> BiTConfig:
    """A BiT with `width_factor` times a ResNet's channels everywhere."""
    return BiTConfig(
        depths=depths,
        widths=tuple(width_factor * width for width in (64, 128, 256, 512)),
        stem_width=width_factor * 64,
    )


R50, R101, R152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)

BiTR50x1 = variant("BiTR50x1", bit(R50, 1), SOURCE, timm="resnetv2_50x1_bit")
BiTR50x3 = variant("BiTR50x3", bit(R50, 3), SOURCE, timm="resnetv2_50x3_bit")
BiTR101x1 = variant("BiTR101x1", bit(R101, 1), SOURCE, timm="resnetv2_101x1_bit")
BiTR101x3 = variant("BiTR101x3", bit(R101, 3), SOURCE, timm="resnetv2_101x3_bit")
BiTR152x4 = variant("BiTR152x4", bit(R152, 4), SOURCE, timm="resnetv2_152x4_bit")
