"""What every block is made of: one convolution, one norm, one residual sum, one drop-path rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_vitcnn.config import ConvNetConfig
from keras_vitcnn.layers import (
    BatchNormalization,
    ChannelAffine,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    GroupedConv2D,
    GroupNormalization,
    HostNormal,
    LayerScale,
    Padding2D,
    Remat,
    SqueezeExcitation,
    StandardizedConv2D,
    StochasticDepth,
)


def kernel_initializer(cfg: ConvNetConfig) -> keras.Initializer:
    """He's, which batch statistics expect, or with layer norm ConvNeXt's deviation of 0.02."""
    return HostNormal(0.02 if cfg.norm == "layer" else None)


def drop_path_rates(rate: float, depth: int, schedule: str = "linear") -> list[float]:
    """The drop rate of each of `depth` blocks.

    Args:
        schedule: `"linear"` from 0 to `rate`, `"open"` likewise with `rate` one block beyond the
            last (EfficientNet), or `"constant"`.
    """
    if schedule == "constant":
        return [rate] * depth
    if schedule == "open":
        return [rate * block / depth for block in range(depth)]
    return [float(r) for r in np.linspace(0, rate, depth)]


def norm(x: Any, cfg: ConvNetConfig, name: str, zero_init: bool = False) -> Any:
    """The config's norm over channels; `zero_init` starts a residual branch as identity."""
    gamma = "zeros" if zero_init else "ones"
    if cfg.norm == "batch":
        layer = BatchNormalization(
            momentum=cfg.norm_momentum,
            epsilon=cfg.epsilon,
            gamma_initializer=gamma,
            name=name,
        )
    elif cfg.norm == "layer":
        layer = keras.layers.LayerNormalization(epsilon=cfg.epsilon, name=name)
    elif cfg.norm == "group":
        layer = GroupNormalization(epsilon=cfg.epsilon, gamma_initializer=gamma, name=name)
    else:  # split: its statistics were taken before the convolution
        layer = ChannelAffine(gamma, name=name)
    return layer(x)


def conv(
    x: Any,
    width: int,
    cfg: ConvNetConfig,
    name: str,
    *,
    kernel: int = 1,
    stride: int = 1,
    mixer: str = "dense",
    normed: bool = True,
    zero_init: bool = False,
    activation: str | None = None,
) -> Any:
    """A convolution with its norm and activation: (b, h, w, c) -> (b, h/stride, w/stride, width).

    Args:
        mixer: `"dense"`, `"grouped"` (as the config says) or `"depthwise"` (`width` is then c).
        normed: whether `cfg.norm` follows (or, split, surrounds) the convolution.
        zero_init: whether that norm's gain starts at zero.
        activation: applied last; `None` for a linear output.
    """
    if normed and cfg.norm == "split":
        x = BatchNormalization(
            momentum=cfg.norm_momentum,
            epsilon=cfg.epsilon,
            center=False,
            scale=False,
            name=f"{name}_whiten",
        )(x)
    own_activation = None if normed else activation
    options: dict[str, Any] = {
        "use_bias": cfg.bias,
        "activation": own_activation,
        "name": name,
    }
    if mixer == "depthwise":
        init = {"depthwise_initializer": kernel_initializer(cfg)}
        asymmetric = cfg.padding == "same"
        x = DepthwiseConv2D(kernel, stride, asymmetric=asymmetric, **init, **options)(x)
    else:
        options["kernel_initializer"] = kernel_initializer(cfg)
        if mixer == "grouped":
            groups = width // cfg.group_width if cfg.group_width else cfg.groups
            x = GroupedConv2D(width, kernel, stride, groups=groups, **options)(x)
        elif kernel == stride == 1 and not cfg.weight_standardization:
            x = Dense(width, **options)(x)
        else:
            x = _dense_conv(x, width, cfg, kernel, stride, options)
    if normed:
        x = norm(x, cfg, f"{name}_norm", zero_init)
        if activation:
            x = keras.layers.Activation(activation, name=f"{name}_act")(x)
    return x


def _dense_conv(
    x: Any, width: int, cfg: ConvNetConfig, kernel: int, stride: int, options: dict[str, Any]
) -> Any:
    layer = StandardizedConv2D if cfg.weight_standardization else Conv2D
    padding = "same"
    if stride > 1 and cfg.padding == "symmetric":
        padding = "valid"
        if kernel > 1:
            x = Padding2D((kernel - 1) // 2, name=f"{options['name']}_pad")(x)
    return layer(width, kernel, stride, padding, data_format="channels_last", **options)(x)


def residual_sum(
    x: Any, branch: Any, rate: float, name: str, layer_scale: float | None = None, suffix: str = ""
) -> Any:
    """x + drop_path(layer_scale(branch)).

    Drop path is a layer at every rate: Keras stores weights in the order of the graph's layers, so
    a file saved at one rate fits a model built with another.
    """
    if layer_scale is not None:
        branch = LayerScale(layer_scale, name=f"{name}_scale{suffix}")(branch)
    branch = StochasticDepth(rate, name=f"{name}_drop{suffix}")(branch)
    return keras.layers.Add(name=f"{name}_add{suffix}")([x, branch])


def squeeze_excite(x: Any, block_input_width: int, cfg: ConvNetConfig, name: str) -> Any:
    """Weigh the channels of x by the pooled map, through a bottleneck of the config's width."""
    if cfg.squeeze is None:
        return x
    hidden = max(1, int(cfg.squeeze * block_input_width))
    return SqueezeExcitation(hidden, cfg.activation, name=f"{name}_se")(x)


def recomputed(block: Callable[[Any], Any], x: Any, name: str) -> Any:
    """Apply a block so that its activations are computed again in the backward pass."""
    inputs = keras.Input(batch_shape=x.shape, dtype=x.dtype)
    return Remat(keras.Model(inputs, block(inputs), name=name), name=f"{name}_remat")(x)
