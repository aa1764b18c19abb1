"""Linear maps with what follows them, in the form that each backend computes in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def linear(
    x: Any, kernel: Any, bias: Any = None, activation: Callable[[Any], Any] | None = None
) -> Any:
    """activation(x @ kernel + bias).

    Keras adds the bias to the finished product and applies the activation to that: two to six more
    walks over the largest tensors of a model. PyTorch adds the bias within the product; TensorFlow
    joins all three (exact GELU included) where the product is one of matrices and nothing is
    reshaped in between; XLA does by itself.

    Args:
        x: (..., c).
        kernel: (c, units).
        bias: (units,), or `None`.
        activation: of tensors of any rank, along the last axis if along one.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        import torch.nn.functional as F

        bias = None if bias is None else ops.convert_to_tensor(bias)
        return _activated(F.linear(x, ops.transpose(kernel), bias), activation)
    if backend != "tensorflow" or len(x.shape) == 2:
        return _activated(add_bias(ops.matmul(x, kernel), bias), activation)
    y = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), kernel)
    y = _activated(add_bias(y, bias), activation)
    sides = x.shape[1:-1]
    leading = ops.shape(x)[:-1] if None in sides else (-1, *sides)
    return ops.reshape(y, (*leading, y.shape[-1]))


def add_bias(y: Any, bias: Any = None) -> Any:
    """y + bias along the last axis, on TensorFlow as the operation that its optimiser knows."""
    if bias is None:
        return y
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.bias_add(y, ops.convert_to_tensor(bias))
    return ops.add(y, bias)


def _activated(y: Any, activation: Callable[[Any], Any] | None) -> Any:
    return y if activation is None else activation(y)
