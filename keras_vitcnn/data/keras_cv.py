"""KerasCV's RandAugment as a policy: for comparison, as that package is at its end of life."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from keras_vitcnn.extras import require


class KerasCV:
    """`keras_cv.layers.RandAugment` with its own defaults, one draw per image, on any backend.

    It runs on TensorFlow, one image at a time, so that an image's draw depends on its `rng` alone;
    that is slow. Seeds TensorFlow's global generators at every call, from which nothing else in
    this package draws.

    Raises:
        ImportError: with the command that installs what is missing.
    """

    def __init__(self) -> None:
        require("tensorflow", "keras-cv,tensorflow")
        require("keras_cv", "keras-cv")
        self._lock = Lock()

    @cached_property
    def _layer(self) -> Any:
        import keras_cv

        return keras_cv.layers.RandAugment(value_range=(0, 255))

    def __call__(self, image: Any, rng: np.random.Generator) -> Any:
        """An RGB Pillow image in, one of the same size out."""
        import tensorflow as tf
        from PIL import Image

        seed = int(rng.integers(2**31))
        with self._lock, tf.device("CPU"):
            # Its layers draw from the one, its samplers of factors from the other.
            tf.random.get_global_generator().reset_from_seed(seed)
            tf.random.set_seed(seed)
            changed = self._layer(tf.constant(np.asarray(image), "float32"))
        pixels = np.asarray(changed).round().clip(0, 255).astype("uint8")
        return Image.fromarray(pixels)
