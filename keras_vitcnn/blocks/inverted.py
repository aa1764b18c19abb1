"""The inverted residual of MobileNetV2, EfficientNet and MobileViT."""

from __future__ import annotations

from typing import Any

from keras_vitcnn.blocks.parts import conv, residual_sum, squeeze_excite
from keras_vitcnn.config import ConvNetConfig


def inverted_residual(
    x: Any,
    cfg: ConvNetConfig,
    width: int,
    *,
    expansion: int,
    kernel: int = 3,
    stride: int = 1,
    rate: float = 0.0,
    name: str,
) -> Any:
    """Widen, mix in space, weigh, narrow: (b, h, w, c) -> (b, h/stride, w/stride, width).

    Added to x where the shape stays, without an activation behind (arXiv:1801.04381, section 3.3).

    Args:
        cfg: its norm, activation, padding and squeeze-and-excitation.
        expansion: widened channels / c, where `residual_block` multiplies the channels going out;
            1 leaves the widening convolution out.
        kernel: of the depthwise convolution.
        rate: drop-path rate.
    """
    y, act = x, cfg.activation
    if expansion > 1:
        y = conv(y, expansion * x.shape[-1], cfg, f"{name}_pw1", activation=act)
    options: dict[str, Any] = {"kernel": kernel, "stride": stride, "mixer": "depthwise"}
    y = conv(y, y.shape[-1], cfg, f"{name}_dw", **options, activation=act)
    y = squeeze_excite(y, x.shape[-1], cfg, name)
    y = conv(y, width, cfg, f"{name}_pw2")
    if stride > 1 or x.shape[-1] != width:
        return y
    return residual_sum(x, y, rate, name)
