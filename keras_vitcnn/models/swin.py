"""Swin: a Transformer with a ConvNet's pyramid, attending inside windows that shift."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from keras_vitcnn.blocks import drop_path_rates, recomputed, transformer_block
from keras_vitcnn.blocks.transformer import dense, token_norm, window_attention
from keras_vitcnn.config import Pyramid, TransformerConfig, check_positive
from keras_vitcnn.layers import Conv2D, HostNormal, PatchMerging
from keras_vitcnn.models import trunk
from keras_vitcnn.models.adapt import scales_width
from keras_vitcnn.models.registry import variant

SOURCE = "arXiv:2103.14030, microsoft/Swin-Transformer"


@dataclass(frozen=True, kw_only=True)
class SwinConfig(Pyramid):
    """Stages of transformer blocks on maps; every second block attends in shifted windows.

    The defaults are Swin-T.
    """

    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks per stage
    widths: tuple[int, ...] = (96, 192, 384, 768)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7  # positions along a window's side
    mlp_ratio: int = 4
    stem_stride: int = 4  # pixels along a patch's side
    norm_epsilon: float = 1e-5
    image_size: int = 224  # px, that it is published for

    def __post_init__(self) -> None:
        check_positive(
            depths=self.depths,
            widths=self.widths,
            num_heads=self.num_heads,
            window=self.window,
            stem_stride=self.stem_stride,
            image_size=self.image_size,
        )
        if not len(self.depths) == len(self.widths) == len(self.num_heads):
            raise ValueError(
                "`depths`, `widths` and `num_heads` must have one entry per stage. Received: "
                f"depths={self.depths}, widths={self.widths}, num_heads={self.num_heads}"
            )
        for stage in range(len(self.depths)):
            self.encoder(stage)  # checks the rest

    def encoder(self, stage: int) -> TransformerConfig:
        """The blocks of a stage, which are a ViT's but for their attention."""
        return TransformerConfig(
            width=self.widths[stage],
            depth=self.depths[stage],
            num_heads=self.num_heads[stage],
            mlp_ratio=self.mlp_ratio,
            norm_epsilon=self.norm_epsilon,
        )

    def last_side(self, side: int) -> int:
        """Positions along the last map of `side` pixels: patches round down, merging up."""
        side //= self.stem_stride
        for stride in self.strides:
            side = -(-side // stride)
        return side


@trunk.features.register
def _(config: SwinConfig, x: Any, *, drop_path_rate: float, remat: bool) -> Any:
    rates = iter(drop_path_rates(drop_path_rate, sum(config.depths)))
    x = Conv2D(
        config.widths[0],
        config.stem_stride,
        config.stem_stride,
        data_format="channels_last",
        kernel_initializer=HostNormal(),
        name="stem_conv0",
    )(x)
    x = token_norm(x, config.encoder(0), "stem_conv0_norm")
    for stage, depth in enumerate(config.depths):
        encoder = config.encoder(stage)
        if stage:
            name = f"stage{stage}_downsample"
            x = token_norm(PatchMerging(name=f"{name}_merge")(x), encoder, f"{name}_norm")
            x = dense(x, encoder.width, name, use_bias=False)
        for index in range(depth):
            name = f"stage{stage}_block{index}"
            attention = partial(window_attention, window=config.window, shifted=index % 2 == 1)
            block = partial(
                transformer_block, cfg=encoder, rate=next(rates), name=name, attention=attention
            )
            x = recomputed(block, x, name) if remat else block(x)
    return token_norm(x, encoder, "norm")


@trunk.check_image.register
def _(config: SwinConfig, height: int | None, width: int | None) -> None:
    if any(side is None or side < config.stem_stride for side in (height, width)):
        raise ValueError(
            "`input_shape` must have a known height and width of at least "
            f"{config.stem_stride} px, the side of a patch. "
            f"Received: height={height}, width={width}"
        )


@scales_width
def _(config: SwinConfig, multiplier: float) -> Any:
    heads = tuple(max(1, round(count * multiplier)) for count in config.num_heads)
    head_dims = [w // h for w, h in zip(config.widths, config.num_heads, strict=True)]
    widths = tuple(count * dim for count, dim in zip(heads, head_dims, strict=True))
    return replace(config, num_heads=heads, widths=widths)


def swin(width: int, depths: tuple[int, ...], window: int = 7, image_size: int = 224) -> SwinConfig:
    """A Swin with `width` channels in its first stage, doubled at each further one, 32 per head."""
    widths = tuple(width * 2**stage for stage in range(len(depths)))
    return SwinConfig(
        depths=depths,
        widths=widths,
        num_heads=tuple(width // 32 for width in widths),
        window=window,
        image_size=image_size,
    )


DEEP = (2, 2, 18, 2)

SwinTiny = variant("SwinTiny", swin(96, (2, 2, 6, 2)), SOURCE, timm="swin_tiny_patch4_window7_224")
SwinSmall = variant("SwinSmall", swin(96, DEEP), SOURCE, timm="swin_small_patch4_window7_224")
SwinBase = variant("SwinBase", swin(128, DEEP), SOURCE, timm="swin_base_patch4_window7_224")
SwinLarge = variant("SwinLarge", swin(192, DEEP), SOURCE, timm="swin_large_patch4_window7_224")
SwinBase384 = variant(
    "SwinBase384", swin(128, DEEP, 12, 384), SOURCE, timm="swin_base_patch4_window12_384"
)
SwinLarge384 = variant(
    "SwinLarge384", swin(192, DEEP, 12, 384), SOURCE, timm="swin_large_patch4_window12_384"
)
