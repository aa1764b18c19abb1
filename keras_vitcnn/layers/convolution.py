"""Keras' convolution layers with PyTorch's symmetric padding and this library's lowerings.

All take (b, h, w, c) and give (b, ceil(h / strides), ceil(w / strides), filters).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops import conv2d, depthwise_conv2d, grouped_conv2d


def _check_odd(kernel_size: tuple[int, ...]) -> None:
    if any(size % 2 == 0 for size in kernel_size):
        raise ValueError(
            f"`kernel_size` must be odd to be padded alike. Received: kernel_size={kernel_size}"
        )


@register
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`, channels last, in the fastest form.

    Args:
        filters, kernel_size, strides, padding, **kwargs: as of the Keras layer, whose own form runs
            where kernels or strides are not square, and with groups or dilation. `data_format` is
            fixed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["data_format"] = "channels_last"
        super().__init__(*args, **kwargs)

    def call(self, inputs: Any) -> Any:
        square = len(set(self.kernel_size)) == len(set(self.strides)) == 1
        if not square or self.groups > 1 or set(self.dilation_rate) != {1}:
            return super().call(inputs)
        kernel = self._prepared(self.kernel, inputs.dtype)
        y = conv2d(inputs, kernel, self.strides[0], self.padding, self.bias)
        return self.activation(y) if self.activation else y

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, self._prepared(kernel, inputs.dtype))

    def _prepared(self, kernel: Any, dtype: Any) -> Any:
        return kernel


@register
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D`, channels last, padded symmetrically, in the fastest form.

    Args:
        kernel_size: odd.
        strides: along both axes.
        asymmetric: pad as TensorFlow's "same" does instead.
        **kwargs: as of the Keras layer; `padding` and `data_format` are fixed.
    """

    def __init__(
        self, kernel_size: int, strides: int = 1, asymmetric: bool = False, **kwargs: Any
    ) -> None:
        kwargs |= {"padding": "same", "data_format": "channels_last"}
        super().__init__(kernel_size, strides, **kwargs)
        self.asymmetric = asymmetric
        _check_odd(self.kernel_size)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        strides, bias = self.strides[0], self.bias
        y = depthwise_conv2d(inputs, self.kernel, strides, self.asymmetric, bias, training)
        return self.activation(y) if self.activation else y

    def get_config(self) -> dict:
        return super().get_config() | {"asymmetric": self.asymmetric}


@register
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` in groups, channels last, padded symmetrically, in the fastest form.

    Args:
        filters, kernel_size, strides, groups, **kwargs: as of the Keras layer; `kernel_size` is
            odd, `padding` and `data_format` are fixed.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs: Any) -> None:
        kwargs |= {"padding": "same", "data_format": "channels_last"}
        super().__init__(filters, kernel_size, strides, **kwargs)
        _check_odd(self.kernel_size)

    def call(self, inputs: Any) -> Any:
        y = grouped_conv2d(inputs, self.kernel, self.groups, self.strides[0], self.bias)
        return self.activation(y) if self.activation else y


@register
class StandardizedConv2D(Conv2D):
    """A convolution whose kernel is brought to mean 0 and variance 1 per filter at every call.

    Computes the statistics in float32 over height, width and input channels.

    Args:
        filters, kernel_size, strides, padding, **kwargs: as of `keras.layers.Conv2D`.
        epsilon: added to the variance (timm 1e-8, Google's BiT 1e-10).

    Source: arXiv:1903.10520.
    """

    def __init__(self, *args: Any, epsilon: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epsilon = epsilon

    def _prepared(self, kernel: Any, dtype: Any) -> Any:
        kernel = ops.cast(kernel, "float32")
        mean, variance = ops.moments(kernel, axes=[0, 1, 2], keepdims=True)
        return ops.cast((kernel - mean) * ops.rsqrt(variance + self.epsilon), dtype)

    def get_config(self) -> dict:
        return super().get_config() | {"epsilon": self.epsilon}
