"""Functional builders, tensor in and tensor out: stems, residual blocks, transformer blocks."""

from keras_vitcnn.blocks.convnet import downsample, residual_block
from keras_vitcnn.blocks.heads import classifier, pool_map
from keras_vitcnn.blocks.inverted import inverted_residual
from keras_vitcnn.blocks.mobilevit import mobilevit_block
from keras_vitcnn.blocks.parts import (
    conv,
    drop_path_rates,
    norm,
    recomputed,
    residual_sum,
    squeeze_excite,
)
from keras_vitcnn.blocks.preactivation import activated, preactivation_block
from keras_vitcnn.blocks.stems import convnet_stem, tokens_stem
from keras_vitcnn.blocks.transformer import transformer_block

__all__ = [
    "activated",
    "classifier",
    "conv",
    "convnet_stem",
    "downsample",
    "drop_path_rates",
    "inverted_residual",
    "mobilevit_block",
    "norm",
    "pool_map",
    "preactivation_block",
    "recomputed",
    "residual_block",
    "residual_sum",
    "squeeze_excite",
    "tokens_stem",
    "transformer_block",
]
