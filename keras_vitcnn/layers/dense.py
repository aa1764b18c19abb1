from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register
from keras_vitcnn.layers.initializers import HostNormal
from keras_vitcnn.ops import linear


@register
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` whose product, bias and activation are one pass where that is possible.

    Args:
        units, **kwargs: as of the Keras layer.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return linear(inputs, self.kernel, self.bias, self.activation, training)

    def enable_lora(self, rank: int, *args: Any, **options: Any) -> None:
        """As of the Keras layer; the bias stays as it is, so that only the adapter is trained."""
        super().enable_lora(rank, *args, **options)
        if self.bias is not None:
            self.bias.trainable = False

    def load_own_variables(self, store: dict) -> None:
        """As of the Keras layer, which zeroes both matrices of an adapter: neither would learn."""
        super().load_own_variables(store)
        if self.lora_enabled:
            self.lora_kernel_a.assign(HostNormal(None)(self.lora_kernel_a.shape))

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """As of the Keras layer, which refuses subclasses that might compute something else."""
        super().quantize(mode, type_check=False, config=config)
