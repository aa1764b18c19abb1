"""Variables as NumPy has them."""

from __future__ import annotations

import keras
import numpy as np


def value_of(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value, also of one that lies on several devices."""
    if keras.backend.backend() == "tensorflow":  # NumPy can't read a mirrored variable
        return np.array(variable.value.numpy())
    return np.array(keras.ops.convert_to_numpy(variable.value))
