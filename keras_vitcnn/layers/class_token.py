from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_vitcnn.layers._register import register
from keras_vitcnn.layers.initializers import HostNormal


@register
class ClassToken(keras.layers.Layer):
    """Put one learned token in front of a sequence: (b, n, d) -> (b, n + 1, d).

    Source: arXiv:2010.11929, equation 1; DeiT's distillation token (arXiv:2012.12877) is another
    one, added first so that it ends up behind the class token.
    """

    def build(self, input_shape: tuple) -> None:
        self.token = self.add_weight(
            name="token",
            shape=(1, 1, input_shape[-1]),
            initializer=HostNormal(),
        )

    def call(self, x: Any) -> Any:
        batch, _, width = ops.shape(x)
        token = ops.broadcast_to(ops.cast(self.token, x.dtype), (batch, 1, width))
        return ops.concatenate([token, x], axis=1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, tokens, width = input_shape
        return batch, None if tokens is None else tokens + 1, width
