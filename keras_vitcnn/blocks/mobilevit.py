"""The block of MobileViT: a convolution, a small Transformer, and both put together."""

from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.blocks.parts import conv
from keras_vitcnn.blocks.transformer import token_norm, transformer_block
from keras_vitcnn.config import ConvNetConfig, TransformerConfig
from keras_vitcnn.layers import FoldPatches, UnfoldPatches


def mobilevit_block(
    x: Any, cfg: ConvNetConfig, encoder: TransformerConfig, rates: list[float], name: str
) -> Any:
    """Local, then global, then both: (b, h, w, c) both ways (arXiv:2110.02178, section 3.1).

    Args:
        cfg: norm and activation of the convolutions.
        encoder: width, heads and patch size of the transformer in between.
        rates: drop-path rate of each of its blocks.
    """
    width, act = x.shape[-1], cfg.activation
    y = conv(x, width, cfg, f"{name}_local", kernel=3, activation=act)
    y = conv(y, encoder.width, cfg, f"{name}_in", normed=False)
    size = y.shape[1], y.shape[2]
    y = UnfoldPatches(encoder.patch_size, name=f"{name}_unfold")(y)
    for index, rate in enumerate(rates):
        y = transformer_block(y, encoder, rate, f"{name}_block{index}")
    y = token_norm(y, encoder, f"{name}_norm")
    y = FoldPatches(size, encoder.patch_size, name=f"{name}_fold")(y)
    y = conv(y, width, cfg, f"{name}_out", activation=act)
    y = keras.layers.Concatenate(name=f"{name}_concat")([x, y])
    return conv(y, width, cfg, f"{name}_fuse", kernel=3, activation=act)
