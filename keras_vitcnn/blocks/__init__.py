"""Functional builders, tensor in and tensor out: stems, residual blocks, transformer blocks."""

from keras_vitcnn.blocks.convnet import downsample, residual_block
from keras_vitcnn.blocks.parts import conv, drop_path_rates, norm, recomputed, residual_sum
from keras_vitcnn.blocks.stems import convnet_stem, tokens_stem
from keras_vitcnn.blocks.transformer import transformer_block

__all__ = [
    "conv",
    "convnet_stem",
    "downsample",
    "drop_path_rates",
    "norm",
    "recomputed",
    "residual_block",
    "residual_sum",
    "tokens_stem",
    "transformer_block",
]
