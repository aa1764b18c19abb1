"""Numerics that Keras lacks or lowers badly."""

from keras_vitcnn.ops.activation import gelu
from keras_vitcnn.ops.convolution import conv2d, depthwise_conv2d, grouped_conv2d
from keras_vitcnn.ops.linear_map import linear
from keras_vitcnn.ops.lowerings import lowering
from keras_vitcnn.ops.pooling import max_pool2d
from keras_vitcnn.ops.resample import (
    bilinear_matrix,
    resize_bilinear,
    resize_grid,
    resize_patch_kernel,
)

__all__ = [
    "bilinear_matrix",
    "conv2d",
    "depthwise_conv2d",
    "gelu",
    "grouped_conv2d",
    "linear",
    "lowering",
    "max_pool2d",
    "resize_bilinear",
    "resize_grid",
    "resize_patch_kernel",
]
