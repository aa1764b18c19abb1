from __future__ import annotations

from typing import Any

import keras

from keras_vitcnn.layers._register import register


@register
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, in training on PyTorch as PyTorch's own operation.

    Keras makes a dozen operations of it there, each a walk over the map or two; the numbers are the
    same, the moving variance's too, which is that of the batch as Keras has it.

    Args:
        **kwargs: as of the Keras layer, whose own form runs with `renorm`, masks, and batches of
            one number per channel.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        own = keras.backend.backend() == "torch" and training and self.trainable
        numbers = inputs.numel() // inputs.shape[self.axis] if own else 0  # of each channel
        if self.renorm or mask is not None or numbers < 2:
            return super().call(inputs, training=training, mask=mask)
        import torch

        x = keras.ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        weights = [
            None if weight is None else keras.ops.cast(weight, x.dtype)
            for weight in (self.gamma, self.beta)
        ]
        mean, variance = x.new_zeros(2, x.shape[self.axis])
        y = torch.nn.functional.batch_norm(
            torch.movedim(x, self.axis, 1),
            *(mean, variance, *weights),
            training=True,
            momentum=1.0,  # they become the batch's own
            eps=self.epsilon,
        )
        # PyTorch's is the estimate for more numbers than the batch has.
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance * ((numbers - 1) / numbers)),
        ):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        return keras.ops.cast(torch.movedim(y, 1, self.axis), self.compute_dtype)
