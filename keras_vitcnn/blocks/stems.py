"""From image to the first map, or to tokens."""

from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.blocks.parts import conv, kernel_initializer, norm
from keras_vitcnn.config import ConvNetConfig, TransformerConfig
from keras_vitcnn.layers import Conv2D, MaxPooling2D, Padding2D, PatchEmbedding

# Kernel of a stem of one convolution.
SINGLE = {"conv7": 7, "conv3": 3}
# Widths of the 3x3 convolutions of a stem as fractions of its output.
STEM_TIERS = {"deep": (2, 2, 1), "tiered": (4, 2, 1)}


def convnet_stem(x: Any, cfg: ConvNetConfig) -> Any:
    """Image (b, h, w, c) -> (b, h/s, w/s, stem width), s = stem stride, doubled by the pooling."""
    width = cfg.first_width
    activation = cfg.activation if cfg.activations != "one" else None
    if cfg.stem == "patch":
        x = Conv2D(
            width,
            cfg.stem_stride,
            cfg.stem_stride,
            use_bias=cfg.bias,
            data_format="channels_last",
            kernel_initializer=kernel_initializer(cfg),
            name="stem_conv0",
        )(x)
        if cfg.stem_norm:
            x = norm(x, cfg, "stem_conv0_norm")
            if activation:
                x = keras.layers.Activation(activation, name="stem_conv0_act")(x)
    elif cfg.stem in SINGLE:
        kernel, stride = SINGLE[cfg.stem], cfg.stem_stride
        x = conv(x, width, cfg, "stem_conv0", kernel=kernel, stride=stride, activation=activation)
    else:
        for i, part in enumerate(STEM_TIERS[cfg.stem]):
            stride = cfg.stem_stride if i == 0 else 1
            name = f"stem_conv{i}"
            x = conv(x, width // part, cfg, name, kernel=3, stride=stride, activation=activation)
    return max_pool(x, cfg) if cfg.pool else x


def max_pool(x: Any, cfg: ConvNetConfig) -> Any:
    """3x3 maximum pooling with stride 2, padded as the config's convolutions are."""
    if cfg.padding == "symmetric":
        x = Padding2D(1, lowest=True, name="stem_pool_pad")(x)
    padding = "valid" if cfg.padding == "symmetric" else "same"
    return MaxPooling2D(3, 2, padding, name="stem_pool")(x)


def tokens_stem(x: Any, cfg: TransformerConfig) -> Any:
    """Map (b, h, w, c) -> tokens (b, h/p * w/p, width), after ViT_C's convolutions if it has any.

    The convolutions are 3x3 without bias, each with batch norm and ReLU (arXiv:2106.14881).
    """
    layout = ConvNetConfig()  # batch norm, ReLU, symmetric padding: a ResNet's
    for i, (width, stride) in enumerate(zip(cfg.stem_widths, cfg.stem_strides, strict=True)):
        name = f"stem_conv{i}"
        x = conv(x, width, layout, name, kernel=3, stride=stride, activation="relu")
    return PatchEmbedding(cfg.width, cfg.patch_size, name="patch_embed")(x)
