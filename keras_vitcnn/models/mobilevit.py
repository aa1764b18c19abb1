"""MobileViT: MobileNetV2's stages with small Transformers inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from keras_vitcnn.blocks import (
    conv,
    convnet_stem,
    drop_path_rates,
    inverted_residual,
    mobilevit_block,
    recomputed,
)
from keras_vitcnn.config import ConvNetConfig, Pyramid, TransformerConfig, check_positive
from keras_vitcnn.models import trunk
from keras_vitcnn.models.adapt import scaled, scales_width
from keras_vitcnn.models.registry import variant

SOURCE = "arXiv:2110.02178, apple/ml-cvnets"


@dataclass(frozen=True, kw_only=True)
class MobileViTConfig(Pyramid):
    """Stages of inverted residuals, the last ones with a Transformer behind them.

    The defaults are MobileViT-S.
    """

    depths: tuple[int, ...] = (1, 3, 1, 1, 1)  # inverted residuals per stage
    widths: tuple[int, ...] = (32, 64, 96, 128, 160)  # channels between the blocks
    strides: tuple[int, ...] = (1, 2, 2, 2, 2)  # at the entrance of each stage
    expansion: int = 4  # widened channels / block's input
    stem_width: int = 16
    stem_stride: int = 2
    head_width: int = 640

    token_widths: tuple[int, ...] = (144, 192, 240)  # of the Transformers of the last stages
    token_depths: tuple[int, ...] = (2, 4, 3)  # their blocks
    num_heads: int = 4
    mlp_ratio: int = 2
    patch_size: int = 2  # positions along the side of a patch; tokens attend across patches
    norm_epsilon: float = 1e-5
    image_size: int = 256  # px, that it is published for

    def __post_init__(self) -> None:
        check_positive(
            depths=self.depths,
            widths=self.widths,
            strides=self.strides,
            expansion=self.expansion,
            stem_width=self.stem_width,
            stem_stride=self.stem_stride,
            head_width=self.head_width,
            token_depths=self.token_depths,
            image_size=self.image_size,
        )
        if not len(self.depths) == len(self.widths) == len(self.strides):
            raise ValueError(
                "`depths`, `widths` and `strides` must have one entry per stage. Received: "
                f"depths={self.depths}, widths={self.widths}, strides={self.strides}"
            )
        if not len(self.token_widths) == len(self.token_depths) <= len(self.depths):
            raise ValueError(
                "`token_widths` and `token_depths` must have one entry for each of the last "
                f"stages. Received: token_widths={self.token_widths}, "
                f"token_depths={self.token_depths}, depths={self.depths}"
            )
        for stage in range(len(self.depths)):
            self.encoder(stage)  # checks the rest

    @property
    def layout(self) -> ConvNetConfig:
        """How each of its convolutions is made."""
        return ConvNetConfig(
            stem="conv3",
            stem_width=self.stem_width,
            stem_stride=self.stem_stride,
            pool=False,
            activation="silu",
            norm_epsilon=self.norm_epsilon,
        )

    def encoder(self, stage: int) -> TransformerConfig | None:
        """The Transformer of a stage, `None` for a stage without one."""
        index = stage - len(self.depths) + len(self.token_widths)
        if index < 0:
            return None
        return TransformerConfig(
            width=self.token_widths[index],
            depth=self.token_depths[index],
            num_heads=self.num_heads,
            mlp_ratio=self.mlp_ratio,
            patch_size=self.patch_size,
            activation="silu",
            norm_epsilon=self.norm_epsilon,
        )


@trunk.features.register
def _(config: MobileViTConfig, x: Any, *, drop_path_rate: float, remat: bool) -> Any:
    layout = config.layout
    blocks = sum(config.depths) + sum(config.token_depths)
    rates = iter(drop_path_rates(drop_path_rate, blocks))
    x = convnet_stem(x, layout)
    for stage, depth in enumerate(config.depths):
        for index in range(depth):
            name = f"stage{stage}_block{index}"
            block = partial(
                inverted_residual,
                cfg=layout,
                width=config.widths[stage],
                expansion=config.expansion,
                stride=config.strides[stage] if index == 0 else 1,
                rate=next(rates),
                name=name,
            )
            x = recomputed(block, x, name) if remat else block(x)
        encoder = config.encoder(stage)
        if encoder:
            name = f"stage{stage}_vit"
            own = [next(rates) for _ in range(encoder.depth)]
            block = partial(mobilevit_block, cfg=layout, encoder=encoder, rates=own, name=name)
            x = recomputed(block, x, name) if remat else block(x)
    return conv(x, config.head_width, layout, "head_conv", activation=layout.activation)


@trunk.check_image.register
def _(config: MobileViTConfig, height: int | None, width: int | None) -> None:
    if height is None or width is None:
        raise ValueError(
            "`input_shape` must have a known height and width; any size will do. "
            f"Received: height={height}, width={width}"
        )


@scales_width
def _(config: MobileViTConfig, multiplier: float) -> Any:
    step = 2 * config.num_heads
    return replace(
        config,
        widths=tuple(scaled(width, multiplier) for width in config.widths),
        token_widths=tuple(scaled(width, multiplier, step) for width in config.token_widths),
        stem_width=scaled(config.stem_width, multiplier),
        head_width=scaled(config.head_width, multiplier),
    )


S = MobileViTConfig()
XS = replace(S, widths=(32, 48, 64, 80, 96), token_widths=(96, 120, 144), head_width=384)
XXS = replace(
    XS, widths=(16, 24, 48, 64, 80), token_widths=(64, 80, 96), head_width=320, expansion=2
)

MobileViTXXS = variant("MobileViTXXS", XXS, SOURCE, timm="mobilevit_xxs")
MobileViTXS = variant("MobileViTXS", XS, SOURCE, timm="mobilevit_xs")
MobileViTS = variant("MobileViTS", S, SOURCE, timm="mobilevit_s")
