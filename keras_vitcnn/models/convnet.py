"""The ConvNet trunk: stem, stages, pooled classifier (see `ConvNetConfig`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from keras_vitcnn.blocks import (
    conv,
    convnet_stem,
    downsample,
    drop_path_rates,
    norm,
    pool_map,
    recomputed,
    residual_block,
)
from keras_vitcnn.config import ConvNetConfig
from keras_vitcnn.models import trunk


def stages(x: Any, cfg: ConvNetConfig, drop_path_rate: float = 0.0, remat: bool = False) -> Any:
    """Image (b, h, w, c) -> the last map (b, h/s, w/s, outer width of the last stage or head)."""
    rates = iter(drop_path_rates(drop_path_rate, sum(cfg.depths)))
    between = cfg.downsample == "between"
    x = convnet_stem(x, cfg)
    for stage, depth in enumerate(cfg.depths):
        if between and (cfg.strides[stage] > 1 or x.shape[-1] != cfg.outer_width(stage)):
            x = downsample(x, cfg, stage)
        for index in range(depth):
            name = f"stage{stage}_block{index}"
            stride = cfg.strides[stage] if index == 0 and not between else 1
            block = partial(
                residual_block, cfg=cfg, stage=stage, stride=stride, rate=next(rates), name=name
            )
            x = recomputed(block, x, name) if remat else block(x)
    if cfg.head_width:
        x = conv(x, cfg.head_width, cfg, "head_conv", activation=cfg.activation)
    elif cfg.head_activation:
        x = keras.layers.Activation(cfg.activation, name="head_act")(x)
    return x


@trunk.features.register
def _(config: ConvNetConfig, x: Any, *, drop_path_rate: float, remat: bool) -> Any:
    return stages(x, config, drop_path_rate, remat)


@trunk.pooled.register
def _(config: ConvNetConfig, x: Any, pooling: str) -> Any:
    x = pool_map(x, pooling)
    return norm(x, config, "head_norm") if config.downsample == "between" else x


@trunk.check_image.register
def _(config: ConvNetConfig, height: int | None, width: int | None) -> None:
    # Padded convolutions round up, so only a patch stem and a norm-and-convolve can lose a map.
    padded = config.stem != "patch" and config.downsample == "in_block"
    smallest = 1 if padded else config.total_stride
    if any(side is not None and side < smallest for side in (height, width)):
        raise ValueError(
            f"`input_shape` must be at least {smallest} px on each side, the model's total stride; "
            "use a smaller `stem_stride` for smaller images. "
            f"Received: height={height}, width={width}"
        )
