from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops.convolution import pad2d


@register
class BorderBias(keras.layers.Layer):
    """Add to a convolution's output what it would make of a constant map: y + bias(x's size).

    A shift in front of a zero-padded convolution can't become one bias per channel: near the border
    some taps of the kernel meet zeros in place of the shift. Its sum over the taps that meet the
    map is added instead, computed in float32 for one image and shared by the batch.

    Inputs: the convolution's output y (b, h', w', filters), and the map x (b, h, w, c) before any
    padding, of which only the size is read. Output: as y.

    Args:
        kernel_size, strides, dilation_rate, padding: of the convolution, two numbers each and
            Keras' `"same"` or `"valid"`.
        zeros: rows and columns of zeros that are put around x before that.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int],
        strides: tuple[int, int] = (1, 1),
        dilation_rate: tuple[int, int] = (1, 1),
        padding: str = "same",
        zeros: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.dilation_rate = tuple(dilation_rate)
        self.padding = padding
        self.zeros = zeros

    def build(self, y_shape: tuple, x_shape: tuple) -> None:
        filters = y_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, 1, filters),
            initializer="zeros",
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=(filters,), initializer="zeros", autocast=False
        )

    def call(self, y: Any, x: Any) -> Any:
        height, width = ops.shape(x)[1:3]
        inside = pad2d(ops.ones((1, height, width, 1), "float32"), self.zeros, self.zeros)
        constant = ops.conv(
            inside,
            ops.convert_to_tensor(self.kernel),
            self.strides,
            self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )
        return y + ops.cast(constant + self.bias, y.dtype)

    def compute_output_shape(self, y_shape: tuple, x_shape: tuple) -> tuple:
        return y_shape

    def get_config(self) -> dict:  # Keras' own refuses the policy of another layer
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "dilation_rate": self.dilation_rate,
            "padding": self.padding,
            "zeros": self.zeros,
        }
