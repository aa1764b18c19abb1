"""Linear maps with what follows them, in the form that each backend computes in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_vitcnn.ops.activation import gelu


def linear(
    x: Any, kernel: Any, bias: Any = None, activation: Callable[[Any], Any] | None = None
) -> Any:
    """activation(x @ kernel + bias).

    Keras adds the bias to the finished product and applies the activation to that: two to six more
    walks over the largest tensors of a model. PyTorch adds the bias within the product; TensorFlow
    joins all three (exact GELU included) where the product is one of matrices and nothing is
    reshaped in between. XLA joins them by itself, but its gradient of a product takes half the time
    where that is one of matrices.

    Args:
        x: (..., c).
        kernel: (c, units).
        bias: (units,), or `None`.
        activation: of tensors of any rank, along the last axis if along one.
    """
    backend = keras.backend.backend()
    flat = backend != "torch" and len(x.shape) > 2
    if flat:
        sides = x.shape[1:-1]
        leading = ops.shape(x)[:-1] if None in sides else (-1, *sides)
        x = ops.reshape(x, (-1, x.shape[-1]))
    if backend == "torch":
        import torch.nn.functional as F

        bias = None if bias is None else ops.convert_to_tensor(bias)
        y = F.linear(x, ops.transpose(kernel), bias)
    else:
        y = add_bias(ops.matmul(x, kernel), bias)
    if activation is keras.activations.gelu:
        y = gelu(y)
    elif activation is not None:
        y = activation(y)
    return ops.reshape(y, (*leading, y.shape[-1])) if flat else y


def add_bias(y: Any, bias: Any = None) -> Any:
    """y + bias along the last axis, on TensorFlow as the operation that its optimiser knows."""
    if bias is None:
        return y
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.bias_add(y, ops.convert_to_tensor(bias))
    return ops.add(y, bias)
