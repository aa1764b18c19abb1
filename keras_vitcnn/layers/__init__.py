"""Layers of the ViT and ConvNet families: one idea a file, plain arguments, any backend."""

from keras_vitcnn.layers.attention import MultiHeadSelfAttention
from keras_vitcnn.layers.batch_normalization import BatchNormalization
from keras_vitcnn.layers.border_bias import BorderBias
from keras_vitcnn.layers.channel_affine import ChannelAffine
from keras_vitcnn.layers.class_token import ClassToken
from keras_vitcnn.layers.convolution import (
    Conv2D,
    DepthwiseConv2D,
    GroupedConv2D,
    StandardizedConv2D,
)
from keras_vitcnn.layers.dense import Dense
from keras_vitcnn.layers.gated_attention import GatedPositionalSelfAttention
from keras_vitcnn.layers.global_response_normalization import GlobalResponseNormalization
from keras_vitcnn.layers.group_normalization import GroupNormalization
from keras_vitcnn.layers.image_normalization import ImageNormalization
from keras_vitcnn.layers.initializers import HostNormal
from keras_vitcnn.layers.layer_scale import LayerScale
from keras_vitcnn.layers.padding import Padding2D
from keras_vitcnn.layers.patch_embedding import PatchEmbedding
from keras_vitcnn.layers.patch_folding import FoldPatches, UnfoldPatches
from keras_vitcnn.layers.patch_merging import PatchMerging
from keras_vitcnn.layers.pooling import MaxPooling2D
from keras_vitcnn.layers.position_embedding import PositionEmbedding
from keras_vitcnn.layers.remat import Remat
from keras_vitcnn.layers.resize_map import ResizeMap
from keras_vitcnn.layers.squeeze_excitation import SqueezeExcitation
from keras_vitcnn.layers.stochastic_depth import StochasticDepth
from keras_vitcnn.layers.window_attention import WindowAttention
from keras_vitcnn.layers.window_shift import WindowShift, WindowUnshift

__all__ = [
    "BatchNormalization",
    "BorderBias",
    "ChannelAffine",
    "ClassToken",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "FoldPatches",
    "GatedPositionalSelfAttention",
    "GlobalResponseNormalization",
    "GroupNormalization",
    "GroupedConv2D",
    "HostNormal",
    "ImageNormalization",
    "LayerScale",
    "MaxPooling2D",
    "MultiHeadSelfAttention",
    "Padding2D",
    "PatchEmbedding",
    "PatchMerging",
    "PositionEmbedding",
    "Remat",
    "ResizeMap",
    "SqueezeExcitation",
    "StandardizedConv2D",
    "StochasticDepth",
    "UnfoldPatches",
    "WindowAttention",
    "WindowShift",
    "WindowUnshift",
]
