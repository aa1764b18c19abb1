"""The pre-activation residual block of BiT (ResNet-V2)."""

from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.blocks.parts import conv, norm, residual_sum
from keras_vitcnn.config import ConvNetConfig


def preactivation_block(
    x: Any, cfg: ConvNetConfig, stage: int, stride: int, rate: float, name: str
) -> Any:
    """x + branch(x), norms and activations in front of the convolutions and none behind the sum.

    (b, h, w, c) -> (b, h/stride, w/stride, outer width of the stage); a projected shortcut starts
    from the activated input (arXiv:1603.05027; arXiv:1912.11370).
    """
    narrow, wide = cfg.widths[stage], cfg.outer_width(stage)
    y = shortcut = x
    for role, width in (("pw1", narrow), ("conv", narrow), ("pw2", wide)):
        spatial = role == "conv"
        y = activated(y, cfg, f"{name}_{role}")
        if role == "pw1" and (stride > 1 or x.shape[-1] != wide):
            shortcut = conv(y, wide, cfg, f"{name}_shortcut", stride=stride, normed=False)
        y = conv(
            y,
            width,
            cfg,
            f"{name}_{role}",
            kernel=cfg.kernel if spatial else 1,
            stride=stride if spatial else 1,
            normed=False,
        )
    return residual_sum(shortcut, y, rate, name)


def activated(x: Any, cfg: ConvNetConfig, name: str) -> Any:
    """The config's norm and activation."""
    x = norm(x, cfg, f"{name}_norm")
    return keras.layers.Activation(cfg.activation, name=f"{name}_act")(x)
