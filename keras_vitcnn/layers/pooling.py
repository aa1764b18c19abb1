from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register
from keras_vitcnn.ops import max_pool2d


@register
class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D`, channels last, in the fastest form.

    Args:
        pool_size, strides, padding, **kwargs: as of the Keras layer, whose own form runs where
            windows or strides are not square. `data_format` is fixed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["data_format"] = "channels_last"
        super().__init__(*args, **kwargs)

    def call(self, inputs: Any) -> Any:
        if len(set(self.pool_size)) > 1 or len(set(self.strides)) > 1:
            return super().call(inputs)
        return max_pool2d(inputs, self.pool_size[0], self.strides[0], self.padding)
