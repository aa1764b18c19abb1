"""The residual block that spans ResNet to ConvNeXt, and the downsampling between stages."""

from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.blocks.parts import conv, kernel_initializer, norm, residual_sum, squeeze_excite
from keras_vitcnn.config import ConvNetConfig
from keras_vitcnn.layers import Conv2D, GlobalResponseNormalization


def residual_block(
    x: Any, cfg: ConvNetConfig, stage: int, stride: int, rate: float, name: str
) -> Any:
    """x + branch(x): (b, h, w, c) -> (b, h/stride, w/stride, outer width of the stage).

    The branch is two or three convolutions in the order that the config's shape gives.
    """
    narrow, wide = cfg.widths[stage], cfg.widths[stage] * cfg.expansion
    mixer = "dw" if cfg.mixer == "depthwise" else "conv"
    if cfg.shape == "basic":
        branch = [("conv1", narrow), ("conv2", narrow)]
    elif cfg.shape == "bottleneck":
        branch = [("pw1", narrow), (mixer, narrow), ("pw2", wide)]
    elif cfg.mixer_first:
        branch = [(mixer, x.shape[-1]), ("pw1", wide), ("pw2", narrow)]
    else:
        branch = [("pw1", wide), (mixer, wide), ("pw2", narrow)]

    summed = cfg.shortcut != "none" or (stride == 1 and x.shape[-1] == cfg.outer_width(stage))
    roles = [role for role, _ in branch]
    spatial_ones = [role for role in roles if role not in ("pw1", "pw2")]
    strided = spatial_ones[0] if cfg.stride_on == "mixer" else roles[0]
    y = x
    for position, (role, width) in enumerate(branch):
        spatial = role in spatial_ones
        last = position == len(branch) - 1
        before_last = position == len(branch) - 2
        y = conv(
            y,
            width,
            cfg,
            f"{name}_{role}",
            kernel=cfg.kernel if spatial else 1,
            stride=stride if role == strided else 1,
            mixer=cfg.mixer if spatial else "dense",
            normed=cfg.norms == "every" or role == mixer,
            zero_init=last and summed and cfg.norms == "every",
            activation=cfg.activation
            if before_last or (cfg.activations != "one" and not last)
            else None,
        )
        if before_last and cfg.response_norm:
            y = GlobalResponseNormalization(name=f"{name}_grn")(y)
        if before_last:
            y = squeeze_excite(y, x.shape[-1], cfg, name)
    if summed:
        x = project(x, cfg, cfg.outer_width(stage), stride, name)
        x = residual_sum(x, y, rate, name, cfg.layer_scale)
    else:
        x = y
    if cfg.activations == "every":
        x = keras.layers.Activation(cfg.activation, name=f"{name}_out")(x)
    return x


def project(x: Any, cfg: ConvNetConfig, width: int, stride: int, name: str) -> Any:
    """The shortcut: identity where the shape stays, else 1x1 strided, or pooled and then 1x1."""
    if stride == 1 and x.shape[-1] == width:
        return x
    if cfg.shortcut == "pool" and stride > 1:
        x = keras.layers.AveragePooling2D(
            stride, stride, "same", data_format="channels_last", name=f"{name}_shortcut_pool"
        )(x)
        stride = 1
    return conv(x, width, cfg, f"{name}_shortcut", stride=stride)


def downsample(x: Any, cfg: ConvNetConfig, stage: int) -> Any:
    """Norm, then a convolution whose kernel is the stage's stride (ConvNeXt)."""
    name = f"stage{stage}_downsample"
    stride = cfg.strides[stage]
    return Conv2D(
        cfg.outer_width(stage),
        stride,
        stride,
        use_bias=cfg.bias,
        data_format="channels_last",
        kernel_initializer=kernel_initializer(cfg),
        name=name,
    )(norm(x, cfg, f"{name}_norm"))
