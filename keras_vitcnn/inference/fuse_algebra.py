"""The algebra of folding: a convolution and the norms around it are one convolution.

All in float64, on kernels of the form (height, width, channels / groups, filters).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_vitcnn.layers import (
    BatchNormalization,
    ChannelAffine,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    GroupedConv2D,
    LayerScale,
    StandardizedConv2D,
)

BATCH_NORMS = (keras.layers.BatchNormalization, BatchNormalization)
DENSE = (keras.layers.Dense, Dense)
DEPTHWISE = (keras.layers.DepthwiseConv2D, DepthwiseConv2D)
SYMMETRIC = (DepthwiseConv2D, GroupedConv2D)  # pad themselves alike on both sides
# Subclasses of these may do anything, so only the types themselves are taken.
LINEAR = (
    *DENSE,
    keras.layers.Conv2D,
    Conv2D,
    GroupedConv2D,
    StandardizedConv2D,
    *DEPTHWISE,
)


@dataclass(frozen=True)
class Folding:
    """A convolution with everything that was folded into it.

    It puts out conv(x, kernel) + conv(1, shift) + bias, both convolutions padded with zeros.
    """

    kernel: np.ndarray  # (height, width, channels / groups, filters)
    shift: np.ndarray  # (height, width, filters): what each tap makes of a shift in front
    bias: np.ndarray  # (filters,)
    groups: int

    @classmethod
    def of(cls, layer: Any) -> Folding:
        """A layer of `LINEAR` as it is."""
        kernel, groups = _array(layer.kernel), getattr(layer, "groups", 1)
        if type(layer) is StandardizedConv2D:
            mean, variance = kernel.mean((0, 1, 2)), kernel.var((0, 1, 2))
            kernel = (kernel - mean) / np.sqrt(variance + layer.epsilon)
        elif type(layer) in DENSE:
            kernel = kernel[None, None]
        elif type(layer) in DEPTHWISE:  # (height, width, channels, multiplier)
            groups = kernel.shape[2]
            kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
        bias = _array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1])
        return cls(kernel, np.zeros((*kernel.shape[:2], kernel.shape[-1])), bias, groups)

    def behind(self, scale: np.ndarray, shift: np.ndarray) -> Folding:
        """With its output y made scale * y + shift; both (filters,)."""
        return replace(
            self,
            kernel=self.kernel * scale,
            shift=self.shift * scale,
            bias=self.bias * scale + shift,
        )

    def in_front(self, scale: np.ndarray, shift: np.ndarray) -> Folding:
        """With its input x made scale * x + shift; both (channels,)."""
        per_group = self.kernel.shape[-1] // self.groups

        def of_filters(values: np.ndarray) -> np.ndarray:
            """(channels,) -> (channels / groups, filters): the input channels of every filter."""
            return np.repeat(values.reshape(self.groups, -1).T, per_group, axis=1)

        return replace(
            self,
            kernel=self.kernel * of_filters(scale),
            shift=self.shift + (self.kernel * of_filters(shift)).sum(2),
        )

    def without_border(self) -> Folding:
        """The same for a convolution that is not padded: every tap always meets the shift."""
        bias = self.bias + self.shift.sum((0, 1))
        return replace(self, shift=np.zeros_like(self.shift), bias=bias)


def affine(layer: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, shift) of a norm or layer scale at inference; `None` for a layer that is more."""
    if type(layer) is LayerScale and layer.compute_dtype != "float16":  # which ends at 6e-8
        return _array(layer.gamma), np.zeros(layer.gamma.shape)
    if type(layer) is ChannelAffine:
        return _array(layer.gamma), _array(layer.beta)
    if type(layer) not in BATCH_NORMS or layer.renorm:
        return None
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    scale = 1 / np.sqrt(variance + layer.epsilon)
    if layer.gamma is not None:
        scale *= _array(layer.gamma)
    return scale, -mean * scale + (0 if layer.beta is None else _array(layer.beta))


def foldable(layer: Any) -> bool:
    """Whether a layer is a convolution or linear map with a kernel that can be rewritten."""
    if type(layer) not in LINEAR:
        return False
    # Quantised and low-rank adapted layers have more.
    plain = len(layer.weights) == 1 + layer.use_bias
    return plain and keras.backend.is_float_dtype(layer.kernel.dtype)


def activated(layer: Any) -> bool:
    """Whether a layer of `LINEAR` applies an activation of its own."""
    return layer.activation not in (None, keras.activations.linear)


def channel_axis(layer: Any, rank: int) -> int:
    """Of the inputs and outputs, `rank` axes, of a layer of `LINEAR`."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1


def padded(layer: Any) -> bool:
    """Whether a layer of `LINEAR` itself puts zeros around its input."""
    return getattr(layer, "padding", "valid") == "same" and max(layer.kernel_size) > 1


def border_options(layer: Any, zeros: int) -> dict[str, Any]:
    """The arguments of `BorderBias` for a convolution behind `zeros` rows and columns of zeros."""
    if type(layer) in DENSE:  # a 1x1 convolution
        return {"kernel_size": (1, 1), "padding": "valid", "zeros": zeros}
    options: dict[str, Any] = {"kernel_size": layer.kernel_size, "strides": layer.strides}
    if type(layer) not in SYMMETRIC:
        dilation = layer.dilation_rate
        return options | {"padding": layer.padding, "zeros": zeros, "dilation_rate": dilation}
    if getattr(layer, "asymmetric", False):
        return options | {"padding": "same", "zeros": zeros}
    return options | {"padding": "valid", "zeros": zeros + (layer.kernel_size[0] - 1) // 2}


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype("float64")
