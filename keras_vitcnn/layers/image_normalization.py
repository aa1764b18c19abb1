from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vitcnn.layers._register import register

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@register
class ImageNormalization(keras.layers.Layer):
    """(image / 255 - mean) / std per channel, in float32: (b, h, w, c) both ways.

    Takes uint8 or float images in [0, 255]. One-channel images use the average of the three
    colours; any other number of channels repeats them in turn.

    Args:
        mean: per colour, of images in [0, 1]; ImageNet's by default.
        std: likewise.
        evaluation: the resize and crop that belong to the loaded weights, kept here because a
            layer's config is what a saved model keeps; the layer itself does nothing with it.
    """

    def __init__(
        self,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        evaluation: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.evaluation = evaluation

    def call(self, images: Any) -> Any:
        channels = images.shape[-1]
        scale = 1 / (255 * _per_channel(self.std, channels))
        shift = -_per_channel(self.mean, channels) / _per_channel(self.std, channels)
        y = ops.cast(images, "float32") * ops.convert_to_tensor(scale.astype("float32"))
        return ops.cast(y + ops.convert_to_tensor(shift.astype("float32")), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        # Loading weights changes them, so what the constructor was given is not enough.
        evaluation = self.evaluation and {
            key: list(value) if isinstance(value, list) else value  # Keras' own kinds of them
            for key, value in self.evaluation.items()
        }
        own = {"mean": self.mean, "std": self.std, "evaluation": evaluation}
        return super().get_config() | own


def _per_channel(values: tuple[float, ...], channels: int) -> np.ndarray:
    if channels == len(values):
        return np.array(values)
    if channels == 1:
        return np.array([np.mean(values)])
    return np.resize(np.array(values), channels)
