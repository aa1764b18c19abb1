"""Stages of inverted residuals: the trunk of MobileNetV2 and EfficientNet, and MobileNetV2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from keras_vitcnn.blocks import conv, convnet_stem, drop_path_rates, inverted_residual, recomputed
from keras_vitcnn.config import ConvNetConfig, Pyramid, check_positive
from keras_vitcnn.models import trunk
from keras_vitcnn.models.adapt import scaled, scales_width
from keras_vitcnn.models.registry import variant


@dataclass(frozen=True, kw_only=True)
class MobileNetConfig(Pyramid):
    """A 3x3 stem, stages of inverted residuals, a 1x1 convolution in front of the pooling.

    A space of its own: unlike a `ConvNetConfig` its kernels and expansions differ from stage to
    stage, and its blocks widen what comes in, not what goes out. The defaults are MobileNetV2
    (arXiv:1801.04381, table 2).
    """

    depths: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1)  # blocks per stage
    widths: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)  # channels between the blocks
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)  # at the entrance of each stage
    kernels: tuple[int, ...] = (3, 3, 3, 3, 3, 3, 3)  # of the depthwise convolutions
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)  # widened channels / block's input
    stem_width: int = 32
    stem_stride: int = 2
    head_width: int = 1280

    squeeze: float | None = None  # squeeze-and-excitation: its hidden width / block's input
    activation: str = "relu6"
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    padding: str = "symmetric"  # PyTorch's; "same" is TensorFlow's, asymmetric at stride 2
    image_size: int = 224  # px, that it is published for

    def __post_init__(self) -> None:
        check_positive(
            depths=self.depths,
            widths=self.widths,
            strides=self.strides,
            kernels=self.kernels,
            expansions=self.expansions,
            stem_width=self.stem_width,
            stem_stride=self.stem_stride,
            head_width=self.head_width,
            image_size=self.image_size,
        )
        per_stage = (self.depths, self.widths, self.strides, self.kernels, self.expansions)
        if len({len(entries) for entries in per_stage}) > 1:
            raise ValueError(
                "`depths`, `widths`, `strides`, `kernels` and `expansions` must have one entry per "
                f"stage. Received: depths={self.depths}, widths={self.widths}, "
                f"strides={self.strides}, kernels={self.kernels}, expansions={self.expansions}"
            )
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"`kernels` must be odd. Received: kernels={self.kernels}")
        _ = self.layout  # which checks the choices that it shares

    @property
    def layout(self) -> ConvNetConfig:
        """How each of its convolutions is made."""
        return ConvNetConfig(
            stem="conv3",
            stem_width=self.stem_width,
            stem_stride=self.stem_stride,
            pool=False,
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            norm_momentum=self.norm_momentum,
            padding=self.padding,
            squeeze=self.squeeze,
        )


@trunk.features.register
def _(config: MobileNetConfig, x: Any, *, drop_path_rate: float, remat: bool) -> Any:
    layout = config.layout
    rates = iter(drop_path_rates(drop_path_rate, sum(config.depths), "open"))
    x = convnet_stem(x, layout)
    for stage, depth in enumerate(config.depths):
        for index in range(depth):
            name = f"stage{stage}_block{index}"
            block = partial(
                inverted_residual,
                cfg=layout,
                width=config.widths[stage],
                expansion=config.expansions[stage],
                kernel=config.kernels[stage],
                stride=config.strides[stage] if index == 0 else 1,
                rate=next(rates),
                name=name,
            )
            x = recomputed(block, x, name) if remat else block(x)
    return conv(x, config.head_width, layout, "head_conv", activation=config.activation)


@scales_width
def _(config: MobileNetConfig, multiplier: float) -> Any:
    return replace(
        config,
        widths=tuple(scaled(width, multiplier) for width in config.widths),
        stem_width=scaled(config.stem_width, multiplier),
        head_width=scaled(config.head_width, multiplier),
    )


MobileNetV2 = variant(
    "MobileNetV2",
    MobileNetConfig(),
    "arXiv:1801.04381, batch-norm epsilon and padding as in torchvision",
    timm="mobilenetv2_100",
)
